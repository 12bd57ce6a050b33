"""Training traces: what `curves` recorded of every trial, coloured by a knob; a panel per combination of the others.

Data + curves -> TracesInfo -> traces()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from monosweep.analysis.figures.data import Array, Data, column_of
from monosweep.analysis.figures.style import PANEL, colours_of, grid, styled, value_legend
from monosweep.analysis.knobs import FigureError, Row, by_value, named, ordered
from monosweep.analysis.tables.storage import quoted

HEIGHT = 2.0
"""Of a row of panels without what stands around them, in inches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A number over training: a column of `curves`."""

    name: str
    column: str
    label: str
    """What its axis says."""
    per: str | None = None
    """The column of `trials` that it is divided by."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One trial's recorded numbers."""

    steps: Array
    curves: dict[str, Array]
    """By name of the curve; each as long as `steps`."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One combination of the other knobs: for each value of the coloured one its median, and every seed."""

    title: str
    median: dict[Any, Trace]
    seeds: dict[Any, list[Trace]]


@dataclass(frozen=True, slots=True)
class TracesInfo:
    by: str
    curves: tuple[Curve, ...]
    panels: list[Panel]


def traces_info(data: Data, curves: tuple[Curve, ...]) -> TracesInfo:
    """Training traces of every trial.

    Raises:
        FigureError: if no curves are recorded.
    """
    traces = _traces(data, curves)
    panels = []
    for label, rows in data.groups():
        seeds = {
            value: [traces[row["trial_id"]] for row in same if row["trial_id"] in traces]
            for value, same in by_value(rows, data.by).items()
        }
        seeds = {value: found for value, found in seeds.items() if found}
        if seeds:
            panels.append(Panel(label, {value: median(found) for value, found in seeds.items()}, seeds))
    if not panels:
        raise FigureError("traces needs curves of completed trials; these trials have none")
    return TracesInfo(data.by, curves, panels)


def _traces(data: Data, curves: Sequence[Curve]) -> dict[str, Trace]:
    rows = {row["trial_id"]: row for row in data.rows}
    columns = ", ".join(dict.fromkeys(curve.column for curve in curves))
    points = data.root.sql(
        f"SELECT trial_id, step, {columns} FROM curves WHERE trial_id IN ({', '.join(map(quoted, rows))}) ORDER BY step"
    ).to_pylist()
    return {
        trial_id: Trace(column_of(mine, "step"), {curve.name: _values(curve, mine, rows[trial_id]) for curve in curves})
        for trial_id, mine in by_value(points, "trial_id").items()
    }


def _values(curve: Curve, points: Sequence[Row], row: Row) -> Array:
    return column_of(points, curve.column) / (1 if curve.per is None else row[curve.per])


def median(traces: Sequence[Trace]) -> Trace:
    """The median over traces at the steps that all of them recorded."""
    common = sorted(set.intersection(*({*t.steps.tolist()} for t in traces)))
    over = {
        name: np.asarray(np.median([t.curves[name][np.isin(t.steps, common)] for t in traces], axis=0))
        for name in traces[0].curves
    }
    return Trace(np.array(common), over)


@styled
def traces(info: TracesInfo) -> Figure:
    """A row for each curve, a column for each panel; thin lines are seeds."""
    n = len(info.panels)
    width, height = max(6.4, PANEL * n + 1.2), 0.2 + HEIGHT * len(info.curves)
    figure, axes = grid(len(info.curves), n, width, height, sharex=True, sharey="row")
    values = ordered({value for panel in info.panels for value in panel.median})
    colours = colours_of(values)
    for column, panel in enumerate(info.panels):
        axes[0, column].set_title(panel.title)
        for row, curve in enumerate(info.curves):
            _lines(axes[row, column], panel, curve.name, colours)
            axes[row, 0].set_ylabel(curve.label)
        axes[-1, column].set_xlabel("training steps")
        axes[-1, column].set_xscale("log", base=2)
        axes[-1, column].xaxis.set_major_locator(LogLocator(base=2, numticks=6))
    value_legend(figure, info.by, values, colours)
    figure.suptitle(f"Training at each {named(info.by)}")
    return figure


def _lines(axes: Axes, panel: Panel, name: str, colours: dict[Any, Any]) -> None:
    for value, seeds in panel.seeds.items():
        for trace in seeds if len(seeds) > 1 else ():
            axes.plot(trace.steps, trace.curves[name], color=colours[value], lw=0.7, alpha=0.45)
    for value, trace in panel.median.items():
        axes.plot(trace.steps, trace.curves[name], color=colours[value], lw=2)
