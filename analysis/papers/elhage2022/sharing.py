"""How features of equal importance share dimensions against how rare they are, and whether D clusters at 4/9.

Evidence -> GeometryInfo -> geometry() of the batches `geometry` and `plateaus`, cluster() of `cluster`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.families.superposition.features import features_of
from monosweep.analysis.figures.data import Array
from monosweep.analysis.figures.style import COLOURS, grid, styled
from monosweep.analysis.knobs import FigureError, Row, by_value
from monosweep.analysis.papers.elhage2022.batches import CLUSTER, GEOMETRY, PLATEAUS
from monosweep.analysis.papers.elhage2022.statistics import FOUR_NINTHS, best

POLYTOPES = {"3/4": 3 / 4, "2/3": 2 / 3, "1/2": 1 / 2, "2/5": 2 / 5, "3/8": 3 / 8}
"""D of a tetrahedron, a triangle, an antipodal pair, a pentagon and a square antiprism (the article)."""
BIN = 0.005
CLOSE = 0.03
"""Between lines whose names would overlap."""


@dataclass(frozen=True, slots=True)
class GeometryInfo:
    """Trials side by side, in the order of their probabilities and seeds."""

    n_features: int
    d_hidden: int
    which: str
    """Which trials are shown, in words."""
    probs: Array
    dimensions_per_feature: Array
    """m / ‖W‖² of each trial."""
    shares: list[Array]
    """D of the features of each trial that are represented."""


def geometry_info(evidence: Evidence[Any]) -> GeometryInfo:
    """The batch `geometry`; raises FigureError if a trial left no features."""
    return _info(evidence, evidence.batch(GEOMETRY), "a point per trial")


def plateaus_info(evidence: Evidence[Any]) -> GeometryInfo:
    """The best restart at each probability of the batch `plateaus`; raises as `geometry_info` does."""
    kept = [best(restarts) for restarts in by_value(evidence.batch(PLATEAUS), "feature_prob").values()]
    return _info(evidence, kept, "the best restart at each p")


def cluster_info(evidence: Evidence[Any]) -> GeometryInfo:
    """The batch `cluster`; raises as `geometry_info` does."""
    return _info(evidence, evidence.batch(CLUSTER), "all trials")


def _info(evidence: Evidence[Any], trials: Sequence[Row], which: str) -> GeometryInfo:
    rows = sorted(trials, key=lambda row: (row["feature_prob"], row["seed"]))
    features = features_of(evidence.root, rows)
    if lacking := [row["trial_id"] for row in rows if row["trial_id"] not in features]:
        raise FigureError(f"trial {lacking[0]} left no rows in features; launch it again into another root")
    return GeometryInfo(
        rows[0]["n_features"], rows[0]["d_hidden"], which, np.array([row["feature_prob"] for row in rows]),
        np.array([row["dimensions_per_feature"] for row in rows]),
        [features[row["trial_id"]].shares for row in rows],
    )  # fmt: skip


@styled
def geometry(info: GeometryInfo) -> Figure:
    """m / ‖W‖² and D against 1/p, on the article's axis."""
    figure, axes = grid(1, 2, 9.2, 3.9)
    plateaus, shares = axes[0]
    plateaus.scatter(1 / info.probs, info.dimensions_per_feature, s=16, color=COLOURS[1], alpha=0.6, lw=0)
    _lines(plateaus, {"1": 1.0, "1/2": 0.5})
    _rarity(plateaus, info)
    plateaus.set_ylabel("dimensions per represented feature, m / ‖W‖²")
    plateaus.set_ylim(bottom=0)
    _scatter(shares, info)
    _lines(shares, POLYTOPES)
    figure.suptitle(_title(info))
    return figure


@styled
def cluster(info: GeometryInfo) -> Figure:
    """D against 1/p, and how often each D is found over all p."""
    figure, axes = grid(1, 2, 9.2, 3.9, sharey=True)
    each, counts = axes[0]
    _scatter(each, info)
    together = np.concatenate(info.shares)
    low, high = max(0, together.min() - 0.02), together.max() + 0.02
    each.set_ylim(low, high)
    marks = {name: height for name, height in (POLYTOPES | {"4/9": FOUR_NINTHS}).items() if low < height < high}
    _lines(each, marks)
    counts.hist(together, bins=np.arange(0, 1 + 2 * BIN, BIN), orientation="horizontal", color=COLOURS[1], alpha=0.8)
    _lines(counts, marks)
    counts.set_xlabel(f"features, of all trials, in bins of {BIN:g}")
    figure.suptitle(_title(info))
    return figure


def _title(info: GeometryInfo) -> str:
    return f"{info.n_features} features of equal importance in {info.d_hidden} dimensions, {info.which}"


def _rarity(ax: Axes, info: GeometryInfo) -> None:
    """The axis of 1/p; within a decade the ticks between its ends are named too."""
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}" if info.probs.max() < 10 * info.probs.min() else NullFormatter())
    ax.set_xlabel("1 / p")


def _scatter(ax: Axes, info: GeometryInfo) -> None:
    x = np.repeat(1 / info.probs, [len(shares) for shares in info.shares])
    ax.scatter(x, np.concatenate(info.shares), s=5, color=COLOURS[1], alpha=0.35, lw=0)
    ax.set_ylabel("dimensionality D of features with ‖W_i‖ > 1/2")
    ax.set_ylim(0, 1.03)
    _rarity(ax, info)


def _lines(ax: Axes, marks: dict[str, float]) -> None:
    """Named lines across; the names stand at the right, those of neighbours apart."""
    for name, height in marks.items():
        ax.axhline(height, color=COLOURS[0], lw=0.8, ls=":", zorder=1)
        above = any(0 < other - height < CLOSE for other in marks.values())
        below = any(0 < height - other < CLOSE for other in marks.values())
        place = {"xy": (1.01, height), "xycoords": ("axes fraction", "data")}
        side = "center" if above == below else "top" if above else "bottom"
        ax.annotate(name, **place, va=side, fontsize=7, color=COLOURS[0])
