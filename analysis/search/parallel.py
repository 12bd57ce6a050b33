"""Each trial as a line through its knobs and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from monosweep.analysis.knobs import FigureError, is_number, ordered, shown, spread_over_decades
from monosweep.analysis.search.found import Array, Found
from monosweep.analysis.search.front import front_of

_TICKS = 5
_BULK = 0.9
"""An objective's axis ends where this share of the trials does, if what is beyond is far away."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the upright lines."""

    name: str
    heights: Array
    """Of each trial, 0 to 1; NaN where it has no value."""
    ticks: tuple[tuple[float, str], ...]
    """Heights and what they mean."""


@dataclass(frozen=True, slots=True)
class ParallelInfo:
    found: Found
    axes: tuple[Axis, ...]
    """Knobs, then objectives; the better is always above."""
    rank: Array
    """Of the completed trials by the first objective from the best, 0, to the last, 1; NaN for others."""
    on_front: np.ndarray[Any, np.dtype[np.bool_]]
    """The best by the objectives."""

    def table(self) -> pa.Table:
        """One row a trial."""
        return self.found.table(rank=self.rank, on_front=self.on_front)


def parallel_info(found: Found) -> ParallelInfo:
    """The trials of a search as lines.

    Raises:
        FigureError: if no knob varies, or no trial is completed.
    """
    if not found.knobs:
        raise FigureError(f"parallel takes a knob that varies; {found.sweep} has none")
    on_front = front_of(found)
    knobs = [_axis(knob, [row[knob] for row in found.rows]) for knob in found.knobs]
    worth = [
        _turned(_axis(o.expression, list(found.values[:, i]), bulk=o.sign), o.sign)
        for i, o in enumerate(found.objectives)
    ]
    rank = np.full(len(found.rows), np.nan)
    places = np.argsort(np.argsort(found.vectors[found.completed, 0], kind="stable"), kind="stable")
    rank[found.completed] = places / max(1, len(places) - 1)
    return ParallelInfo(found, (*knobs, *worth), rank, on_front)


def _axis(name: str, values: Sequence[Any], bulk: int = 0) -> Axis:
    """`bulk`: 1 if large values are the bad ones and may be cut off, -1 if the small ones are."""
    if not all(map(is_number, values)):
        order = ordered(set(values))
        heights = [order.index(value) / max(1, len(order) - 1) for value in values]
        return Axis(name, np.array(heights), tuple((i / max(1, len(order) - 1), str(v)) for i, v in enumerate(order)))
    numbers = np.array(values, np.float64)
    low, high = _limits(numbers[np.isfinite(numbers)], bulk)
    log = not bulk and spread_over_decades([low, high])
    scaled, low, high = (np.log(numbers), np.log(low), np.log(high)) if log else (numbers, low, high)
    width = (high - low) or 1.0
    ticks = np.linspace(low, high, _TICKS) if high > low else [low]
    texts = [shown(name, float(f"{np.exp(t) if log else t:.2g}")) for t in ticks]
    if bulk and numbers[np.isfinite(numbers)].size:
        texts[0] = "≤ " * bool(np.nanmin(numbers) < low) + texts[0]
        texts[-1] = "≥ " * bool(np.nanmax(numbers) > high) + texts[-1]
    places = (np.array(ticks) - low) / width
    return Axis(name, np.clip((scaled - low) / width, 0, 1), tuple(zip(places.tolist(), texts, strict=True)))


def _limits(numbers: Array, bulk: int) -> tuple[float, float]:
    if not len(numbers):
        return 0.0, 1.0
    low, high = float(numbers.min()), float(numbers.max())
    if bulk > 0 and high > low + 2 * (end := float(np.quantile(numbers, _BULK)) - low):
        high = low + end if end else high
    if bulk < 0 and low < high - 2 * (end := high - float(np.quantile(numbers, 1 - _BULK))):
        low = high - end if end else low
    return low, high


def _turned(axis: Axis, sign: int) -> Axis:
    """So that the better is above."""
    if sign < 0:
        return axis
    return Axis(axis.name, 1 - axis.heights, tuple((1 - height, text) for height, text in axis.ticks))
