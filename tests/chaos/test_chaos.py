"""Faults of all kinds at random over a sweep: every trial ends with the one row that it would have had anyway.

A small version runs with all tests, the long ones with `make chaos`, which prints kinds × outcomes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom

import pytest

from chaos import disturb
from disturbed import LONG_S, Disturbed
from faults import FAULTS
from outcomes import Outcome
from processes import Driver
from same_tables import assert_same
from shim import build

_MINUTE_S = 60.0
_TWO_LAYER = """
base: {{n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 40000}}
space: {{lr: {{grid: [0.003, 0.006, 0.01, 0.03]}}}}
repeats: {repeats}
pack_size: 4
"""
_TOY = """
base: {{family: "chaotic_toy.py:Toy", batch_size: 2, n_steps: N_STEPS}}
space: {{lr: {{grid: [0.003, 0.006, 0.01, 0.03]}}}}
repeats: {repeats}
pack_size: 4
"""
_BRIEF, _LAUNCHED_AGAIN = ("worker", "memory", "device", "root"), ("driver", "paused")
"""Kinds that the driver survives, and others; `late` takes longer than either, `raylet` and `node` are Ray's."""


@pytest.fixture(scope="module")
def seed() -> int:
    """CHAOS_SEED, or one of chance; a failure shows it."""
    return int(os.environ.get("CHAOS_SEED") or SystemRandom().randrange(10**6))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes roots stale and commits late."""
    return build(tmp_path_factory.mktemp("shim"))


def toy(folder: Path, n_steps: int) -> str:
    """A spec of trials that notice a broken GPU."""
    (folder / "chaotic_toy.py").write_text((Path(__file__).parent / "chaotic_toy.py").read_text())
    return _TOY.replace("N_STEPS", str(n_steps))


def undisturbed(spec: Path, out: Path) -> Path:
    """The same sweep trained inline, with nothing that fails."""
    calm = Driver(spec, out, "--executor", "inline", "--workers", "2", "--device", "cpu")
    try:
        assert calm.finish(LONG_S) == 0, calm.said()
    finally:
        calm.process.kill()
    return out


def survived(sweep: Disturbed, kinds: Sequence[str], pause_s: float, random: Random) -> Outcome:
    """Disturb a sweep, train it undisturbed too, and compare."""
    try:
        disturb(sweep, kinds, pause_s, random)
    finally:
        sweep.close()
        print(f"\n{sweep.outcome.table()}", flush=True)
    assert_same(sweep.out, undisturbed(sweep.spec, sweep.folder / "calm"))
    assert list(sweep.out.glob("checkpoints/*/*")) == []
    assert sweep.writes.failed == []
    n_rows = len(sweep.store.index().statuses)
    print(f"{n_rows} trials, {sweep.outcome.extended} times made more: bits equal, 0 lost, 0 twice, 0 falsely failed")
    return sweep.outcome


def test_a_few_faults(tmp_path: Path, library: Path, seed: int) -> None:
    print(f"\nCHAOS_SEED={seed}")
    random = Random(seed)
    kinds = [random.choice(_BRIEF), random.choice(_LAUNCHED_AGAIN)]
    outcome = survived(Disturbed(tmp_path, toy(tmp_path, 1200), 2, library, "inline"), kinds, 1.0, random)
    assert len(outcome.events) == 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("executor", "family", "without"),
    [("ray", "toy", ()), ("ray", "two_layer", ("device",)), ("inline", "toy", ("raylet", "node"))],
    ids=["ray", "ray-two_layer", "inline"],
)
def test_many_faults(
    tmp_path: Path, library: Path, seed: int, executor: str, family: str, without: Sequence[str]
) -> None:
    """CHAOS_EVENTS of them each; only a user's family notices here that a GPU is broken, only Ray has a raylet."""
    n_events = int(os.environ.get("CHAOS_EVENTS", "50"))
    print(f"\nCHAOS_SEED={seed}")
    known = [kind for kind in os.environ.get("CHAOS_KINDS", " ".join(FAULTS)).split() if kind not in without]
    spec = toy(tmp_path, 2000) if family == "toy" else _TWO_LAYER
    sweep = Disturbed(tmp_path, spec, 2, library, executor)
    sweep.real_leases = 1
    outcome = survived(sweep, [known[i % len(known)] for i in range(n_events)], 4.0, Random(seed))
    assert len(outcome.events) == n_events
    assert max(seconds for event in outcome.events for seconds in event.lost_s) < _MINUTE_S
