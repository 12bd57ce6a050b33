"""A finding as a number that the tables can give, and which numbers count as the same.  Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monosweep.analysis.claims.batch import Grid
from monosweep.analysis.claims.evidence import Evidence, Number

ANY = math.inf
CORRELATION, SHARE, AT_LEAST_NONE = (-1.0, 1.0), (0.0, 1.0), (0.0, ANY)
"""Bounds of statistics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accept:
    """Which values of a statistic let a claim hold, and why these."""

    low: float = -ANY
    high: float = ANY
    reason: str

    def __str__(self) -> str:
        if self.low == -ANY:
            return f"≤ {short(self.high)}"
        if self.high == ANY:
            return f"≥ {short(self.low)}"
        return f"{short(self.low)} to {short(self.high)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Trials that there must be for a claim, of each seed that is to count."""

    batch: str
    only: Grid = field(default_factory=dict)
    """The values of swept fields that it takes, where it does not take the whole grid of the batch."""
    sizes: tuple[str, ...] = ()
    """At which sizes; at all if none is named."""
    seeds: int = 1
    """So many whole seeds at least; restarts of which the best is taken, where it is more than one."""

    def at(self, size: str) -> bool:
        """Whether it is needed at a size."""
        return not self.sizes or size in self.sizes


def whole(*batches: str) -> tuple[Need, ...]:
    """All points of these batches."""
    return tuple(Need(batch=batch) for batch in batches)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One finding of a paper."""

    name: str
    finding: str
    """The paper's statement."""
    needs: tuple[Need, ...]
    """The trials that the statistic is given; it sees no others."""
    effect: bool
    """Whether it is false where no swept field does anything; else it is of a level, which may be anywhere."""
    measure: str
    """What the statistic is."""
    paper: str
    """The paper's value of it."""
    statistic: Callable[[Evidence[Any]], list[Number]]
    """One number per seed, or why it has none."""
    accepted: Mapping[str, Accept]
    """By name of the size; a size that is not here cannot carry the claim, which `beyond` explains then."""
    beyond: Mapping[str, str] = field(default_factory=dict)
    also: str = ""
    """What the statistic needs beside the batches' rows, such as weights."""
    bounds: tuple[float, float] = (-ANY, ANY)
    """Between which values the statistic lies whatever the trials are, as a share or a correlation does."""

    @property
    def batches(self) -> tuple[str, ...]:
        """Of which batches its trials are, at any size."""
        return tuple(dict.fromkeys(need.batch for need in self.needs))

    def within(self, end: float | None) -> float | None:
        """An end of an interval, no further than the bounds."""
        return None if end is None else min(max(end, self.bounds[0]), self.bounds[1])


def short(value: float) -> str:
    """Three significant digits, no exponent for what is read as a share."""
    text = f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"
    return text.replace("-", "−")
