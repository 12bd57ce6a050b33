"""What the tables say for or against a claim: its batches' trials, seed by seed.  Between tables.py and claims.py.

A statistic takes Evidence and returns one number per seed, none where the tables lack a part of what it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.batches import Scale
from analysis.files import quoted
from analysis.groups import Row
from analysis.tables import Root

Array = NDArray[np.float64]
POSITIVE_BIAS = 0.05
"""Above it a neuron counts as polysemantic (section 3)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The completed trials of one size, and the root for what else they left."""

    root: Root
    rows: list[Row]
    scale: Scale
    _batches: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    _weights: dict[str, dict[str, Any] | None] = field(default_factory=dict, repr=False)

    def batch(self, name: str) -> list[Row]:
        """The trials of a batch."""
        if name not in self._batches:
            self._batches[name] = self.scale.batches[name].pick(self.rows)
        return self._batches[name]

    def per_seed(self, value: Callable[..., float | None], *batches: str) -> list[float]:
        """`value(rows of the first batch, of the second, …)` for every seed that all batches have."""
        parts = [by_seed(self.batch(name)) for name in batches]
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        found = [value(*(part[seed] for part in parts)) for seed in seeds]
        return [v for v in found if v is not None and math.isfinite(v)]

    def weights(self, row: Row) -> dict[str, Any] | None:
        """The trial's last weights, if they were saved."""
        trial_id = row["trial_id"]
        if trial_id not in self._weights:
            saved = (row["sweep"], row["pack_id"]) in self.root.with_weights([row["sweep"]])
            self._weights[trial_id] = self.root.weights(trial_id) if saved else None
        return self._weights[trial_id]

    def neurons(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Of each trial: the shares and the bias of monosemantic and of positive-bias neurons at its end."""
        if not rows:
            return []
        ids = ", ".join(quoted(row["trial_id"]) for row in rows)
        found: list[dict[str, Any]] = self.root.sql(
            f"""
            SELECT trial_id, count(*) FILTER (mono) AS n_mono,
                count(*) FILTER (mono AND bias < 0) AS n_mono_negative,
                median(bias) FILTER (mono) AS mono_bias,
                count(*) FILTER (bias > {POSITIVE_BIAS}) AS n_positive,
                count(*) FILTER (bias > {POSITIVE_BIAS} AND NOT mono) AS n_positive_poly
            FROM (
                SELECT n.*, r > mono_threshold AS mono FROM neurons n JOIN trials t USING (trial_id)
                WHERE trial_id IN ({ids}) QUALIFY step = max(step) OVER (PARTITION BY trial_id)
            ) GROUP BY trial_id ORDER BY trial_id
            """
        ).to_pylist()
        return found


def by_seed(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Rows by their seed."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(row)
    return found


def column(rows: Sequence[Row], by: str, name: str) -> dict[Any, float]:
    """The mean of `name` at every value of `by`, ascending."""
    found: dict[Any, list[float]] = {}
    for row in rows:
        found.setdefault(row[by], []).append(float(row[name]))
    return {value: float(np.mean(found[value])) for value in sorted(found)}


def top(values: dict[Any, float]) -> Any:
    """Where the values are largest; the first of equals."""
    return max(values, key=lambda key: values[key])


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


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float | None
    """None for a single value, as `high`."""
    high: float | None


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


_T = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985,
    2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
)  # fmt: skip
"""97.5 % points of Student's t for 1, 2, … degrees of freedom."""


def _t(freedom: int) -> float:
    """Beyond the table the expansion to 1/freedom, which is right to .002 there."""
    z = 1.959964
    return _T[freedom - 1] if freedom <= len(_T) else z + (z**3 + z) / (4 * freedom)
