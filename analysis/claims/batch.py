"""Batches: trials that a study trains together, told by their config, not by a sweep's name; and their sizes.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from monosweep.analysis.knobs import Row


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
        return all(_same(row[name], value) for name, value in self.base.items())

    def pick(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that belong to the batch, in their order."""
        return [row for row in rows if self.holds(row)]


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


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-5, abs_tol=1e-12)
    return bool(value == other)
