"""The advantage over the naive solution against how much the stream mixes features.

Evidence -> MixingInfo -> mixing()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.figures.style import COLOURS, grid, series_legend, styled
from monosweep.analysis.knobs import by_value
from monosweep.analysis.papers.bhagat2026.batches import CC
from monosweep.analysis.papers.bhagat2026.claims import advantage
from monosweep.analysis.stats.intervals import Interval, shown_interval


@dataclass(frozen=True, slots=True)
class MixingInfo:
    """Everything by the mixing s, in its order."""

    n_features: int
    n_neurons: int
    mixing: list[float]
    advantage: list[list[float]]
    """1 - loss / naive loss of each trial."""
    computed: list[list[int]]
    """Features that each trial computes more than not."""
    mean_advantage: list[Interval]
    mean_computed: list[Interval]
    """Over seeds; without ends for fewer than three."""


def mixing_info(evidence: Evidence[Any]) -> MixingInfo:
    """The batch's trials by their mixing."""
    rows = evidence.batch(CC)
    cells = by_value(rows, "mixing")
    gained = [[advantage(row) for row in same] for same in cells.values()]
    computed = [[row["n_computed"] for row in same] for same in cells.values()]
    return MixingInfo(
        rows[0]["n_features"], rows[0]["n_neurons"], list(cells), gained, computed,
        list(map(shown_interval, gained)), list(map(shown_interval, computed)),
    )  # fmt: skip


@styled
def mixing(info: MixingInfo) -> Figure:
    """A panel for the advantage, one for the features that are computed."""
    figure, axes = grid(1, 2, 8.2, 3.7)
    gained, computed = axes[0]
    gained.axhline(0, color="#444444", ls="--", lw=1.2, label="naive solution")
    _points(gained, info.mixing, info.advantage, info.mean_advantage)
    gained.set_ylabel("advantage over the naive solution\n1 − loss / naive loss")
    computed.axhline(info.n_neurons, color="#444444", ls="--", lw=1.2)
    _points(computed, info.mixing, info.computed, info.mean_computed)
    computed.set_ylim(0, info.n_features * 1.05)
    computed.set_ylabel("features computed more than not")
    series_legend(figure, gained)
    figure.suptitle(f"{info.n_neurons} neurons on x + ReLU(x) of {info.n_features} features")
    return figure


def _points(ax: Axes, x: list[float], each: list[list[Any]], means: list[Interval]) -> None:
    trials = [(value, one) for value, values in zip(x, each, strict=True) for one in values]
    ax.scatter(*np.transpose(trials), s=14, color=COLOURS[1], alpha=0.3, lw=0, label="a trial", zorder=2)
    ax.errorbar(
        x, [m.mean for m in means], np.transpose([m.reach for m in means]), color=COLOURS[1], marker="o", ms=4.5,
        lw=1.5, elinewidth=1.1, capsize=2.5, label="mean over seeds, 95 % interval", zorder=3,
    )  # fmt: skip
    ax.set_xlabel("mixing s of the residual stream")
