"""The arithmetic of `make bench-scaling`; what it measures is not tested here."""

from __future__ import annotations

import pytest

from million import Constants, cost, report
from scaling import of_rows

CONSTANTS = Constants(
    driver_s_per_pack=0.01, packs_per_s=20.0, plan_s_per_trial=1e-4, checkpoint_bytes=1e5,
    bytes_per_row={"trials": 100.0, "curves": 10.0, "neurons": 20.0},
)  # fmt: skip


def test_a_million_trials_cost_what_their_parts_cost() -> None:
    million = cost(CONSTANTS, 1_000_000, 1000, n_curve=15, n_neurons=256)
    assert million.n_packs == 4000
    assert million.schedule_s == pytest.approx(40)
    assert million.plan_s == pytest.approx(100)
    assert million.table_bytes == pytest.approx({"trials": 1e8, "curves": 1.5e8, "neurons": 5.12e9})
    assert million.checkpoint_bytes == pytest.approx(1000 * 250 * 1e5)
    assert "1,000,000 trials in 4,000 packs" in report(CONSTANTS, million)


def test_fewer_trials_than_packs_are_packs_of_one() -> None:
    assert cost(CONSTANTS, 10, 1000, n_curve=1, n_neurons=1).n_packs == 10


def test_a_rate_counts_from_when_every_node_has_finished_one_pack() -> None:
    """Two nodes: packs end at 10, 14 | 20, 24 s; from 14 to 24 s two packs of two trials."""
    packs, ends = ["a", "b", "c", "d"] * 2, [10.0, 14.0, 20.0, 24.0] * 2
    found = of_rows(2, packs, ends, [9.0, 9.0, 4.0, 4.5] * 2)
    assert found.trials_per_hour == pytest.approx(3600 * 4 / 10)
    assert found.training_share == pytest.approx(2 * (4 + 4.5) / 20)
