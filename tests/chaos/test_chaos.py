"""Random SIGKILLs over a sweep: every trial ends with the one row that it would have had anyway.

A small version runs with all tests, the long one with `make chaos`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from killing import Chaos, Outcome
from processes import Driver
from same_tables import assert_same

_MINUTE_S = 60.0
_SPEC = """
base: {{n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: {n_steps}}}
space: {{lr: {{grid: [0.003, 0.006, 0.01, 0.03]}}}}
repeats: {repeats}
pack_size: 4
"""


@pytest.fixture(scope="module")
def seed(request: pytest.FixtureRequest) -> int:
    """CHAOS_SEED, or one of chance; a failure shows it."""
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))


def survived(folder: Path, n_steps: int, repeats: int, targets: Sequence[str], pause_s: float, seed: int) -> Outcome:
    """Disturb a sweep, train it undisturbed too, and compare."""
    spec = folder / "chaos.yaml"
    spec.write_text(_SPEC.format(n_steps=n_steps, repeats=repeats))
    print(f"\nCHAOS_SEED={seed}")
    outcome = Chaos(spec, folder / "out", targets, pause_s, seed).run()
    print(outcome.report())
    undisturbed = Driver(spec, folder / "undisturbed", "--executor", "inline", "--workers", "2")
    assert undisturbed.finish(3600) == 0, undisturbed.said()
    assert_same(folder / "out", undisturbed.out)
    assert list((folder / "out").glob("checkpoints/*/*")) == []
    return outcome


def test_a_few_kills(tmp_path: Path, seed: int) -> None:
    outcome = survived(tmp_path, 16_000, 3, ["worker"] * 2 + ["driver"], 0.5, seed)
    assert len(outcome.kills) == 3
    assert outcome.launches >= 2
    assert outcome.taken_up >= 1
    assert max(seconds for kill in outcome.kills for seconds in kill.lost_s) < _MINUTE_S


@pytest.mark.long
def test_fifty_kills(tmp_path: Path, seed: int) -> None:
    """200 trials; CHAOS_KILLS=200 for more of it."""
    n_kills = int(os.environ.get("CHAOS_KILLS", "50"))
    targets = [("worker", "worker", "worker", "driver", "raylet")[i % 5] for i in range(n_kills)]
    outcome = survived(tmp_path, 2000 * n_kills, 50, targets, 4.0, seed)
    assert len(outcome.kills) == n_kills
    assert max(seconds for kill in outcome.kills for seconds in kill.lost_s) < _MINUTE_S
