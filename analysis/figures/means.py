"""Means over seeds with their confidence intervals, against a swept knob.

Data + metrics -> MeansInfo -> means()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monosweep.analysis.figures.data import Arm, Data, Metric, by_facet, finite
from monosweep.analysis.figures.style import COLOURS, MARKERS, MOST_LABELS, facet_legends, from_zero, grid, styled
from monosweep.analysis.knobs import by_value, is_number, ordered, shown
from monosweep.analysis.stats.intervals import Interval, shown_interval

APART = 0.07
"""Between two series at one value, in steps from value to value."""
_MOST_TICKS = 16
"""Numbers that the axis names; of more it names some.  Categories are all named."""
_FEW = "a value with fewer than three trials has them as hollow points, and no interval"
_NOWHERE = Interval(float("nan"), None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSeries:
    """One combination of the other knobs."""

    label: str
    facet: str = ""
    """The panel that it stands in."""
    joined: bool = True
    """Whether its means lie on a line: its trials differ in the knob alone."""
    values: list[Any]
    """The knob's, in order."""
    means: dict[str, list[Interval]]
    """Metrics by name, value by value; no interval of fewer than three trials."""
    few: dict[str, list[tuple[Any, float]]]
    """By metric (value, number) of the trials at values that have fewer than three."""


@dataclass(frozen=True, slots=True)
class MeansInfo:
    by: str
    axis_label: str
    series: list[MeanSeries]

    @property
    def facets(self) -> dict[str, list[MeanSeries]]:
        """The series by the panel that they stand in."""
        return by_facet(self.series)

    @property
    def values(self) -> list[Any]:
        """The knob's, of all series, in order."""
        return ordered({value for series in self.series for value in series.values})


def means_info(data: Data, metrics: Sequence[Metric]) -> MeansInfo:
    """Metrics of each group against the chosen column: Student's 95 % interval over trials."""
    info = MeansInfo(data.by, data.axis_label, [_series(arm, data.by, metrics) for arm in data.arms()])
    data.note_missing(metrics)
    if any(few for series in info.series for few in series.few.values()):
        data.notes.append(_FEW)
    return info


def _series(arm: Arm, by: str, metrics: Sequence[Metric]) -> MeanSeries:
    cells = by_value(arm.rows, by)
    found = {m.name: {value: finite(rows, m.name).tolist() for value, rows in cells.items()} for m in metrics}
    return MeanSeries(
        label=arm.label,
        facet=arm.facet,
        joined=arm.joined and all(map(is_number, cells)),
        values=list(cells),
        means={
            name: [shown_interval(numbers) if numbers else _NOWHERE for numbers in values.values()]
            for name, values in found.items()
        },
        few={
            name: [(value, one) for value, numbers in values.items() if len(numbers) < 3 for one in numbers]
            for name, values in found.items()
        },
    )


@styled
def means(info: MeansInfo, metrics: Sequence[Metric]) -> Figure:
    """A column of panels for each metric, a row for each facet."""
    facets = info.facets
    width = 3.6 if all(map(is_number, info.values)) else max(3.6, 0.2 * len(info.values))
    figure, axes = grid(
        len(facets), len(metrics), width * len(metrics), 0.6 + 2.9 * len(facets), sharex=True, sharey="col"
    )
    for row, (facet, series) in zip(axes, facets.items(), strict=True):
        for ax, metric in zip(row, metrics, strict=True):
            _lines(ax, info, series, metric.name)
            ax.set_ylabel(metric.label)
            if metric.from_zero:
                from_zero(ax)
        row[0].set_title(facet, loc="left")
    facet_legends(figure, axes)
    figure.suptitle(f"Means over seeds and 95 % intervals, by {info.axis_label.splitlines()[0]}")
    return figure


def _lines(ax: Axes, info: MeansInfo, all_series: Sequence[MeanSeries], name: str) -> None:
    """A line through the means of each series; evenly spaced values, the series side by side."""
    place = {value: i for i, value in enumerate(info.values)}
    middle = (len(all_series) - 1) / 2
    for i, (series, colour, marker) in enumerate(zip(all_series, cycle(COLOURS), cycle(MARKERS), strict=False)):
        found, aside = series.means[name], APART * (i - middle)
        several = [f if f.low is not None else _NOWHERE for f in found]
        x = [place[value] + aside for value in series.values]
        if series.joined:
            ax.plot(x, [f.mean for f in found], color=colour, lw=1.6, zorder=1.9)
        ax.errorbar(
            x, [f.mean for f in several], np.transpose([f.reach for f in several]), color=colour, marker=marker, ms=4.5,
            ls="none", elinewidth=1.1, capsize=2.5, label=series.label or None,
        )  # fmt: skip
        few = series.few[name]
        ax.scatter([place[value] + aside for value, _ in few], [y for _, y in few], s=16, ec=colour, fc="none",
                   marker=marker, lw=0.9, zorder=3)  # fmt: skip
    _name_ticks(ax, info)


def _name_ticks(ax: Axes, info: MeansInfo) -> None:
    values = list(enumerate(info.values))
    if all(map(is_number, info.values)):
        values = values[:: -(-len(values) // _MOST_TICKS)]
    turned = 0 if len(values) <= MOST_LABELS - 2 else 45 if len(values) <= _MOST_TICKS else 90
    ax.set_xticks([i for i, _ in values], [shown(info.by, value) for _, value in values], rotation=turned)
    ax.set_xlabel(info.axis_label)
