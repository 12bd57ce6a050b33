"""Training traces: what `curves` recorded of every trial, coloured by a knob; a panel per combination of the others.

Data + curves -> TracesInfo -> traces()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from monosweep.analysis.figures.data import Array, Data
from monosweep.analysis.figures.style import ACROSS, PANEL, colours_of, grid, styled, value_legend
from monosweep.analysis.knobs import FigureError, Row, by_value, ordered

MOST_SEEDS = 100
"""Thin lines of one value in a panel."""
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
    """One combination of the other knobs: for each value of the coloured one its median, and the seeds."""

    title: str
    median: dict[Any, Trace]
    """Over all seeds."""
    seeds: dict[Any, list[Trace]]
    """No more than MOST_SEEDS of a value."""


@dataclass(frozen=True, slots=True)
class TracesInfo:
    by: str
    axis_label: str
    curves: tuple[Curve, ...]
    panels: list[Panel]


def traces_info(data: Data, curves: tuple[Curve, ...]) -> TracesInfo:
    """Training traces of every trial.

    Raises:
        FigureError: if no curves are recorded.
    """
    traces = _traces(data, curves)
    panels, n_hidden = [], 0
    for label, rows in data.groups():
        found = {
            value: [traces[row["trial_id"]] for row in same if row["trial_id"] in traces]
            for value, same in by_value(rows, data.by).items()
        }
        found = {value: seeds for value, seeds in found.items() if seeds}
        n_hidden += sum(max(0, len(seeds) - MOST_SEEDS) for seeds in found.values())
        if found:
            some = {value: seeds[:MOST_SEEDS] for value, seeds in found.items()}
            panels.append(Panel(label, {value: median(seeds) for value, seeds in found.items()}, some))
    if not panels:
        raise FigureError("traces needs curves of completed trials; these trials have none")
    if lacking := sum(row["trial_id"] not in traces for row in data.rows):
        data.notes.append(f"{lacking:,} of {len(data.rows):,} trials have no curves")
    if n_hidden:
        data.notes.append(f"{n_hidden:,} trials have no thin line of their own, but part in the medians")
    return TracesInfo(data.by, data.axis_label, curves, panels)


def _traces(data: Data, curves: Sequence[Curve]) -> dict[str, Trace]:
    """By trial_id."""
    rows = {row["trial_id"]: row for row in data.rows}
    columns = ", ".join(dict.fromkeys(curve.column for curve in curves))
    points = data.root.sql(
        f"SELECT trial_id, step, {columns} FROM curves WHERE trial_id IN (SELECT unnest(?)) ORDER BY trial_id, step",
        [list(rows)],
    )
    if not points.num_rows:
        return {}
    ids = points["trial_id"].combine_chunks().dictionary_encode()
    steps = np.asarray(points["step"], np.float64)
    of_column = {c.column: np.asarray(points[c.column].cast(pa.float64()), np.float64) for c in curves}
    codes = np.asarray(ids.indices)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    found = {}
    for first, last in zip(starts, [*starts[1:], len(codes)], strict=True):
        trial_id = ids.dictionary[int(codes[first])].as_py()
        mine = {curve.name: of_column[curve.column][first:last] / _divisor(curve, rows[trial_id]) for curve in curves}
        found[trial_id] = Trace(steps[first:last], mine)
    return found


def _divisor(curve: Curve, row: Row) -> float:
    return 1.0 if curve.per is None else float(row[curve.per])


def median(traces: Sequence[Trace]) -> Trace:
    """The median over traces at the steps that all of them recorded."""
    common = reduce(np.intersect1d, (trace.steps for trace in _of_distinct_steps(traces)))
    over = {
        name: np.median([trace.curves[name][np.isin(trace.steps, common)] for trace in traces], axis=0)
        for name in traces[0].curves
    }
    return Trace(common, over)


def _of_distinct_steps(traces: Sequence[Trace]) -> list[Trace]:
    return list({trace.steps.tobytes(): trace for trace in traces}.values())


@styled
def traces(info: TracesInfo) -> Figure:
    """A row for each curve, a column for each panel, in bands of a few columns; thin lines are seeds."""
    across = min(len(info.panels), ACROSS)
    bands = -(-len(info.panels) // across)
    n = len(info.curves)
    width, height = max(6.4, PANEL * across + 1.2), 0.2 + HEIGHT * n * bands
    figure, axes = grid(n * bands, across, width, height, sharex=True)
    values = ordered({value for panel in info.panels for value in panel.median})
    colours = colours_of(values)
    for place in range(bands * across):
        column = axes[n * (place // across) : n * (place // across + 1), place % across]
        if place < len(info.panels):
            _panel(column, info.panels[place], info.curves, colours)
        else:
            for ax in column:
                ax.remove()
    for place, curve in enumerate(info.curves):
        _share_y([ax for row in axes[place::n] for ax in row if ax.figure is not None])
        for band in range(bands):
            axes[band * n + place, 0].set_ylabel(curve.label)
    axes[0, 0].set_xscale("log", base=2)
    axes[0, 0].xaxis.set_major_locator(LogLocator(base=2, numticks=6))
    value_legend(figure, info.by, values, colours)
    figure.suptitle(f"Training at each {info.axis_label.splitlines()[0]}")
    return figure


def _panel(column: Sequence[Axes], panel: Panel, curves: Sequence[Curve], colours: dict[Any, Any]) -> None:
    column[0].set_title(panel.title)
    for ax, curve in zip(column, curves, strict=True):
        _lines(ax, panel, curve.name, colours)
    column[-1].set_xlabel("training steps")
    column[-1].xaxis.set_tick_params(labelbottom=True)


def _share_y(axes: Sequence[Axes]) -> None:
    """One scale, and its numbers at the left alone."""
    for ax in axes[1:]:
        ax.sharey(axes[0])
        if not ax.get_subplotspec().is_first_col():
            ax.tick_params(labelleft=False)
    axes[0].autoscale_view()


def _lines(ax: Axes, panel: Panel, name: str, colours: dict[Any, Any]) -> None:
    for value, seeds in panel.seeds.items():
        if len(seeds) > 1:
            thin = [np.stack([trace.steps, trace.curves[name]], axis=1) for trace in seeds]
            ax.add_collection(LineCollection(thin, colors=[colours[value]], linewidths=0.7, alpha=0.45))
    for value, trace in panel.median.items():
        ax.plot(trace.steps, trace.curves[name], color=colours[value], lw=2)
    ax.autoscale_view()
