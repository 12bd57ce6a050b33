"""Methods against each other at equal budgets: what is claimed, what is drawn, and that the presets run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.claims.verdict import Outcome
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.schindler2020.batches import CONTRACTION, MEDIANS, OPTIMUM
from monosweep.analysis.papers.schindler2020.claims import CLAIMS, SCHINDLER2020
from monosweep.analysis.papers.schindler2020.orders import orders
from monosweep.analysis.tables.root import open_root

from ..made_rows import Row, all_hold, rows_of, shuffled, verdicts, write_root

SEEDS = 20


def as_the_paper(config: Any, random: np.random.Generator) -> dict[str, Any]:
    """The authors' medians at 10 tensors; what they are above the least cost goes with the number of tensors."""
    size = 10 if config.network == "given" else config.size
    loss = OPTIMUM + (MEDIANS[config.method] - OPTIMUM) * size / 10 + random.normal(0, 0.1)
    return {
        "loss": float(loss), "min_loss": float(loss), "n_bonds": 35, "log2_largest": 63.0, "optimum": OPTIMUM,
        "gap": float(loss) - OPTIMUM, "bond_order": "0 1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    both = [rows_of(f"contraction/{name}", as_the_paper, SEEDS) for name in CONTRACTION.batches]
    return [row for some in both for row in some]


def test_claims_hold_where_they_are_true_and_not_where_the_method_does_nothing(rows: list[Row]) -> None:
    found, medians = verdicts(SCHINDLER2020, CONTRACTION, rows), SEEDS // 5
    assert found == {**all_hold(CLAIMS, SEEDS), **all_hold(CLAIMS[:3], medians)}
    for seed in range(3):
        dealt = verdicts(SCHINDLER2020, CONTRACTION, shuffled(rows, ["loss", "gap"], seed))
        assert Outcome.HOLDS not in {dealt[claim.name][0] for claim in CLAIMS if claim.effect}


def test_figures_show_costs_against_evaluations_and_gaps_against_sizes(rows: list[Row], tmp_path: Path) -> None:
    some = [row for row in rows if row["seed"] < 4]
    progress = [
        {"trial_id": row["trial_id"], "pack_id": "p0", "step": step, "loss": row["loss"] + above}
        for row in some
        for step, above in ((row["last_step"], 0.0), *([] if row["method"] == "greedy" else [(1, 5.0), (100, 1.0)]))
    ]
    write_root(tmp_path / "results", some, progress=progress)
    root = open_root(str(tmp_path / "results"))
    info = figures.info_of("orders", root, Selection())
    assert info.methods == list(MEDIANS) and info.n_runs == [4, 4, 4] and info.optimum == OPTIMUM
    losses = {m: sorted(r["loss"] for r in some if r["method"] == m and r["network"] == "given") for m in MEDIANS}
    for method, quartiles in zip(info.methods, info.quartiles, strict=True):
        assert quartiles[0, -1] >= losses[method][0] and quartiles[2, -1] <= losses[method][-1]
        assert np.isfinite(quartiles).all() == (method != "greedy")
    assert (info.quartiles[1][1][info.evaluations < 100] > info.quartiles[1][1][-1] + 4).all()
    lines = [line for line in orders(info).axes[0].lines if line.get_marker() == "<"]
    marks = [float(y) for line in lines for y in line.get_ydata()]
    assert marks == list(MEDIANS.values())
    gaps = figures.info_of("gaps", root, Selection())
    assert gaps.sizes == [6, 8, 10, 12] and gaps.methods == info.methods
    for method, intervals in zip(gaps.methods, gaps.gaps, strict=True):
        expected = [(MEDIANS[method] - OPTIMUM) * size / 10 for size in gaps.sizes]
        np.testing.assert_allclose([one.mean for one in intervals], expected, atol=0.1)
    paths = list(draw(root, tmp_path, ["orders", "gaps"], Selection(), print))
    assert [path.name for path in paths] == ["orders.png", "gaps.png"]
