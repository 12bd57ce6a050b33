"""Every trial of a search against the steps that had been trained by its end, and the best by then."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from monosweep.analysis.figures.search.shared import BEST, DONE, STOPPED, limits, tell_outside
from monosweep.analysis.figures.style import grid, series_legend, styled
from monosweep.analysis.search.history import HistoryInfo


@styled
def history(info: HistoryInfo) -> Figure:
    """A panel for each objective, and one for the hypervolume where there are several."""
    n = len(info.found.objectives) + (info.hypervolume is not None)
    figure, axes = grid(n, 1, 6.6, 0.8 + 2.1 * n, sharex=True)
    for place in range(len(info.found.objectives)):
        _panel(axes[place, 0], info, place)
    if info.hypervolume is not None:
        axes[-1, 0].step(info.model_steps, info.hypervolume, where="post", color=BEST, lw=1.8)
        axes[-1, 0].set_ylabel("hypervolume")
        axes[-1, 0].set_ylim(bottom=0)
    axes[-1, 0].set_xlabel("optimiser steps trained, over all trials")
    axes[-1, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[-1, 0].set_xlim(left=0)
    series_legend(figure, axes[0, 0])
    figure.suptitle(f"The best of {len(info.found.rows)} trials of {info.found.sweep}, as it went on")
    return figure


def _panel(ax: Axes, info: HistoryInfo, place: int) -> None:
    found, objective = info.found, info.found.objectives[place]
    values = found.values[:, place]
    ax.scatter(info.model_steps[found.stopped], values[found.stopped], s=8, facecolors="none", edgecolors=STOPPED,
               lw=0.7, label="stopped early, as it stood then")  # fmt: skip
    ax.scatter(info.model_steps[found.completed], values[found.completed], s=15, color=DONE, alpha=0.8, lw=0,
               label="completed")  # fmt: skip
    ax.step(info.model_steps, info.best[:, place], where="post", color=BEST, lw=1.8, label="best completed so far")
    low, high = limits(values, info.best[:, place], objective.sign)
    ax.set_ylim(low, high)
    ax.set_ylabel(f"{objective.label}\n({objective.mode})")
    shown = (found.stopped | found.completed) & np.isfinite(values)
    tell_outside(ax, int((shown & ((values < low) | (values > high))).sum()))
