"""Capacity of one feature: what is claimed, what is drawn, and that the presets train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.claims.verdict import Outcome, judge
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.scherlis2022 import batches
from monosweep.analysis.papers.scherlis2022.allocation import allocation
from monosweep.analysis.papers.scherlis2022.batches import CAPACITY, FIG4, FIG7, MODELS
from monosweep.analysis.papers.scherlis2022.claims import CLAIMS, SCHERLIS2022
from monosweep.analysis.papers.scherlis2022.planes import planes
from monosweep.analysis.papers.scherlis2022.statistics import panels
from monosweep.analysis.tables.root import open_root
from monosweep.model.families.quadratic.closed_form import kurtosis, optimal_capacities, optimal_loss
from monosweep.sweep.spec.sweep_spec import expand, load_spec

from ..made_rows import Row, rows_of, shuffled, verdicts, write_root

ON_ROWS = [claim for claim in CLAIMS if not claim.also]
NUMBERS = ["last_capacity", "capacity_sum", "n_blocks", "largest_block", "expected_loss", "capacity_error"]
BEST = ["optimal_loss", "optimal_last_capacity"]


def as_the_paper(config: Any, random: np.random.Generator) -> dict[str, Any]:
    """Quadratic models are at their optimum; others have more capacity for more importance, and share it if sparse."""
    d, n, k = config.d_hidden, config.n_features, kurtosis(config.feature_prob)
    quadratic = config.family == MODELS[0]
    v = config.last_importance if quadratic else config.last_importance**0.5
    others = np.array([1.0] * (n - 1) + [v])
    width = {"quadratic": 1.8, "relu": 0.8, "gelu": 0.5}[config.activation] * (1 if quadratic else 0.9)
    width *= np.log(k) - 0.4
    capacity = float(np.clip(0.5 + np.log(v) / width, 0, 1))
    found = {"loss": 1.0, "capacity_sum": d, "n_blocks": 1, "last_capacity": capacity}
    found["largest_block"] = 2 + 4 * quadratic
    if not quadratic:
        return found | {"n_represented": n, "norm_squared": 1.0, "dimensions_per_feature": 1.0, "mean_bias": 0.0}
    if config.activation != "quadratic":
        return found
    best, least = float(optimal_capacities(others, k, d)[-1]), optimal_loss(others, k, d)
    return found | {
        "last_capacity": best, "capacity_error": abs(0.001 * random.normal()), "expected_loss": 1.001 * least,
        "optimal_loss": least, "optimal_last_capacity": best,
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """As a root with both shows them: with each other's columns, null."""
    made = rows_of("capacity/fig4", as_the_paper, seeds=3) + rows_of("capacity/fig7-small", as_the_paper, seeds=3)
    return [{**dict.fromkeys([*NUMBERS, *BEST]), **row} for row in made]


def outcomes(rows: list[Row]) -> dict[str, tuple[Outcome, int]]:
    """Of the claims that need rows alone."""
    evidence = Evidence(None, list(filter(CAPACITY.holds, rows)), CAPACITY)  # type: ignore[arg-type]
    found = {claim.name: judge(claim, evidence, "scherlis2022") for claim in ON_ROWS}
    return {name: (verdict.outcome, verdict.n_seeds) for name, verdict in found.items()}


@pytest.mark.parametrize(
    ("preset", "batch", "trials"), [("fig4", FIG4, 492), ("fig7", FIG7, 22_500), ("fig7-small", FIG7, 1764)]
)
def test_the_preset_trains_the_batch(preset: str, batch: str, trials: int) -> None:
    trained = [config.to_dict() for config in expand(load_spec(f"capacity/{preset}"))]
    assert len(trained) == trials and all(map(CAPACITY.batches[batch].holds, trained))
    assert not any(other.holds(row) for row in trained for name, other in CAPACITY.batches.items() if name != batch)


def test_the_small_preset_is_a_part_of_the_whole_one() -> None:
    part, whole = ({config.trial_id for config in expand(load_spec(f"capacity/{p}"))} for p in ("fig7-small", "fig7"))
    assert part < whole


def test_rows_of_other_families_belong_to_no_batch_whatever_columns_they_have() -> None:
    assert not CAPACITY.holds({"family": "two_layer", "lr": 0.02})


def test_claims_hold_where_they_are_true(rows: list[Row]) -> None:
    assert outcomes(rows) == {claim.name: (Outcome.HOLDS, 3) for claim in ON_ROWS}


