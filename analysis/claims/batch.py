"""Batches: trials that a study trains together, told by their config, not by a sweep's name; and their sizes.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from monosweep.analysis.knobs import Row
from monosweep.model.config import TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch at one size."""

    name: str
    varies: tuple[str, ...]
    """The swept fields, the one on the axis first."""
    base: Mapping[str, Any]
    """What every other field must be."""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial belongs to the batch."""
        return all(same(row[name], value) for name, value in self.base.items())

    def pick(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that belong to the batch, in their order."""
        return [row for row in rows if self.holds(row)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixed(Batch):
    """One batch whose trials are of several kinds, such as of two families."""

    parts: Sequence[Batch]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial belongs to one of the parts."""
        return any(part.holds(row) for part in self.parts)


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


def around(config: TrialConfig, name: str, varies: Sequence[str], follows: Sequence[str] = ()) -> Batch:
    """The trials that are as `config` but for the swept fields, what follows from these, and what no batch fixes.

    >>> from monosweep.model.families.incidental.config import IncidentalConfig
    >>> batch = around(IncidentalConfig(n_features=8), "widths", ["n_neurons"])
    >>> [batch.holds(IncidentalConfig(n_features=n, n_neurons=9, seed=2).to_dict()) for n in (8, 9)]
    [True, False]
    """
    free = {*varies, *follows, *FREE}
    base = {field: value for field, value in config.to_dict().items() if field not in free}
    base = {"family": config.FAMILY, **base}  # first: a row of another family may lack the other columns
    return Batch(name=name, varies=tuple(varies), base=base)


FREE = ("family", "seed", "precision")
"""Fields that no batch fixes: repeats, and how precisely the same trial is computed."""


def same(value: Any, other: Any) -> bool:
    """Whether two values of a knob are one, numbers but for rounding."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-5, abs_tol=1e-12)
    return bool(value == other)
