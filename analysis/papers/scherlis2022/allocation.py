"""Figure 4: the capacity of one feature against its importance, beside the closed form.

Evidence -> AllocationInfo -> allocation()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.figures.data import Array, column_of
from monosweep.analysis.figures.style import COLOURS, grid, styled
from monosweep.analysis.knobs import by_value
from monosweep.analysis.papers.scherlis2022.batches import FIG4
from monosweep.model.families.quadratic.closed_form import kurtosis, optimal_capacities

FINE = 400
"""Points of the curve."""
LEAST = 1e-9
"""Losses that are closer to the least are drawn here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OneKurtosis:
    """The trials of one kurtosis."""

    kurtosis: float
    importance: Array
    """V of each trial."""
    capacity: Array
    """C of the one feature, trial by trial."""
    excess: Array
    """Expected loss over the least, less 1."""
    curve: tuple[Array, Array]
    """(V, C) where the loss is least (eqs. 15-18)."""


@dataclass(frozen=True, slots=True)
class AllocationInfo:
    n_features: int
    d_hidden: int
    series: list[OneKurtosis]
    """By rising kurtosis."""


def allocation_info(evidence: Evidence[Any]) -> AllocationInfo:
    """Every trial of the batch, and the curves."""
    rows = evidence.batch(FIG4)
    n, d = rows[0]["n_features"], rows[0]["d_hidden"]
    series = []
    for p, mine in by_value(rows, "feature_prob").items():
        v = column_of(mine, "last_importance")
        x = np.geomspace(v.min(), v.max(), FINE)
        best = [optimal_capacities(np.array([1.0] * (n - 1) + [one]), kurtosis(p), d)[-1] for one in x]
        over = column_of(mine, "expected_loss") / column_of(mine, "optimal_loss") - 1
        series.append(
            OneKurtosis(
                kurtosis=kurtosis(p), importance=v, capacity=column_of(mine, "last_capacity"), excess=over,
                curve=(x, np.array(best)),
            )
        )  # fmt: skip
    return AllocationInfo(n, d, series[::-1])


@styled
def allocation(info: AllocationInfo) -> Figure:
    """A point for each trial, the closed form as a line; beside it how far the loss is from the least."""
    figure, axes = grid(1, 2, 8.4, 3.6)
    left, right = axes[0]
    for one, colour in zip(info.series, COLOURS, strict=False):
        left.plot(*one.curve, color=colour, lw=1.5, label=f"k = {one.kurtosis:.3g}")
        left.scatter(one.importance, one.capacity, s=9, color=colour, alpha=0.6, lw=0, zorder=3)
        right.scatter(one.importance, np.maximum(one.excess, LEAST), s=9, color=colour, alpha=0.6, lw=0)
    left.set_ylabel("capacity C of the one feature")
    right.set_ylabel("expected loss over the least, less 1\n(what is nearer stands at $10^{-9}$)")
    right.set_yscale("log")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("importance V of the one feature, of others 1")
    handles, labels = left.get_legend_handles_labels()
    said = [f"{label}, closed form and trials" for label in labels]
    figure.legend(handles, said, loc="outside lower center", ncols=2)
    figure.suptitle(f"Capacity of one of {info.n_features} features in {info.d_hidden} dimensions, by kurtosis k")
    return figure
