"""Means over seeds with their confidence intervals, against a swept knob.  Pure; the figure `means`.

    groups of trials -> MeansInfo -> drawing.means
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monosweep.analysis.knobs import Row, by_value
from monosweep.analysis.stats.intervals import Interval, interval


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSeries:
    """One combination of the other knobs.  Equally long lists: one entry per value of the knob."""

    label: str
    values: list[Any]
    n_seeds: list[int]
    mono_per_feature: list[Interval]
    loss: list[Interval]


@dataclass(frozen=True, slots=True)
class MeansInfo:
    by: str
    series: list[MeanSeries]


def means(groups: Sequence[tuple[str, list[Row]]], by: str) -> MeansInfo:
    """Monosemantic neurons per feature and loss of each group against `by`: Student's 95 % interval over trials."""
    return MeansInfo(by, [_series(label, by_value(rows, by)) for label, rows in groups])


def _series(label: str, cells: dict[Any, list[Row]]) -> MeanSeries:
    def over_seeds(name: str) -> list[Interval]:
        return [interval([row[name] for row in rows]) for rows in cells.values()]

    return MeanSeries(
        label=label,
        values=list(cells),
        n_seeds=[len(rows) for rows in cells.values()],
        mono_per_feature=over_seeds("mono_per_feature"),
        loss=over_seeds("loss"),
    )
