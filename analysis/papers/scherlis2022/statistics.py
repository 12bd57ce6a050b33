"""The numbers that the paper's claims are judged by: from the trials of one seed to one number.

All points are there.  NO_EFFECT is for seeds in which there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from monosweep.analysis.claims.evidence import MISSING, Evidence, Number, by_seed, order
from monosweep.analysis.figures.data import Array
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.scherlis2022.batches import (
    ACTIVATIONS,
    DIMENSIONS,
    EVERY,
    FIG4,
    FIG4_PROBS,
    FIG7_IMPORTANCES,
    FIG7_PROBS,
    MODELS,
    squared,
)
from monosweep.analysis.stats.ranks import correlation
from monosweep.analysis.tables.storage import quoted
from monosweep.model.families.quadratic.closed_form import kurtosis

Panel = tuple[str, str, int]
"""Family, activation and d_hidden."""
NEAR = 0.02
"""Capacities closer than this are the same, and one is none or whole."""
SHARED = (0.1, 0.9)
"""Between these a feature shares its dimension, in models whose optimum is not known."""
WHOLE = 0.05
"""A block is efficient if Σ C is so close to a whole number, and its columns' singular values to one another."""

# -- Figure 4


def near_optimum(rows: Sequence[Row]) -> float:
    """Share of points at which every feature's capacity is that of the optimum."""
    return float(np.mean([row["capacity_error"] <= NEAR for row in rows]))


def excess(rows: Sequence[Row]) -> float:
    """Expected loss over the least, less 1, where it is largest."""
    return max(float(row["expected_loss"] / row["optimal_loss"]) for row in rows) - 1


def ignored(rows: Sequence[Row]) -> float:
    """Largest capacity of the one feature where it should have none."""
    return max(float(row["last_capacity"]) for row in rows if row["optimal_last_capacity"] == 0)


def whole(rows: Sequence[Row]) -> float:
    """Least where it should have a dimension."""
    return min(float(row["last_capacity"]) for row in rows if row["optimal_last_capacity"] == 1)


def sharing_by_kurtosis(rows: Sequence[Row]) -> Number:
    """Rank correlation of kurtosis and at how many importances the one feature shares its dimension."""
    shared = [
        sum(NEAR < row["last_capacity"] < 1 - NEAR for row in rows if row["feature_prob"] == p) for p in FIG4_PROBS
    ]
    return order(list(map(kurtosis, FIG4_PROBS)), shared)


def wasted(rows: Sequence[Row]) -> float:
    """Largest distance of Σ C from the number of dimensions."""
    return max(abs(float(row["capacity_sum"]) - int(row["d_hidden"])) for row in rows)


def in_one_block(rows: Sequence[Row]) -> float:
    """Where all six features should share, the share of points at which one block holds them all."""
    shared = [row for row in rows if NEAR < row["optimal_last_capacity"] < 1 - NEAR]
    return float(np.mean([row["largest_block"] == row["n_features"] for row in shared]))


def efficient_blocks(evidence: Evidence[Any]) -> list[Number]:
    """Share of blocks with a whole Σ C whose columns are a multiple of a semi-orthogonal matrix, per seed."""
    found: list[Number] = []
    for _, rows in sorted(by_seed(evidence.batch(FIG4)).items()):
        ids = ", ".join(quoted(row["trial_id"]) for row in rows)
        (share,) = evidence.root.sql(
            f"SELECT avg((abs(capacity - round(capacity)) <= {WHOLE} AND deviation <= {WHOLE})::INT) AS share "
            f"FROM blocks WHERE trial_id IN ({ids})"
        )["share"].to_pylist()
        found.append(MISSING if share is None else float(share))
    return found


# -- Figure 7


