"""A finding as a number that the tables can give, and which numbers count as the same.  Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from monosweep.analysis.claims.evidence import Evidence

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
class Claim:
    """One finding of a paper."""

    name: str
    finding: str
    """The paper's statement."""
    batches: tuple[str, ...]
    """Whose trials the statistic needs."""
    measure: str
    """What the statistic is."""
    paper: str
    """The paper's value of it."""
    statistic: Callable[[Evidence[Any]], list[float]]
    """One number per seed; none where the tables lack a part."""
    accepted: Mapping[str, Accept]
    """By name of the size; a size that is not here cannot carry the claim, which `beyond` explains then."""
    beyond: Mapping[str, str] = field(default_factory=dict)
    also: str = ""
    """What the statistic needs beside the batches' rows, such as weights."""
    bounds: tuple[float, float] = (-ANY, ANY)
    """Between which values the statistic lies whatever the trials are, as a share or a correlation does."""

    def within(self, end: float | None) -> float | None:
        """An end of an interval, no further than the bounds."""
        return None if end is None else min(max(end, self.bounds[0]), self.bounds[1])


def short(value: float) -> str:
    """Three significant digits, no exponent for what is read as a share."""
    text = f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"
    return text.replace("-", "−")
