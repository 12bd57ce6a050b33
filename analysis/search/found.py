"""The trials of a search in the order in which they ended, and what each is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monosweep.analysis.knobs import Row
from monosweep.analysis.search.objectives import Objective
from monosweep.model.records import TrialStatus

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """What the tables hold of a search."""

    sweep: str
    objectives: tuple[Objective, ...]
    knobs: tuple[str, ...]
    """Those that its trials differ in, without the seed."""
    rows: Sequence[Row]
    """Of `trials`, by when they ended."""
    values: Array
    """What the objectives say of each, (trials, objectives); NaN where a trial has no value."""
    feasible: Mask
    """Who keeps the constraints."""

    @cached_property
    def vectors(self) -> Array:
        """The same so that less is better in every place."""
        return np.asarray(self.values * np.array([objective.sign for objective in self.objectives]))

    @cached_property
    def completed(self) -> Mask:
        """Who was trained to the end, keeps the constraints and has all values: those that a search can offer."""
        done = np.array([row["status"] == TrialStatus.COMPLETED for row in self.rows], np.bool_)
        return np.asarray(done & self.feasible & np.isfinite(self.values).all(axis=1))

    @cached_property
    def stopped(self) -> Mask:
        """Who was stopped early."""
        return np.array([row["status"] == TrialStatus.STOPPED for row in self.rows], np.bool_)

    @property
    def left_out(self) -> list[str]:
        """A line about the trials that are no points of a figure: neither completed nor stopped, or without a value."""
        valued: Mask = np.asarray(np.isfinite(self.values).all(axis=1))
        rest = zip(self.rows, valued, self.completed | (self.stopped & valued), strict=True)
        why = Counter(_reason(row["status"], bool(has_values)) for row, has_values, there in rest if not there)
        told = ", ".join(f"{n} {reason}" for reason, n in sorted(why.items()))
        return [f"left out of {len(self.rows)} trials: {told}"] if told else []

    def table(self, **columns: Sequence[object] | NDArray[np.generic]) -> pa.Table:
        """One row a trial: its id, how it ended, its knobs, its objectives, and these columns."""
        named = {"trial_id": [row["trial_id"] for row in self.rows]}
        named |= {name: [row[name] for row in self.rows] for name in ("status", "last_step", *self.knobs)}
        for place, objective in enumerate(self.objectives):
            named[objective.expression] = [None if np.isnan(v) else float(v) for v in self.values[:, place]]
        return pa.table({**named, **{name: pa.array(values) for name, values in columns.items()}})


def _reason(status: str, has_values: bool) -> str:
    """Why a trial is no point."""
    if status not in (TrialStatus.COMPLETED, TrialStatus.STOPPED):
        return status
    return f"{status} that break a constraint" if has_values else f"{status} without a value of each objective"
