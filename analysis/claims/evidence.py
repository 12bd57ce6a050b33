"""What the tables say for or against a claim: its batches' trials, seed by seed.  Between the tables and claims.

A statistic takes Evidence and returns one number per seed, or why there is none: no effect, or something missing.
Which trials there must be is not its concern: `coverage.py` leaves only seeds that have them all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

import numpy as np

from monosweep.analysis.claims.batch import Size, same
from monosweep.analysis.knobs import Row
from monosweep.analysis.stats.ranks import correlation
from monosweep.analysis.tables.root import Root
from monosweep.model.config import TrialConfig, field_defaults

S = TypeVar("S", bound=Size)
PRECISION = field_defaults(TrialConfig)["precision"]


class Absent(Enum):
    """Why a seed has no number."""

    NO_EFFECT = "no effect"
    """All trials are there, and what would be measured is not: no neuron is monosemantic, nothing varies."""
    MISSING = "missing"
    """The tables lack a part beside the trials, such as weights."""


NO_EFFECT, MISSING = Absent.NO_EFFECT, Absent.MISSING
Number = float | Absent
"""What a statistic says of a seed."""


@dataclass(frozen=True, slots=True)
class Evidence(Generic[S]):
    """The trials of one size, and the root for what else they left."""

    root: Root
    rows: list[Row]
    """Those that completed."""
    size: S
    lost: Sequence[Row] = ()
    """Those that diverged, failed or were stopped."""
    _batches: dict[str, list[Row]] = field(default_factory=dict, repr=False)
    _weights: dict[str, dict[str, Any] | None] = field(default_factory=dict, repr=False)

    def batch(self, name: str) -> list[Row]:
        """The trials of a batch, of one precision."""
        if name not in self._batches:
            precision = self.precision
            mine = self.size.batches[name].pick(self.rows)
            self._batches[name] = [row for row in mine if row.get("precision") == precision]
        return self._batches[name]

    @property
    def precision(self) -> str | None:
        """That of most trials: one trial in two precisions is no two seeds."""
        counts = Counter(row.get("precision") for row in self.rows)
        return max(sorted(counts, key=str), key=lambda one: (counts[one], one == PRECISION), default=None)

    def otherwise(self, name: str) -> list[Row]:
        """The trials of a batch in other precisions."""
        precision = self.precision
        return [row for row in self.size.batches[name].pick(self.rows) if row.get("precision") != precision]

    def per_seed(self, value: Callable[..., Number], *batches: str) -> list[Number]:
        """`value(rows of the first batch, of the second, …)` for every seed that all batches have."""
        parts = [by_seed(self.batch(name)) for name in batches]
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        found = [value(*(part[seed] for part in parts)) for seed in seeds]
        return [MISSING if isinstance(v, float) and not math.isfinite(v) else v for v in found]

    def of(self, batches: dict[str, list[Row]]) -> Evidence[S]:
        """Evidence of these trials of these batches alone."""
        return Evidence(self.root, [row for rows in batches.values() for row in rows], self.size, (), batches)

    def weights(self, row: Row) -> dict[str, Any] | None:
        """The trial's last weights, if they were saved."""
        trial_id = row["trial_id"]
        if trial_id not in self._weights:
            saved = (row["sweep"], row["pack_id"], trial_id) in self.root.with_weights([row["sweep"]])
            self._weights[trial_id] = self.root.weights(trial_id) if saved else None
        return self._weights[trial_id]


def seeds(value: Callable[..., Number], *batches: str) -> Callable[[Evidence[Any]], list[Number]]:
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


def over(rows: Sequence[Row], by: str, name: str, grid: Sequence[float]) -> dict[Any, float]:
    """The mean of `name` at every value of `grid`, in its order."""
    found = column(rows, by, name)
    return {wanted: next(found[value] for value in found if same(value, wanted)) for wanted in grid}


def order(x: Sequence[float], y: Sequence[float]) -> Number:
    """Spearman's coefficient; no effect where one of them does not vary."""
    found = correlation(x, y)
    return NO_EFFECT if found is None else found


def top(values: dict[Any, float]) -> Any:
    """Where the values are largest; the first of equals."""
    return max(values, key=lambda key: values[key])
