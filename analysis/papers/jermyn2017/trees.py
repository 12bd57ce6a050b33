"""How much trees keep and what finding them takes: chains by the number of spins, squares by the coupling.

Evidence -> TreesInfo -> trees()        Evidence -> CouplingsInfo -> couplings()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.figures.style import COLOURS, MARKERS, grid, series_legend, styled
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.jermyn2017.batches import ISING, METHODS, SQUARE

_TOLD = {"greedy": "greedy", "brute_force": "brute force"}


@dataclass(frozen=True, slots=True)
class Curve:
    """One method against one knob."""

    method: str
    x: list[float]
    columns: dict[str, list[float]]
    """Medians over the trials at each x."""


def _curves(rows: Sequence[Row], knob: str, columns: Sequence[str]) -> list[Curve]:
    """The methods that are there, in their order."""
    found = []
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        if mine:
            x = sorted({row[knob] for row in mine})
            medians = {
                name: [float(np.median([row[name] for row in mine if row[knob] == each])) for each in x]
                for name in columns
            }
            found.append(Curve(method, x, medians))
    return found


@dataclass(frozen=True, slots=True)
class TreesInfo:
    """By method, against the number of spins of a chain; medians over couplings."""

    curves: list[Curve]
    """Of `compression`, `last_step` (decompositions) and `wall_time_s`."""


def trees_info(evidence: Evidence[Any]) -> TreesInfo:
    """The batch's trials by method."""
    return TreesInfo(_curves(evidence.batch(ISING), "n_indices", ("compression", "last_step", "wall_time_s")))


@styled
def trees(info: TreesInfo) -> Figure:
    """What is kept, and what that takes."""
    figure, axes = grid(1, 3, 9.6, 3.4)
    panels = (
        ("compression", "elements kept / elements"),
        ("last_step", "decompositions"),
        ("wall_time_s", "seconds"),
    )
    for ax, (column, label) in zip(axes.flat, panels, strict=True):
        _lines(ax, info.curves, column)
        ax.set_yscale("log")
        ax.set_ylabel(label)
        ax.set_xlabel("indices of the tensor")
        ax.xaxis.get_major_locator().set_params(integer=True)
    series_legend(figure, axes[0, 0])
    figure.suptitle("Trees of one-dimensional Ising models, and what finding them takes")
    return figure


@dataclass(frozen=True, slots=True)
class CouplingsInfo:
    """By method, against the coupling of the two-dimensional Ising model."""

    curves: list[Curve]
    """Of `compression` and `truncation_error`."""
    threshold: float
    """Below which singular values were dropped, of s² / Σ s²."""


def couplings_info(evidence: Evidence[Any]) -> CouplingsInfo:
    """The batch's trials by method."""
    rows = evidence.batch(SQUARE)
    return CouplingsInfo(_curves(rows, "coupling", ("compression", "truncation_error")), rows[0]["threshold"])


@styled
def couplings(info: CouplingsInfo) -> Figure:
    """What is kept, and how well that is the tensor."""
    figure, axes = grid(1, 2, 7.6, 3.4)
    for ax, column, label in zip(
        axes.flat, ("compression", "truncation_error"), ("elements kept / elements", "|tensor − tree| / |tensor|"),
        strict=True,
    ):  # fmt: skip
        _lines(ax, info.curves, column)
        ax.set_xlabel("coupling J")
        ax.set_ylabel(label)
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].set_yscale("log")
    series_legend(figure, axes[0, 0])
    figure.suptitle(f"Trees of 3 × 3 Ising models; s² / Σ s² above {info.threshold:g} is kept")
    return figure


def _lines(ax: Any, curves: Sequence[Curve], column: str) -> None:
    for i, curve in enumerate(curves):
        ax.plot(
            curve.x, curve.columns[column], color=COLOURS[i], marker=MARKERS[i], ms=4.5 - i, lw=1.4,
            ls="--" if i else "-", label=_TOLD[curve.method],
        )  # fmt: skip
