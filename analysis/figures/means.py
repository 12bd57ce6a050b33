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

from monosweep.analysis.figures.data import Data, Metric
from monosweep.analysis.figures.style import COLOURS, MARKERS, MOST_LABELS, grid, series_legend, styled
from monosweep.analysis.knobs import Row, by_value, named, ordered, shown
from monosweep.analysis.stats.intervals import Interval, interval

APART = 0.07
"""Between two series at one value, in steps from value to value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSeries:
    """One combination of the other knobs."""

    label: str
    values: list[Any]
    """The knob's, in order."""
    means: dict[str, list[Interval]]
    """Metrics by name, value by value."""


@dataclass(frozen=True, slots=True)
class MeansInfo:
    by: str
    series: list[MeanSeries]


def means_info(data: Data, metrics: Sequence[Metric]) -> MeansInfo:
    """Metrics of each group against the chosen column: Student's 95 % interval over trials."""
    series = [_series(label, by_value(rows, data.by), metrics) for label, rows in data.groups()]
    return MeansInfo(data.by, series)


def _series(label: str, cells: dict[Any, list[Row]], metrics: Sequence[Metric]) -> MeanSeries:
    over_seeds = {m.name: [interval([row[m.name] for row in rows]) for rows in cells.values()] for m in metrics}
    return MeanSeries(label=label, values=list(cells), means=over_seeds)


@styled
def means(info: MeansInfo, metrics: Sequence[Metric]) -> Figure:
    """A panel for each metric."""
    figure, axes = grid(1, len(metrics), 3.6 * len(metrics), 3.5)
    for ax, metric in zip(axes[0], metrics, strict=True):
        _lines(ax, info, metric.name)
        ax.set_ylabel(metric.label)
        if metric.from_zero:
            ax.set_ylim(bottom=0)
    series_legend(figure, axes[0, 0])
    figure.suptitle(f"Means over seeds and 95 % intervals, by {named(info.by)}")
    return figure


def _lines(ax: Axes, info: MeansInfo, name: str) -> None:
    """A line through the means of each series; evenly spaced values, the series side by side."""
    values = ordered({value for series in info.series for value in series.values})
    middle = (len(info.series) - 1) / 2
    for i, (series, colour, marker) in enumerate(zip(info.series, cycle(COLOURS), cycle(MARKERS), strict=False)):
        found = series.means[name]
        x = [values.index(value) + APART * (i - middle) for value in series.values]
        ax.errorbar(
            x, [f.mean for f in found], np.transpose([f.reach for f in found]), color=colour, marker=marker, ms=4.5,
            lw=1.6, elinewidth=1.1, capsize=2.5, label=series.label or None,
        )  # fmt: skip
    turned = 45 if len(values) > MOST_LABELS - 2 else 0
    ax.set_xticks(range(len(values)), [shown(info.by, value) for value in values], rotation=turned)
    ax.set_xlabel(named(info.by))
