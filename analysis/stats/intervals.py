"""Means over seeds, with Student's confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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

    >>> interval([1.0, 2.0, 3.0]) == Interval(2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5)
    True
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, None, None)
    half = _t(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def shown_interval(values: Sequence[float]) -> Interval:
    """As `interval`, without ends for fewer than three values: figures show such as points."""
    return interval(values) if len(values) > 2 else Interval(float(np.mean(values)), None, None)


_T = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985,
    2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
)  # fmt: skip
"""97.5 % points of Student's t for 1, 2, … degrees of freedom."""


def _t(freedom: int) -> float:
    """Beyond the table the expansion to 1/freedom, which is right to .002 there."""
    z = 1.959964
    return _T[freedom - 1] if freedom <= len(_T) else z + (z**3 + z) / (4 * freedom)
