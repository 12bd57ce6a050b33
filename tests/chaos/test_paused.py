"""A driver that is stopped (SIGSTOP) for longer than its lease lasts: another takes over, and it gives way."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from processes import Driver
from same_tables import assert_same

pytestmark = pytest.mark.long
_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 40000}
space: {lr: {grid: [0.003, 0.03]}}
repeats: 8
pack_size: 2
"""


def test_a_paused_driver_gives_way_and_every_row_is_there_once(tmp_path: Path) -> None:
    """Its workers go on meanwhile, beside those of the other."""
    spec, lease = tmp_path / "paused.yaml", tmp_path / "out/sweeps/paused.lease.json"
    spec.write_text(_SPEC)
    options = ("--executor", "inline", "--workers", "2")
    first = Driver(spec, tmp_path / "out", *options)
    first.wait_for(first.parts)
    os.kill(first.process.pid, signal.SIGSTOP)
    was = json.loads(lease.read_text())
    lease.write_text(json.dumps({**was, "expires_at": datetime.now(UTC).isoformat()}))
    second = Driver(spec, tmp_path / "out", *options)
    second.wait_for(lambda: json.loads(lease.read_text())["holder"] != was["holder"])
    os.kill(first.process.pid, signal.SIGCONT)
    assert (second.finish(600), first.finish(60)) == (0, 2), (first.said(), second.said())
    last = first.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: another launch has taken over sweep 'paused' (lease ")
    calm = Driver(spec, tmp_path / "calm", *options)
    assert calm.finish(600) == 0, calm.said()
    assert_same(tmp_path / "out", tmp_path / "calm")
