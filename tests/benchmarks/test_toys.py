"""Every contender trains the same model of superposition; short, and nothing about time is asserted."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import toys
from toys import SIZES, Timed

from monosweep.model.config import TrialConfig
from monosweep.model.families import config_of, resolve
from monosweep.model.trainer import PackTrainer

SIZE = replace(SIZES[0], batch_size=64, n_trials=160, n_steps=128, plain_steps=128, jax_steps=32)
SLACK = 0.12
"""Relative difference of mean losses over 160 seeds, whose standard error is 3 %."""
OWN = f"{Path(toys.__file__).parent / 'own_superposition.py'}:Own"


def trials(family: str) -> list[TrialConfig]:
    return [
        config_of({
            "family": family, "n_features": SIZE.n_features, "d_hidden": SIZE.d_hidden, "n_steps": SIZE.n_steps,
            "lr": toys.LR, "batch_size": SIZE.batch_size, "feature_prob": SIZE.feature_prob, "optimizer": "Adam",
            "seed": seed,
        })
        for seed in range(SIZE.n_trials)
    ]  # fmt: skip


def mean_loss(family: str) -> float:
    trainer, losses = PackTrainer(trials(family), "cpu"), []
    while not trainer.done:
        if snapshot := trainer.advance(0.0):
            losses += [result.metrics and result.curve["loss"][-1] for result in snapshot.left]
    assert len(losses) == SIZE.n_trials
    return float(sum(losses) / len(losses))


@pytest.fixture(scope="module")
def reference() -> float:
    losses = [toys.plain_trial(SIZE, SIZE.plain_steps, seed)[1] for seed in range(SIZE.n_trials)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("family", ["superposition", OWN], ids=["ours", "own"])
def test_ours_trains_what_plain_trains(reference: float, family: str) -> None:
    name = family if family == "superposition" else resolve(family)
    assert mean_loss(name) == pytest.approx(reference, rel=SLACK)


def test_jax_trains_what_plain_trains(reference: float) -> None:
    if find_spec("jax") is None:
        pytest.skip("JAX is a peer of the full benchmark only; the extra `bench` installs it")
    assert toys.jax(SIZE, SIZE.n_trials, SIZE.jax_steps, 4).loss == pytest.approx(reference, rel=SLACK)


def test_ratios_are_of_times_in_one_turn() -> None:
    found = {"5-2": {toys.OURS: [Timed(10, 0), Timed(20, 0), Timed(12, 0)],
                     toys.PLAIN: [Timed(200, 0), Timed(500, 0), Timed(252, 0)]}}  # fmt: skip
    text = toys.report([SIZE], {"5-2": {**found["5-2"], toys.OWN: [Timed(40, 0), Timed(100, 0), Timed(63, 0)]}}, 2)
    plain = next(line for line in text.splitlines() if toys.PLAIN in line)
    assert "21.00" in plain and "5.00" in plain  # medians of 20, 25, 21 and of 5, 5, 4
    assert "30,000" in next(line for line in text.splitlines() if toys.OURS in line)  # 12 µs a step