def panels(rows: Sequence[Row], column: str = "last_capacity") -> dict[Panel, Array] | None:
    """A column over (p, V) for each panel: on all points of the grid, or on every fourth either way; one seed's."""
    placed: dict[tuple[Any, ...], float] = {
        (row["family"], row["activation"], row["d_hidden"], row["feature_prob"], row["last_importance"]): row[column]
        for row in rows
    }
    for step in (1, EVERY):
        found = {
            (family, activation, d): _matrix(placed, (family, activation, d), step)
            for family in MODELS
            for activation in ACTIVATIONS
            for d in DIMENSIONS
        }
        if all(matrix is not None for matrix in found.values()):
            return {panel: matrix for panel, matrix in found.items() if matrix is not None}
    return None


def _matrix(placed: Mapping[tuple[Any, ...], float], panel: Panel, step: int) -> Array | None:
    counts = squared if panel[0] == MODELS[1] else float
    points = [[(*panel, p, counts(v)) for v in FIG7_IMPORTANCES[::step]] for p in FIG7_PROBS[::step]]
    if not all(point in placed for line in points for point in line):
        return None
    return np.array([[placed[point] for point in line] for line in points], dtype=np.float64)


def grid_of(matrix: Array) -> tuple[Array, Array]:
    """(p, V) of its rows and columns."""
    step = 1 if len(matrix) == len(FIG7_PROBS) else EVERY
    return np.array(FIG7_PROBS[::step]), np.array(FIG7_IMPORTANCES[::step])


def near_closed_form(rows: Sequence[Row]) -> float:
    """Share of the quadratic model's points, of kurtosis above 3.5, within .05 of the optimal capacity."""
    found, best = _panels(rows), _panels(rows, "optimal_last_capacity")
    mine = [(MODELS[0], ACTIVATIONS[0], d) for d in DIMENSIONS]
    heavy = kurtosis(1) / grid_of(found[mine[0]])[0] > 3.5
    return float(np.mean([np.abs(found[panel] - best[panel])[heavy] <= 0.05 for panel in mine]))


def more_for_importance(rows: Sequence[Row]) -> float:
    """Rank correlation of V and capacity, mean over p; of the panel where it is least."""
    return _of_panels(rows, lambda matrix, p, v: _mean_correlation(v, matrix), min)


def sharing_by_sparsity(rows: Sequence[Row]) -> float:
    """Rank correlation of kurtosis and the share of importances at which the feature shares, mean over panels."""

    def rises(matrix: Array, p: Array, v: Array) -> float:
        return correlation(list(-p), list(_shared(matrix).mean(axis=1))) or 0.0

    return _of_panels(rows, rises, _mean)


def architectures_differ(rows: Sequence[Row]) -> float:
    """Share of points with a shared feature: largest less least of the six models, in three dimensions."""
    found = _panels(rows)
    shares = [float(_shared(matrix).mean()) for (_, _, d), matrix in found.items() if d == DIMENSIONS[0]]
    return max(shares) - min(shares)


def block_sizes_differ(rows: Sequence[Row]) -> float:
    """Features in the largest block, mean over p ≤ .3 in three dimensions: quadratic model less ReLU outputs."""
    found = _panels(rows, "largest_block")
    quadratic, relu = found[MODELS[0], "quadratic", DIMENSIONS[0]], found[MODELS[1], "relu", DIMENSIONS[0]]
    sparse = grid_of(quadratic)[0] <= 0.3
    return float(quadratic[sparse].mean() - relu[sparse].mean())


def _of_panels(
    rows: Sequence[Row], value: Callable[[Array, Array, Array], float], over: Callable[[list[float]], float]
) -> float:
    return over([value(matrix, *grid_of(matrix)) for matrix in _panels(rows).values()])


def _panels(rows: Sequence[Row], column: str = "last_capacity") -> dict[Panel, Array]:
    found = panels(rows, column)
    assert found is not None, "a claim is given seeds that have every point of the coarse grid"
    return found


def _shared(matrix: Array) -> Any:
    return (matrix > SHARED[0]) & (matrix < SHARED[1])


def _mean_correlation(v: Array, matrix: Array) -> float:
    return _mean([correlation(list(v), list(line)) or 0.0 for line in matrix])


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
