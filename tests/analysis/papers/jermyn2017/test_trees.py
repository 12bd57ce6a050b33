"""Greedy trees against the smallest: what is claimed, what is drawn, and that the presets run it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.claims.verdict import Outcome
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.jermyn2017.batches import COUPLINGS, GREEDY_INDICES, SLOPES, SQUARE_COUPLINGS, TREE
from monosweep.analysis.papers.jermyn2017.claims import CLAIMS, JERMYN2017
from monosweep.analysis.papers.jermyn2017.trees import couplings, trees
from monosweep.analysis.tables.root import open_root

from ..made_rows import Row, rows_of, shuffled, verdicts, write_root

SEEDS = 5
NUMBERS = {
    "greedy, square": len(SQUARE_COUPLINGS), "greedy, ratio": len(SLOPES), "greedy, random": SEEDS,
    "chain, memory": len(COUPLINGS), "greedy, work": len(COUPLINGS), "brute force, work": len(COUPLINGS),
    "normal tensors": SEEDS, "sparse tensors": SEEDS,
}  # fmt: skip


def as_the_paper(config: Any, random: np.random.Generator) -> dict[str, Any]:
    """Greedy trees a twentieth larger than the smallest, which grow as the number of indices where ranks are so."""
    n = config.n_indices
    smallest = {"normal": 1.5 * 2**n, "binary": 0.8 * 2**n}.get(config.tensor, 16.0 * (n - 2))
    elements = smallest * random.uniform(1.0, 1.1) ** (config.method == "greedy")
    return {
        "loss": math.log10(elements), "n_elements": round(elements), "compression": elements / 2**n,
        "truncation_error": 1e-4, "largest_rank": 4, "n_trees": 1,
    }  # fmt: skip


def steps_of(row: Row) -> int:
    n = row["n_indices"]
    return n**3 // 6 if row["method"] == "greedy" else math.prod(range(2 * n - 5, 0, -2))


def made(seeds: int) -> list[Row]:
    """Rows of all presets; of tensors that have no seeds one each."""
    found = []
    for name in TREE.batches:
        some = rows_of(f"tree/{name}", as_the_paper, seeds if name == "random" else 1)
        found += [{**row, "last_step": steps_of(row)} for row in some]
    return found


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made(SEEDS)


def test_claims_hold_where_they_are_true_and_not_where_nothing_matters(rows: list[Row]) -> None:
    found = verdicts(JERMYN2017, TREE, rows)
    assert found == {name: (Outcome.HOLDS, n) for name, n in NUMBERS.items()}
    columns = ["loss", "n_elements", "compression", "last_step"]
    for seed in range(3):
        dealt = verdicts(JERMYN2017, TREE, shuffled(rows, columns, seed))
        assert Outcome.HOLDS not in {dealt[claim.name][0] for claim in CLAIMS if claim.effect}


@pytest.mark.parametrize(
    ("spoilt", "spoil"),
    [
        ("greedy, square", {"n_elements": lambda row: 5 * row["n_elements"] if row["method"] == "greedy" else None}),
        ("greedy, ratio", {"n_elements": lambda row: 2 * row["n_elements"] if row["method"] == "greedy" else None}),
        ("greedy, random", {"n_elements": lambda row: 2 * row["n_elements"] if row["method"] == "greedy" else None}),
        ("chain, memory", {"n_elements": lambda row: 2 ** row["n_indices"]}),
        ("greedy, work", {"last_step": lambda row: row["n_indices"] ** 4}),
        ("brute force, work", {"last_step": lambda row: row["n_indices"] ** 3}),
        ("normal tensors", {"compression": lambda row: 0.9 * 2 / 3 * row["compression"]}),
        ("sparse tensors", {"compression": lambda row: 1.0}),
    ],
)
def test_each_claim_fails_in_a_world_that_is_otherwise(spoilt: str, spoil: dict[str, Any], rows: list[Row]) -> None:
    changed = [{**row, **{name: value for name, of in spoil.items() if (value := of(row)) is not None}} for row in rows]
    assert verdicts(JERMYN2017, TREE, changed)[spoilt] == (Outcome.FAILS, NUMBERS[spoilt])


def test_a_claim_needs_all_of_its_batch(rows: list[Row]) -> None:
    some = [row for row in rows if (row["n_indices"], row["coupling"]) != (7, 2.0)]
    found = verdicts(JERMYN2017, TREE, some)
    assert {name for name, (outcome, _) in found.items() if outcome == Outcome.NOT_COVERED} >= {
        "chain, memory", "greedy, work", "brute force, work"
    }  # fmt: skip


def test_figures_show_what_is_kept_and_what_it_takes(rows: list[Row], tmp_path: Path) -> None:
    write_root(tmp_path / "results", rows)
    root = open_root(str(tmp_path / "results"))
    info = figures.info_of("trees", root, Selection())
    greedy, brute = info.curves
    assert (greedy.method, greedy.x, brute.method, brute.x) == (
        "greedy", list(GREEDY_INDICES), "brute_force", [4, 5, 6, 7, 8, 9]
    )  # fmt: skip
    np.testing.assert_allclose(brute.columns["compression"], [16 * (n - 2) / 2**n for n in brute.x])
    assert brute.columns["last_step"] == [3, 15, 105, 945, 10395, 135135]
    kept, work, seconds = trees(info).axes
    for ax, column in ((kept, "compression"), (work, "last_step"), (seconds, "wall_time_s")):
        for line, curve in zip(ax.lines, info.curves, strict=True):
            assert list(line.get_xdata()) == curve.x and list(line.get_ydata()) == curve.columns[column]
        assert ax.get_yscale() == "log" and [line.get_label() for line in ax.lines] == ["greedy", "brute force"]
    square = figures.info_of("couplings", root, Selection())
    assert [curve.x for curve in square.curves] == [list(SQUARE_COUPLINGS)] * 2 and square.threshold == 1e-6
    for ax, column in zip(couplings(square).axes, ("compression", "truncation_error"), strict=True):
        for line, curve in zip(ax.lines, square.curves, strict=True):
            assert list(line.get_xdata()) == curve.x and list(line.get_ydata()) == curve.columns[column]
    paths = list(draw(root, tmp_path, ["trees", "couplings"], Selection(), print))
    assert [path.name for path in paths] == ["trees.png", "couplings.png"]
