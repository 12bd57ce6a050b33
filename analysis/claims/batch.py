"""Batches: trials that a study trains together, told by their config, not by a sweep's name; and their sizes.  Pure.

Batch.holds: which trials are of it, whatever its swept fields are      Batch.points: which of these there must be
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Protocol

from monosweep.analysis.knobs import Row
from monosweep.model.config import TrialConfig

Grid = Mapping[str, Sequence[Any]]
"""Values of the swept fields; every combination of them is a point."""
Point = tuple[tuple[str, Any], ...]
"""A value of each swept field, by their names, numbers but for rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch at one size."""

    name: str
    base: Mapping[str, Any]
    """What every field must be that is not swept."""
    grid: Grid = field(default_factory=dict)
    """What is swept, as its preset sweeps it, the field on the axis first."""
    finer: Grid = field(default_factory=dict)
    """Further values that count where they are there, though no claim needs them."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial belongs to the batch."""
        return all(same(row[name], value) for name, value in self.base.items())

    def pick(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that belong to the batch, in their order."""
        return [row for row in rows if self.holds(row)]

    def points(self, only: Grid) -> set[Point]:
        """Those of the grid, for the fields in `only` of these values alone."""
        return _points({**self.grid, **only})

    def counted(self, only: Grid) -> set[Point]:
        """Those, and the finer ones."""
        return self.points(only) | (_points({**self.grid, **self.finer, **only}) if self.finer else set())

    def point(self, row: Row) -> Point:
        """At which point a trial of the batch is."""
        return tuple((name, _rounded(row[name])) for name in self.grid)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixed(Batch):
    """One batch whose trials are of several kinds, such as of two families."""

    parts: Sequence[Batch]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial belongs to one of the parts."""
        return any(part.holds(row) for part in self.parts)

    def points(self, only: Grid) -> set[Point]:
        """Those of every part."""
        return {point for part in self.parts for point in _of(part, part.points(only))}

    def counted(self, only: Grid) -> set[Point]:
        """Those, and the finer ones."""
        return {point for part in self.parts for point in _of(part, part.counted(only))}

    def point(self, row: Row) -> Point:
        """At which point of its part a trial is; the family tells the parts apart, or what they sweep."""
        part = next(part for part in self.parts if part.holds(row))
        return next(iter(_of(part, {part.point(row)})))


def _of(part: Batch, points: set[Point]) -> set[Point]:
    family = part.base.get("family")
    return {(("family", family), *point) for point in points} if family else points


def _points(grid: Grid) -> set[Point]:
    return {tuple(zip(grid, map(_rounded, values), strict=True)) for values in product(*grid.values())}


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class Size(Protocol):
    """One size at which a study is reproduced."""

    @property
    def name(self) -> str:
        """Also the folder of its presets."""

    @property
    def batches(self) -> Mapping[str, Batch]:
        """Its batches by name."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial is of this size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Presets:
    """A size that is a folder of presets, each of them a batch."""

    name: str
    """The folder."""
    batches: Mapping[str, Batch]
    """By the presets' names in it."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial is of one of the batches."""
        return any(batch.holds(row) for batch in self.batches.values())


def around(config: TrialConfig, name: str, grid: Grid, follows: Sequence[str] = (), finer: Grid | None = None) -> Batch:
    """The trials that are as `config` but for the swept fields, what follows from these, and what no batch fixes.

    >>> from monosweep.model.families.incidental.config import IncidentalConfig
    >>> batch = around(IncidentalConfig(n_features=8), "widths", {"n_neurons": (8, 16)})
    >>> [batch.holds(IncidentalConfig(n_features=n, n_neurons=9, seed=2).to_dict()) for n in (8, 9)]
    [True, False]
    >>> sorted(batch.points({}))
    [(('n_neurons', 8.0),), (('n_neurons', 16.0),)]
    """
    free = {*grid, *follows, *FREE}
    base = {field: value for field, value in config.to_dict().items() if field not in free}
    base = {"family": config.FAMILY, **base}  # first: a row of another family may lack the other columns
    return Batch(name=name, base=base, grid=grid, finer=finer or {})


FREE = ("family", "seed", "precision")
"""Fields that no batch fixes: repeats, and how precisely the same trial is computed."""


def same(value: Any, other: Any) -> bool:
    """Whether two values of a knob are one, numbers but for rounding."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-5, abs_tol=1e-12)
    return bool(value == other)
