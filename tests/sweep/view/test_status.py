"""How a sweep stands, from the tables and its driver's heartbeat."""

from __future__ import annotations

import io
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.view.status import read_status
from monosweep.sweep.work.contract import Settings
from monosweep.sweep.work.pack import train_pack

_SPEC = SweepSpec(
    name="s", base={"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64, "n_steps": 64}, repeats=4
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(str(tmp_path))
    store.write_spec("s", _SPEC.to_json())
    return store


@pytest.fixture
def packs() -> tuple[Pack, Pack]:
    configs = tuple(expand(_SPEC))
    return Pack(configs[:2]), Pack(configs[2:])


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_status_follows_a_driver(store: Store, packs: tuple[Pack, Pack]) -> None:
    (before,) = read_status(store.root)
    assert (before.live, before.updated_at, before.counts) == (False, None, Counts(total=4))
    with Progress(store, "s", packs, Counts(total=4), quiet()):
        train_pack(store, "s", packs[0], Settings())
        (during,) = read_status(store.root, "s")
        assert during.live
        assert during.counts.completed == 2
    (after,) = read_status(store.root)
    assert not after.live
    assert after.updated_at is not None
    assert (after.counts.completed, after.counts.missing, after.n_hidden) == (2, 2, 0)


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({}, True),
        ({"state": "stopped"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, True),
        ({"updated_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, False),
    ],
)
def test_a_heartbeat_counts_while_it_is_fresh(store: Store, fields: dict[str, Any], live: bool) -> None:
    beat = {
        "state": "running", "pid": os.getpid(), "host": socket.gethostname(), "running": 3,
        "updated_at": datetime.now(UTC).isoformat(),
        "speed": {"steps_per_s": 2.0, "trials_per_hour": 3.0, "seconds_left": 4.0},
    }  # fmt: skip
    store.write_heartbeat("s", {**beat, **fields})
    (status,) = read_status(store.root)
    assert (status.live, status.counts.running) == (live, 3 if live else 0)
    assert status.speed.steps_per_s == (2.0 if live else None)


def test_status_needs_a_sweep_that_is_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no sweep 'quick'"):
        read_status(store.root, "quick")
