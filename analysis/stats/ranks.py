"""Spearman's rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def rank_correlation(values: dict[Any, float]) -> float | None:
    """Spearman's coefficient of a column; nothing for fewer than three points or where nothing varies.

    >>> rank_correlation({0.1: 5.0, 0.2: 7.0, 0.3: 6.0})
    0.5
    """
    return correlation(list(values), list(values.values()))


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's coefficient of two equally long sequences, ties at their mean rank."""
    from scipy.stats import spearmanr  # its import takes most of a second, and few verbs need ranks

    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    return round(float(spearmanr(x, y).statistic), 12)
