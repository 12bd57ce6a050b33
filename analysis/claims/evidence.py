"""What the tables say for or against a claim: its batches' trials, seed by seed.  Between the tables and claims.

A statistic takes Evidence and returns one number per seed, none where the tables lack a part of what it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from monosweep.analysis.claims.batch import Size, same
from monosweep.analysis.knobs import Row
from monosweep.analysis.tables.root import Root

S = TypeVar("S", bound=Size)


@dataclass(frozen=True, slots=True)
class Evidence(Generic[S]):
    """The completed trials of one size, and the root for what else they left."""

    root: Root
    rows: list[Row]
    size: S
    _batches: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    _weights: dict[str, dict[str, Any] | None] = field(default_factory=dict, repr=False)

    def batch(self, name: str) -> list[Row]:
        """The trials of a batch."""
        if name not in self._batches:
            self._batches[name] = self.size.batches[name].pick(self.rows)
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


def seeds(value: Callable[..., float | None], *batches: str) -> Callable[[Evidence[Any]], list[float]]:
    """The statistic that is `value(rows of the first batch, of the second, …)` of every seed."""
    return lambda evidence: evidence.per_seed(value, *batches)


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


def over(rows: Sequence[Row], by: str, name: str, grid: Sequence[float]) -> dict[Any, float] | None:
    """The mean of `name` at every value of `grid`, in its order; None if the rows lack one."""
    found = column(rows, by, name)
    at = [next((value for value in found if same(value, wanted)), None) for wanted in grid]
    return None if None in at else {wanted: found[value] for wanted, value in zip(grid, at, strict=True)}


def top(values: dict[Any, float]) -> Any:
    """Where the values are largest; the first of equals."""
    return max(values, key=lambda key: values[key])