def test_they_do_not_where_no_knob_does_anything(rows: list[Row]) -> None:
    """But for what was made the same at any setting: that capacities are right and used, and how large blocks are."""
    always = {"fig4 capacities", "fig4 efficient", "fig4 one block", "fig7 blocks"}
    for seed in range(4):
        mixed = [
            row
            for batch, names in ((FIG4, NUMBERS), (FIG7, ["last_capacity"]))
            for row in shuffled(CAPACITY.batches[batch].pick(rows), names, seed)
        ]  # fmt: skip
        held = {name for name, (outcome, _) in outcomes(mixed).items() if outcome is Outcome.HOLDS}
        assert held == always


SPOILT: dict[str, Any] = {
    "fig4 capacities": lambda row: {"capacity_error": 0.03 if row["last_importance"] < 0.07 else 0.0},
    "fig4 loss": lambda row: {"expected_loss": row["optimal_loss"] * (1.011 if row["last_importance"] == 5 else 1)},
    "fig4 ignored": lambda row: {"last_capacity": max(row["last_capacity"], 0.021)},
    "fig4 whole": lambda row: {"last_capacity": min(row["last_capacity"], 0.979)},
    "fig4 kurtosis": lambda row: {"last_capacity": 0.5 if row["feature_prob"] == 0.4 else row["last_capacity"]},
    "fig4 efficient": lambda row: {"capacity_sum": 2.94},
    "fig4 one block": lambda row: {"largest_block": 5 if row["last_importance"] > 1 else 6},
    "fig7 closed form": lambda row: {"last_capacity": row["last_capacity"] + 0.06 * (row["feature_prob"] < 0.2)},
    "fig7 importance": lambda row: {"last_capacity": 0.5 if row["activation"] == "gelu" else row["last_capacity"]},
    "fig7 sparsity": lambda row: {"last_capacity": 0.5 if row["feature_prob"] > row["seed"] / 4 else 1.0},
    "fig7 architectures": lambda row: {"last_capacity": 0.5},
    "fig7 blocks": lambda row: {"largest_block": 4},
}


@pytest.mark.parametrize("claim", [claim.name for claim in ON_ROWS])
def test_a_claim_fails_where_it_is_not_true(claim: str, rows: list[Row]) -> None:
    spoilt = [row | SPOILT[claim](row) if row["optimal_loss"] or "fig7" in claim else row for row in rows]
    assert outcomes(spoilt)[claim] == (Outcome.FAILS, 3)


def test_a_seed_that_lacks_a_point_is_not_counted(rows: list[Row]) -> None:
    one = next(row for row in rows if row["seed"] == 1 and CAPACITY.batches[FIG4].holds(row))
    other = next(row for row in rows if row["seed"] == 2 and row["family"] == MODELS[1])
    found = outcomes([row for row in rows if row not in (one, other)])
    assert {n for _, n in found.values()} == {2}


def test_the_whole_grid_is_taken_where_it_is_there() -> None:
    whole = rows_of("capacity/fig7", as_the_paper, seeds=1)
    fine, coarse = panels(whole), panels(whole[1:])
    assert fine and {matrix.shape for matrix in fine.values()} == {(25, 25)}
    assert panels([]) is None and coarse is None  # the first point is of both grids
    (last,) = [row for row in whole if row["trial_id"] == whole[1]["trial_id"]]
    coarse = panels([row for row in whole if row is not last])
    assert coarse and {matrix.shape for matrix in coarse.values()} == {(7, 7)}
    panel = (MODELS[1], "relu", 5)
    np.testing.assert_array_equal(coarse[panel], fine[panel][::4, ::4])
    (row,) = [r for r in whole if (r["family"], r["activation"], r["d_hidden"]) == panel
              and (r["feature_prob"], r["last_importance"]) == (0.0824, 25.0)]  # fmt: skip
    assert fine[panel][batches.FIG7_PROBS.index(0.0824), -1] == row["last_capacity"]


def test_blocks_are_judged_by_their_table(rows: list[Row], tmp_path: Path) -> None:
    mine = [row for row in rows if CAPACITY.batches[FIG4].holds(row)]
    (claim,) = [claim for claim in CLAIMS if claim.also]

    def judged(name: str, capacity: float, deviation: float) -> tuple[Outcome, int]:
        made = [
            {"trial_id": row["trial_id"], "pack_id": "p0", "step": 2000, "block": block, "size": 3,
             "capacity": 2.0 if block or row["seed"] else capacity, "deviation": deviation}
            for row in mine for block in range(2)
        ]  # fmt: skip
        write_root(tmp_path / name, mine, blocks=made)
        verdict = judge(claim, Evidence(open_root(str(tmp_path / name)), mine, CAPACITY), "scherlis2022")
        return verdict.outcome, verdict.n_seeds

    assert judged("true", 1.0, 0.01) == (Outcome.HOLDS, 3)
    assert judged("bent", 1.0, 0.06) == (Outcome.FAILS, 3)
    assert judged("half", 1.5, 0.01) == (Outcome.UNDECIDED, 3)  # a half of one seed, all of the others


