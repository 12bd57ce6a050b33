"""Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rank_correlation(values: dict[Any, float]) -> float | None:
    """Spearman's coefficient of a column; nothing for fewer than three points or where nothing varies.

    >>> rank_correlation({0.1: 5.0, 0.2: 7.0, 0.3: 6.0})
    0.5
    """
    return correlation(list(values), list(values.values()))


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's coefficient of two equally long sequences, ties at their mean rank."""
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return round(float(np.corrcoef(_ranks(x), _ranks(y))[0, 1]), 12)


def _ranks(values: Sequence[float]) -> Array:
    v = np.asarray(values, dtype=np.float64)
    return np.asarray((v[:, None] > v).sum(axis=1) + ((v[:, None] == v).sum(axis=1) - 1) / 2, dtype=np.float64)
