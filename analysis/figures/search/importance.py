"""How much each knob has to do with being among the best tenth, objective by objective, with its interval."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.figures.style import COLOURS, grid, styled
from monosweep.analysis.knobs import words
from monosweep.analysis.search.importance import ImportanceInfo


@styled
def importance(info: ImportanceInfo) -> Figure:
    """A panel for each objective; knobs in the order of their mean importance."""
    found = info.found
    order = np.argsort(info.share.mean(axis=0), kind="stable")
    n = len(found.objectives)
    figure, axes = grid(1, n, max(5.2, 3.6 * n), 1.7 + 0.34 * len(found.knobs), sharey=True)
    for place, (ax, objective) in enumerate(zip(axes[0], found.objectives, strict=True)):
        share = info.share[place, order]
        # A share of the whole lies outside the middle of the resampled ones where resampling blurs it.
        reach = np.stack([share - info.low[place, order], info.high[place, order] - share]).clip(0)
        ax.barh(range(len(order)), share, xerr=reach, color=COLOURS[1], alpha=0.85, height=0.62, ecolor="#444444",
                error_kw={"elinewidth": 1, "capsize": 2.5})  # fmt: skip
        ax.set_title(f"{objective.label} ({objective.mode})")
        ax.set_xlim(0, 1)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("share of importance (whiskers: 90 %\nof the shares when trials are drawn anew)")
    axes[0, 0].set_yticks(range(len(order)), [words(found.knobs[k]) for k in order])
    figure.suptitle(f"What makes a trial of {found.sweep} one of the best tenth")
    return figure
