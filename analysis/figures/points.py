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

from monosweep.analysis.figures.data import MOST_SERIES, Arm, Array, Data, Metric, by_facet, column_of, finite
from monosweep.analysis.figures.style import COLOURS, MARKERS, MOST_LABELS, facet_legends, from_zero, grid, styled
from monosweep.analysis.knobs import Scale, by_value, is_number, ordered, scale_of, shown

CROWDED = 0.1
"""Ticks closer than this share of the axis are turned."""
OTHERS = "#9a9a9a"
"""Series beyond those that colours tell apart."""
_LABEL_WIDTH = 0.2
"""Of a category's name that is written upwards, in inches."""


_MOST_DIGITS = 3
"""Of a value among many that an axis names."""
_LEAST_TICKS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One combination of the other knobs."""

    label: str
    facet: str = ""
    """The panel that it stands in."""
    joined: bool = True
    """Whether its medians lie on a line: its trials differ in the knob alone."""
    x: list[Any]
    """The knob, trial by trial."""
    points: dict[str, Array]
    """Metrics by name, trial by trial; NaN where a trial has none."""
    values: list[Any]
    """The knob's values, in order."""
    medians: dict[str, Array]
    """Metrics by name, value by value."""


@dataclass(frozen=True, slots=True)
class PointsInfo:
    by: str
    axis_label: str
    scale: Scale
    series: list[Series]

    @property
    def facets(self) -> dict[str, list[Series]]:
        """The series by the panel that they stand in."""
        return by_facet(self.series)

    @property
    def values(self) -> list[Any]:
        """The knob's, of all series, in order."""
        return ordered({value for series in self.series for value in series.values})


def points_info(data: Data, metrics: Sequence[Metric]) -> PointsInfo:
    """Every trial's metrics against the chosen column."""
    series = [_series(arm, data.by, metrics) for arm in data.arms()]
    data.note_missing(metrics)
    return PointsInfo(data.by, data.axis_label, scale_of([x for s in series for x in s.values]), series)


def _series(arm: Arm, by: str, metrics: Sequence[Metric]) -> Series:
    groups = by_value(arm.rows, by)
    flat = [row for same in groups.values() for row in same]
    return Series(
        label=arm.label,
        facet=arm.facet,
        joined=arm.joined and all(map(is_number, groups)),
        x=[row[by] for row in flat],
        points={m.name: column_of(flat, m.name) for m in metrics},
        values=list(groups),
        medians={m.name: np.array([_median(finite(same, m.name)) for same in groups.values()]) for m in metrics},
    )


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")


@styled
def points(info: PointsInfo, metrics: Sequence[Metric], title: str) -> Figure:
    """A column of panels for each metric, a row for each facet."""
    facets = info.facets
    width = max(3.6, _LABEL_WIDTH * len(info.values) * (not all(map(is_number, info.values))))
    figure, axes = grid(
        len(facets), len(metrics), width * len(metrics), 0.5 + 2.8 * len(facets), sharex=True, sharey="col"
    )
    for row, (facet, series) in zip(axes, facets.items(), strict=True):
        for ax, metric in zip(row, metrics, strict=True):
            series_lines(ax, info, series, metric)
        row[0].set_title(facet, loc="left")
    facet_legends(figure, axes)
    figure.suptitle(title)
    return figure


def series_lines(ax: Axes, info: PointsInfo, all_series: Sequence[Series], metric: Metric) -> None:
    """A point per trial and, where the knob alone differs, a line through the medians, for every series.

    More series than colours and marks tell apart are grey, and said to be so many.
    """
    values = info.values
    numbers = all(map(is_number, values))
    place = {v: v for v in values} if numbers else {v: i for i, v in enumerate(values)}
    n_others = len(all_series) - MOST_SERIES
    told = [(c, m) for c, m, _ in zip(cycle(COLOURS), cycle(MARKERS), range(MOST_SERIES), strict=False)]
    looks = [*told, *[(OTHERS, ".")] * max(0, n_others)]
    for i, (series, (colour, marker)) in enumerate(zip(all_series, looks, strict=False)):
        label = series.label or None
        if i >= MOST_SERIES:
            label = f"{n_others} other combinations" if i == MOST_SERIES else None
        x, medians = [place[v] for v in series.values], series.medians[metric.name]
        if series.joined:
            ax.plot(x, medians, color=colour, lw=2, label=label, zorder=2.9 - 0.01 * i)
        elif not numbers:
            ax.plot(x, medians, color=colour, ls="none", marker="_", ms=14, mew=2, zorder=2.9 - 0.01 * i)
        x, each = [place[v] for v in series.x], series.points[metric.name]
        ax.scatter(x, each, s=18, color=colour, marker=marker, alpha=0.7, lw=0, zorder=3,
                   label=None if series.joined else label)  # fmt: skip
    _scale(ax, info)
    if ticks := _ticks(values, info.scale):
        _name_ticks(ax, info, ticks, [float(place[v]) for v in ticks])
    ax.set_xlabel(info.axis_label)
    ax.set_ylabel(metric.label)
    from_zero(ax)


def _scale(ax: Axes, info: PointsInfo) -> None:
    if info.scale == "symlog":  # zero has a place of its own, a step before the least
        least = min(value for value in info.values if value > 0)
        ax.set_xscale("symlog", linthresh=least, linscale=0.4)
        ax.set_xlim(-0.2 * least, 1.3 * max(info.values))
    elif info.scale == "log":
        ax.set_xscale("log")


def _name_ticks(ax: Axes, info: PointsInfo, ticks: Sequence[Any], places: Sequence[float]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    closest, span = min(np.diff(sorted(places)), default=1.0), max(places) - min(places)
    turned = 45 if info.scale == "linear" and closest < CROWDED * span else 0
    ax.set_xticklabels([shown(info.by, v) for v in ticks], rotation=90 if len(ticks) > 2 * MOST_LABELS else turned)


def _ticks(values: Sequence[Any], scale: Scale) -> list[Any]:
    """Which values the axis names: all if they are few or words; on a logarithmic axis the round ones, as far as they
    have room; none where there are few of these or the axis is linear, which has ticks of its own."""
    if not all(map(is_number, values)) or (scale == "linear" and len(values) <= MOST_LABELS):
        return list(values)
    if scale == "linear":
        return []
    places = {
        v: float(np.log(v)) for v in values if v > 0 and (len(values) <= MOST_LABELS or _digits(v) <= _MOST_DIGITS)
    }
    if len(places) < _LEAST_TICKS:
        return []
    room = (max(places.values()) - min(places.values())) / MOST_LABELS
    found: list[Any] = []
    for value in sorted(places, key=lambda v: (_digits(v), places[v])):
        if all(abs(places[value] - places[other]) >= room * (1 - 1e-9) for other in found):
            found.append(value)
    return [v for v in values if v in found or v == 0]


def _digits(value: float) -> int:
    """How many digits it takes to say it, without the zeros at either end."""
    return len(f"{value:.6e}".partition("e")[0].replace(".", "").rstrip("0"))
