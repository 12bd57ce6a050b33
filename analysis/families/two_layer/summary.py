"""Monosemanticity and loss side by side, and below a network of each kind.

Data -> SummaryInfo -> summary()
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.families.two_layer.metrics import LOSS, PER_FEATURE
from monosweep.analysis.families.two_layer.networks import best
from monosweep.analysis.families.two_layer.response_map import Map, draw_maps, map_of
from monosweep.analysis.figures.data import Data, title_of
from monosweep.analysis.figures.points import PointsInfo, Series, points_info, series_lines
from monosweep.analysis.figures.style import series_legend, styled
from monosweep.analysis.knobs import named, shown

SAME_LOSS = 1.01
"""A loss up to this factor counts as no cost (the paper's `equal or slightly better`)."""


@dataclass(frozen=True, slots=True)
class SummaryInfo:
    points: PointsInfo
    maps: list[Map]
    """One trial of the first and of the last series, where their weights are saved; side by side they differ in
    the other knobs alone, at the value where that matters most."""
    claim: str | None
    """What the numbers show, if it is the paper's headline; two lines."""


def summary_info(data: Data) -> SummaryInfo:
    """Monosemanticity and loss, and what a typical network of each kind looks like."""
    found = points_info(data, (PER_FEATURE, LOSS))
    return SummaryInfo(found, list(_maps(data, found)), _claim(data, found))


def _maps(data: Data, found: PointsInfo) -> Iterator[Map]:
    saved = {row["trial_id"] for row in data.with_weights()}
    value = _telling_value(found.series[0], found.series[-1])
    groups = data.groups(len(data.rows))
    for label, rows in groups[:1] + groups[1:][-1:]:
        same = [row for row in rows if value is None or row[data.by] == value]
        if kept := [row for row in same if row["trial_id"] in saved]:
            row = best(kept)
            yield map_of(data.root, title_of(label, row, data.by), row)


def _telling_value(one: Series, other: Series) -> Any | None:
    """The value at which two series differ most; nothing if they have none in common."""
    a, b = (dict(zip(s.values, s.medians[PER_FEATURE.name], strict=True)) for s in (one, other))
    common = [value for value in a if value in b]
    return max(common, key=lambda value: abs(a[value] - b[value]), default=None)


def _claim(data: Data, found: PointsInfo) -> str | None:
    """The headline, as far as it is true of these trials: more monosemantic neurons at no higher loss."""
    offsets = [{row["bias_offset"] for row in rows} for _, rows in data.groups(len(data.rows))]
    if len(offsets) != 2 or not (max(offsets[0]) < 0 and offsets[1] == {0.0}):
        return None
    negative, zero = found.series
    if negative.values != zero.values:
        return None
    more = negative.medians[PER_FEATURE.name] > zero.medians[PER_FEATURE.name]
    free = negative.medians[LOSS.name] <= SAME_LOSS * zero.medians[LOSS.name]
    holds = np.logical_and.accumulate(more & free)
    if not holds.any():
        return None
    last = shown(found.by, negative.values[int(holds.sum()) - 1])
    where = f"every {named(found.by)}" if holds.all() else f"any {named(found.by)} up to {last}"
    return f"A negative initial bias gives more monosemantic neurons\nat {where}, at no cost in loss"


@styled
def summary(info: SummaryInfo) -> Figure:
    """Two panels against the knob, and a response map of each kind where there is one."""
    below = bool(info.maps)
    figure = Figure(figsize=(7.6, 6.9 if below else 3.4), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(1, 1.12)) if below else [figure]
    left, right = parts[0].subplots(1, 2)
    series_lines(left, info.points, info.points.series, PER_FEATURE)
    series_lines(right, info.points, info.points.series, LOSS)
    series_legend(parts[0], left)
    if below:
        axes = parts[1].subplots(1, len(info.maps), squeeze=False)
        draw_maps(parts[1], list(axes[0]), info.maps)
    figure.suptitle(info.claim or f"Monosemantic neurons and loss against {named(info.points.by)}")
    return figure
