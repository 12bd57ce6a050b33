"""Means over seeds, with Student's confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float | None
    """None for a single value, as `high`."""
    high: float | None

    @property
    def reach(self) -> tuple[float, float]:
        """How far it goes below and above the mean; nowhere where it has no ends."""
        low = self.mean if self.low is None else self.low
        return self.mean - low, (self.mean if self.high is None else self.high) - self.mean


def interval(values: Sequence[float]) -> Interval:
    """Student's interval for the mean of `values`, which are independent (one per seed) and at least one.

    >>> found = interval([1.0, 2.0, 3.0])
    >>> found.mean, round(found.low, 6), round(found.high, 6)
    (2.0, -0.484138, 4.484138)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None)
    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def shown_interval(values: Sequence[float]) -> Interval:
    """As `interval`, without ends for fewer than three values: figures show such as points."""
    return interval(values) if len(values) > 2 else Interval(float(np.mean(values)), None, None)
