"""Figures on axes of one's own, for a notebook: each draws, and returns the axes.

from monosweep.analysis import open_root, plot

root = open_root("results")
plot.mono(root, by="lr", ax=ax)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from matplotlib.axes import Axes

from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.metrics import LOSS, PER_FEATURE
from monosweep.analysis.families.two_layer.response_map import draw_maps, map_of
from monosweep.analysis.figures.data import Data, Metric, Selection, load
from monosweep.analysis.figures.points import points_info, series_lines
from monosweep.analysis.knobs import is_number, words
from monosweep.analysis.notebook import Trial
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root
from monosweep.model.config import unknown_name


@dataclass(frozen=True, slots=True)
class Plot:
    """What can be drawn; `plot` is one of these.

    `by` is a swept column (left out, the one with most values), `ax` where to draw (left out, new axes), `where` an SQL
    condition on `trials`, and `sweep` a sweep whose trials alone are drawn, whoever trained them.
    """

    def mono(
        self, root: Root, by: str | None = None, *, ax: Axes | None = None, where: str | None = None,
        sweep: str | None = None,
    ) -> Axes:  # fmt: skip
        """Monosemantic neurons per feature against a knob; as `points`."""
        return _points(_data(root, by, where, sweep, FAMILY), PER_FEATURE, ax)

    def loss(
        self, root: Root, by: str | None = None, *, ax: Axes | None = None, where: str | None = None,
        sweep: str | None = None,
    ) -> Axes:  # fmt: skip
        """Task loss against a knob; as `points`."""
        return _points(_data(root, by, where, sweep, FAMILY), LOSS, ax)

    def points(
        self, root: Root, metric: str, by: str | None = None, *, ax: Axes | None = None, where: str | None = None,
        sweep: str | None = None, family: str = FAMILY,
    ) -> Axes:  # fmt: skip
        """A metric against a knob: a point for each completed trial and a line through the medians, for every
        combination of the other knobs, many of them in grey.  What is left out is warned of.

        Args:
            metric: a column of `trials`.
            family: whose trials are drawn.

        Raises:
            FigureError: if there are no such trials, or `by` is no swept column of them.
            QueryError: if the condition is at fault, or there is no such metric.
        """
        data = _data(root, by, where, sweep, family)
        numbers = [name for name, value in data.rows[0].items() if is_number(value)]
        if metric not in numbers:
            raise QueryError(unknown_name("metric", metric, numbers))
        return _points(data, Metric(name=metric, label=words(metric)), ax)

    def response(self, trial: Trial, *, ax: Axes | None = None) -> Axes:
        """What each neuron of a trial answers to each feature; raises as `Trial.response`."""
        ax = _axes(ax)
        draw_maps(ax.figure, [ax], [map_of(trial.root, f"trial {trial.trial_id[:8]}", dict(trial))])
        return ax


def _data(root: Root, by: str | None, where: str | None, sweep: str | None, family: str) -> Data:
    return load(root, Selection(where=where, sweep=sweep, by=by), family)


def _points(data: Data, metric: Metric, ax: Axes | None) -> Axes:
    ax = _axes(ax)
    info = points_info(data, (metric,))
    named = [replace(one, label=", ".join(filter(None, (one.facet, one.label)))) for one in info.series]
    series_lines(ax, info, named, metric)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False)
    for note in dict.fromkeys(data.notes):
        warnings.warn(note, stacklevel=3)
    return ax


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot  # touches what is global: only where no axes were given

    return pyplot.subplots(layout="constrained")[1]


plot = Plot()
