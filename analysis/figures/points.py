"""Metrics against a knob: a point for each trial and a line through the medians, for every combination of other knobs.

Data + metrics -> PointsInfo -> points()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from monosweep.analysis.figures.data import Array, Data, Metric, column_of
from monosweep.analysis.figures.style import COLOURS, MARKERS, MOST_LABELS, grid, series_legend, styled
from monosweep.analysis.knobs import Row, by_value, is_number, named, ordered, shown, spread_over_decades

CROWDED = 0.1
"""Ticks closer than this share of the axis are turned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One combination of the other knobs."""

    label: str
    x: list[Any]
    """The knob, trial by trial."""
    points: dict[str, Array]
    """Metrics by name, trial by trial."""
    values: list[Any]
    """The knob's values, in order."""
    medians: dict[str, Array]
    """Metrics by name, value by value."""


@dataclass(frozen=True, slots=True)
class PointsInfo:
    by: str
    log_x: bool
    series: list[Series]


def points_info(data: Data, metrics: Sequence[Metric]) -> PointsInfo:
    """Every trial's metrics against the chosen column."""
    series = [_series(label, rows, data.by, metrics) for label, rows in data.groups()]
    return PointsInfo(data.by, spread_over_decades([x for s in series for x in s.values]), series)


def _series(label: str, rows: list[Row], by: str, metrics: Sequence[Metric]) -> Series:
    groups = by_value(rows, by)
    flat = [row for same in groups.values() for row in same]
    return Series(
        label=label,
        x=[row[by] for row in flat],
        points={m.name: column_of(flat, m.name) for m in metrics},
        values=list(groups),
        medians={m.name: np.array([np.median(column_of(same, m.name)) for same in groups.values()]) for m in metrics},
    )


@styled
def points(info: PointsInfo, metrics: Sequence[Metric], title: str) -> Figure:
    """A panel for each metric."""
    figure, axes = grid(1, len(metrics), 3.6 * len(metrics), 3.3)
    for ax, metric in zip(axes[0], metrics, strict=True):
        series_lines(ax, info, metric)
    series_legend(figure, axes[0, 0])
    figure.suptitle(title)
    return figure


def series_lines(ax: Axes, info: PointsInfo, metric: Metric) -> None:
    """A point per trial and a line through the medians, for every series."""
    values = ordered({value for series in info.series for value in series.values})
    place = {v: v for v in values} if all(map(is_number, values)) else {v: i for i, v in enumerate(values)}
    for i, (series, colour, marker) in enumerate(zip(info.series, cycle(COLOURS), cycle(MARKERS), strict=False)):
        x, medians = [place[v] for v in series.values], series.medians[metric.name]
        ax.plot(x, medians, color=colour, lw=2, label=series.label or None, zorder=2.9 - 0.01 * i)
        x, each = [place[v] for v in series.x], series.points[metric.name]
        ax.scatter(x, each, s=18, color=colour, marker=marker, alpha=0.7, lw=0, zorder=3)
    if info.log_x:
        ax.set_xscale("log")
    if ticks := _ticks(values, info.log_x):
        _name_ticks(ax, info, ticks, [float(place[v]) for v in ticks])
    ax.set_xlabel(named(info.by))
    ax.set_ylabel(metric.label)
    ax.set_ylim(bottom=0)


def _name_ticks(ax: Axes, info: PointsInfo, ticks: Sequence[Any], places: Sequence[float]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    closest, span = min(np.diff(sorted(places)), default=1.0), max(places) - min(places)
    turned = 45 if not info.log_x and closest < CROWDED * span else 0
    ax.set_xticklabels([shown(info.by, v) for v in ticks], rotation=turned)


def _ticks(values: Sequence[Any], log_x: bool) -> list[Any]:
    """Which values the axis names: all if they are few, on a logarithmic axis else some powers of two."""
    if len(values) <= MOST_LABELS:
        return list(values)
    powers = [v for v in values if log_x and float(np.log2(v)).is_integer()]
    return powers[:: -(-len(powers) // MOST_LABELS)] if powers else []
