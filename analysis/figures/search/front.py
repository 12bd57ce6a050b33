"""The Pareto front of a search, those that it dominates, and those that were stopped, as they stood then."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monosweep.analysis.figures.search.shared import BEST, DONE, STOPPED, limits, tell_outside
from monosweep.analysis.figures.style import grid, series_legend, styled
from monosweep.analysis.search.front import FrontInfo


@styled
def front(info: FrontInfo) -> Figure:
    """A panel for each pair of objectives."""
    pairs = list(combinations(range(len(info.found.objectives)), 2))
    figure, axes = grid(1, len(pairs), max(5.6, 4.2 * len(pairs)), 4.2)
    for ax, (x, y) in zip(axes[0], pairs, strict=True):
        _panel(ax, info, x, y)
    series_legend(figure, axes[0, 0])
    n_front, n_done = int(info.on_front.sum()), int(info.found.completed.sum())
    figure.suptitle(f"{n_front} of {n_done} completed trials of {info.found.sweep} are on the front")
    return figure


def _panel(ax: Axes, info: FrontInfo, x: int, y: int) -> None:
    found = info.found
    xs, ys = found.values[:, x], found.values[:, y]
    dominated = found.completed & ~info.on_front
    ax.scatter(xs[found.stopped], ys[found.stopped], s=9, facecolors="none", edgecolors=STOPPED, lw=0.8,
               label="stopped early, as it stood then")  # fmt: skip
    ax.scatter(xs[dominated], ys[dominated], s=20, color=DONE, alpha=0.75, lw=0, label="completed, dominated")
    if len(found.objectives) == 2:
        _dominated_area(ax, info)
    ax.scatter(xs[info.on_front], ys[info.on_front], s=34, color=BEST, lw=0, zorder=4, label="on the front")
    ends = [_limits(info, place) for place in (x, y)]
    ax.set_xlim(*ends[0])
    ax.set_ylim(*ends[1])
    inside = (xs >= ends[0][0]) & (xs <= ends[0][1]) & (ys >= ends[1][0]) & (ys <= ends[1][1])
    shown = (found.stopped | found.completed) & np.isfinite(xs) & np.isfinite(ys)
    tell_outside(ax, int((shown & ~inside).sum()))
    for say, place in ((ax.set_xlabel, x), (ax.set_ylabel, y)):
        objective = found.objectives[place]
        say(f"{objective.label} ({'less' if objective.mode == 'min' else 'more'} is better)")


def _limits(info: FrontInfo, place: int) -> tuple[float, float]:
    """The front and the reference whole, and most of the completed trials: those that were stopped lie far off."""
    values = info.found.values[:, place]
    keep = np.append(values[info.on_front], info.reference[place])
    return limits(values[info.found.completed], keep, info.found.objectives[place].sign)


def _dominated_area(ax: Axes, info: FrontInfo) -> None:
    """The steps of the front, and what lies between it and the reference."""
    points = info.found.values[info.on_front]
    signs = [objective.sign for objective in info.found.objectives]
    points = points[np.argsort(points[:, 0] * signs[0])]
    xs = np.append(points[:, 0], info.reference[0])
    ys = np.append(points[:, 1], points[-1, 1])
    ax.step(xs, ys, where="post", color=BEST, lw=1.4, zorder=3)
    ax.fill_between(xs, ys, info.reference[1], step="post", color=BEST, alpha=0.09, lw=0,
                    label=f"hypervolume {info.hypervolume:.4g}, up to ×")  # fmt: skip
    ax.plot(*info.reference, marker="x", color="#444444", ms=6, ls="none", zorder=4)
