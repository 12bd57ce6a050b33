"""How many neurons are polysemantic against the width, beside n²/4m.

Evidence -> ScalingInfo -> scaling()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.figures.style import COLOURS, grid, series_legend, styled
from monosweep.analysis.knobs import by_value
from monosweep.analysis.papers.lecomte2023.batches import SCALING, expected
from monosweep.analysis.stats.intervals import Interval, shown_interval


@dataclass(frozen=True, slots=True)
class ScalingInfo:
    """Everything by width, in its order."""

    n_features: int
    widths: list[int]
    counts: list[list[int]]
    """Polysemantic neurons of each trial."""
    means: list[Interval]
    """Over seeds; without ends for fewer than three."""
    expected: list[float]


def scaling_info(evidence: Evidence[Any]) -> ScalingInfo:
    """The batch's trials by width."""
    rows = evidence.batch(SCALING)
    n, widths = rows[0]["n_features"], by_value(rows, "n_neurons")
    counts = [[row["n_poly"] for row in same] for same in widths.values()]
    return ScalingInfo(n, list(widths), counts, list(map(shown_interval, counts)), [expected(n, m) for m in widths])


@styled
def scaling(info: ScalingInfo) -> Figure:
    """Both axes logarithmic, but for what lies between no neuron and one."""
    figure, axes = grid(1, 1, 5.2, 4.0)
    ax = axes[0, 0]
    x = np.array(info.widths, dtype=float)
    each = [(m, count) for m, counts in zip(x, info.counts, strict=True) for count in counts]
    ax.scatter(*np.transpose(each), s=14, color=COLOURS[1], alpha=0.25, lw=0, label="a trial", zorder=2)
    ax.plot(x, info.expected, color="#444444", ls="--", lw=1.2, label="n²/4m", zorder=2.5)
    ax.errorbar(
        x, [m.mean for m in info.means], np.transpose([m.reach for m in info.means]), color=COLOURS[1], marker="o",
        ms=5, lw=0, elinewidth=1.3, capsize=3, label="mean over seeds, 95 % interval", zorder=3,
    )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_yscale("symlog", base=2, linthresh=1)
    ax.set_xticks(x, [str(m) for m in info.widths])
    top = max(max(counts) for counts in info.counts)
    ticks = [0, *(2**i for i in range(int(np.log2(max(top, 1))) + 2))]
    ax.set_yticks(ticks, [str(t) for t in ticks])
    ax.set_ylim(-0.15, ticks[-1])
    ax.set_xlabel("number of neurons m")
    ax.set_ylabel("polysemantic neurons")
    series_legend(figure, ax)
    figure.suptitle(f"Neurons shared by some of {info.n_features} features")
    return figure
