"""The best that trials have shown so far: the least loss, and the most monosemantic neurons per feature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_WANTED: Mapping[str, Callable[[float, float], float]] = {"loss": min, "mono_per_feature": max}
"""Columns of `curves`, and which of two values is the better one."""


def best_of(points: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Of points of curves, or of the best of several; a column that none of them has a number of is left out.

    >>> best_of([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "mono_per_feature": 0.5}])
    {'loss': 2.0, 'mono_per_feature': 0.5}
    """
    found: dict[str, float] = {}
    for point in points:
        for name, better in _WANTED.items():
            value = point.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                found[name] = better(found.get(name, value), value)
    return found
