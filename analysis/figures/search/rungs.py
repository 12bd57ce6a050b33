"""Who was stopped where: the trials' curves up to there, and how many went on from each rung."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from monosweep.analysis.figures.search.shared import BEST, DONE, STOPPED, limits, tell_outside
from monosweep.analysis.figures.style import COLOURS, grid, series_legend, styled
from monosweep.analysis.search.rungs import RungsInfo
from monosweep.model.records import TrialStatus


@styled
def rungs(info: RungsInfo) -> Figure:
    """Curves above, where they are recorded, and below them the counts."""
    parts = 2 if info.curves else 1
    figure, axes = grid(parts, 1, 6.6, 1.0 + 2.7 * parts)
    if info.curves:
        _curves(axes[0, 0], info)
    _counts(axes[-1, 0], info)
    series_legend(figure, axes[-1, 0])
    stopped, n = sum(sum(rung.stopped.values()) for rung in info.rungs), len(info.found.rows)
    figure.suptitle(
        f"{stopped} of {n} trials of {info.found.sweep} stopped early: {100 * info.saved:.0f} % of all steps spared"
    )
    return figure


def _curves(ax: Axes, info: RungsInfo) -> None:
    """Of those that went on to the end above the others; a mark where one was stopped."""
    found, objective = info.found, info.found.objectives[0]
    status = {row["trial_id"]: row["status"] for row in found.rows}
    lines: dict[bool, list[np.ndarray]] = {True: [], False: []}
    ends = []
    for trial_id, (steps, values) in info.curves.items():
        stopped = status[trial_id] == TrialStatus.STOPPED
        lines[stopped].append(np.stack([steps, values], axis=1))
        if stopped:
            ends.append((steps[-1], values[-1]))
    ax.add_collection(LineCollection(lines[True], colors=STOPPED, linewidths=0.6, alpha=0.55))
    ax.add_collection(LineCollection(lines[False], colors=DONE, linewidths=1.0, alpha=0.8, zorder=3))
    if ends:
        ax.plot(*np.array(ends).T, ls="none", marker=".", ms=3.5, color=BEST, alpha=0.7, zorder=4)
    first = min(rung.step for rung in info.rungs)
    late = np.concatenate([values[steps >= first / 2] for steps, values in info.curves.values()])
    last = np.array([values[-1] for _, values in info.curves.values()])
    low, high = limits(late, last[:0], objective.sign)
    ax.set_ylim(low, high)
    ax.set_xscale("log", base=2)
    ax.set_xlim(first / 4, max(steps[-1] for steps, _ in info.curves.values()) * 1.05)
    tell_outside(ax, int(((last < low) | (last > high)).sum()))
    ax.set_xlabel("training steps")
    ax.set_ylabel(f"{objective.label} ({objective.mode})")
    ax.set_title("blue: not stopped; a dot: stopped there", loc="left", fontsize=8)


def _counts(ax: Axes, info: RungsInfo) -> None:
    """A bar for each rung: who went on, and who was stopped by whom."""
    places = np.arange(len(info.rungs))
    on = np.array([rung.went_on for rung in info.rungs])
    ax.bar(places, on, color=DONE, width=0.62, label="went on")
    below = on
    judges = sorted({judge for rung in info.rungs for judge in rung.stopped})
    colours = (STOPPED, *COLOURS[2:])
    for judge, colour in zip(judges, cycle(colours), strict=False):
        n = np.array([rung.stopped.get(judge, 0) for rung in info.rungs])
        ax.bar(places, n, bottom=below, color=colour, width=0.62, label=f"stopped by {judge}")
        below = below + n
    for place, rung in zip(places, info.rungs, strict=True):
        ax.annotate(f"{rung.went_on} of {rung.reached} went on", (float(place), rung.reached), ha="center", va="bottom",
                    fontsize=8, xytext=(0, 2), textcoords="offset points")  # fmt: skip
    ax.set_xticks(places, [f"{rung.step:,}" for rung in info.rungs])
    ax.set_ylim(0, 1.12 * max(rung.reached for rung in info.rungs))
    ax.grid(axis="x", visible=False)
    ax.set_xlabel("steps after which trials were stopped")
    ax.set_ylabel("trials")