def test_the_curve_and_every_trial_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    mine = [row for row in rows if CAPACITY.batches[FIG4].holds(row)]
    write_root(tmp_path / "root", mine)
    info = figures.info_of("allocation", open_root(str(tmp_path / "root")), Selection())
    assert [one.kurtosis for one in info.series] == pytest.approx([4.5, 9, 18, 36])
    for one, p in zip(info.series, batches.FIG4_PROBS, strict=True):
        here = [row for row in mine if row["feature_prob"] == p]
        assert sorted(one.capacity) == sorted(row["last_capacity"] for row in here)
        np.testing.assert_allclose(np.interp(one.importance, *one.curve), one.capacity, atol=2e-3)
        np.testing.assert_allclose(one.excess, 0.001)
    left, right = allocation(info).axes
    assert [len(dots.get_offsets()) for dots in (*left.collections, *right.collections)] == [123] * 8
    np.testing.assert_allclose(left.collections[2].get_offsets()[:, 1], info.series[2].capacity)
    np.testing.assert_allclose(left.get_lines()[1].get_ydata(), info.series[1].curve[1])
    assert left.get_xscale() == right.get_yscale() == "log"


def test_the_planes_are_means_over_seeds_that_have_all_points(rows: list[Row]) -> None:
    mine = CAPACITY.batches[FIG7].pick(rows)
    lacking = [row for row in mine if row["seed"] < 2 or row["activation"] != "gelu"]
    raised = [{**row, "last_capacity": row["last_capacity"] * (1 - 0.5 * row["seed"])} for row in lacking]
    evidence = Evidence(None, raised, CAPACITY)  # type: ignore[arg-type]
    info = figures.PAPER_FIGURES["planes"].info(evidence)
    assert (info.n_seeds, info.n_features, info.probs.shape) == (2, 6, (7,))
    panel = (MODELS[0], "relu", 5)
    point = [row for row in mine if (row["family"], row["activation"], row["d_hidden"]) == panel and row["seed"] == 0
             and row["feature_prob"] == 1 and row["last_importance"] == 1.71]  # fmt: skip
    assert info.capacity[panel][0, 4] == pytest.approx(0.75 * point[0]["last_capacity"])
    drawn = planes(info)
    panes = [ax for ax in drawn.axes if ax.get_title()]
    assert len(panes) == 12 and panes[0].get_title().startswith("quadratic model, quadratic\n6 features in 3")
    np.testing.assert_allclose(panes[5].collections[0].get_array().reshape(7, 7), info.capacity[MODELS[0], "gelu", 5])
    corners = panes[5].collections[0].get_coordinates()  # of (p, V) cells around the points, which are logarithms
    np.testing.assert_allclose(corners[0, :-1, 0] + np.diff(corners[0, :, 0]) / 2, np.log(info.importances), atol=0.01)
    np.testing.assert_allclose(corners[:-1, 0, 1] + np.diff(corners[:, 0, 1]) / 2, np.log(info.probs), atol=0.01)
    assert panes[0].get_ylim()[0] > 0 > np.log(0.05) > panes[0].get_ylim()[1]  # sparser is higher
    assert [len(ax.get_lines()) for ax in panes] == [2, 0, 0, 2, *[0] * 8]
    # at kurtosis 36 a feature of six in three dimensions is whole from 175/76 on
    assert np.exp(panes[0].get_lines()[0].get_xdata()[-1]) == pytest.approx(175 / 76)
    with pytest.raises(FigureError, match="launch capacity/fig7-small or capacity/fig7"):
        figures.PAPER_FIGURES["planes"].info(Evidence(None, mine[:5], CAPACITY))  # type: ignore[arg-type]


def test_all_that_claims_need_is_there_or_said(rows: list[Row]) -> None:
    found = verdicts(SCHERLIS2022, CAPACITY, [row for row in rows if row["seed"] > 5])
    assert {outcome for name, (outcome, _) in found.items()} == {Outcome.NOT_COVERED}
