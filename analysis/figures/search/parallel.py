"""Trials as lines through their knobs and what they are worth; the better is above."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from monosweep.analysis.figures.search.shared import BEST, STOPPED
from monosweep.analysis.figures.style import grid, styled
from monosweep.analysis.knobs import words
from monosweep.analysis.search.parallel import ParallelInfo


@styled
def parallel(info: ParallelInfo) -> Figure:
    """One upright line a knob or objective, a line across for each trial; the front (of one objective: the best) on
    top."""
    found, n = info.found, len(info.axes)
    figure, axes = grid(1, 1, max(6.4, 1.35 * n + 1.0), 4.2)
    ax = axes[0, 0]
    heights = np.stack([axis.heights for axis in info.axes], axis=1)
    done = found.completed & ~info.on_front
    colours = mpl.colormaps["viridis"](0.92 * (1 - info.rank[done]))
    for mask, given in (
        (found.stopped, {"colors": STOPPED, "linewidths": 0.5, "alpha": 0.35}),
        (done, {"colors": colours, "linewidths": 0.9, "alpha": 0.75}),
        (info.on_front, {"colors": BEST, "linewidths": 1.7, "zorder": 3}),
    ):
        lines = [np.stack([np.arange(n), line], axis=1) for line in heights[mask]]
        ax.add_collection(LineCollection(lines, **given))
    for place, axis in enumerate(info.axes):
        ax.axvline(place, color="#666666", lw=0.8, zorder=2.5)
        for height, text in axis.ticks:
            ax.annotate(text, (place, height), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center",
                        zorder=5, bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6})  # fmt: skip
    modes = [""] * len(found.knobs) + [f"\n({objective.mode})" for objective in found.objectives]
    ax.set_xticks(range(n), [words(axis.name) + mode for axis, mode in zip(info.axes, modes, strict=True)])
    ax.set_xlim(-0.1, n - 0.75)
    ax.set_ylim(-0.03, 1.03)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    first = found.objectives[0]
    best = "on the front" if len(found.objectives) > 1 else f"the least {first.label}"
    best = best if first.mode == "min" or len(found.objectives) > 1 else f"the most {first.label}"
    named = [(BEST, best), (mpl.colormaps["viridis"](0.8), f"completed, the better in {first.label} the lighter"),
             (STOPPED, "stopped early")]  # fmt: skip
    figure.legend(
        [Line2D([], [], color=colour, lw=2) for colour, _ in named], [text for _, text in named],
        loc="outside lower center", ncols=3,
    )  # fmt: skip
    figure.suptitle(f"{len(found.rows)} trials of {found.sweep}: knobs and what they came to")
    return figure
