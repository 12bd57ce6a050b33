"""What is written down of a member while it trains, and the result that is made of it once it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from monosweep.model.config import TrialConfig
from monosweep.model.families import description_of
from monosweep.model.family import Look, names
from monosweep.model.member import MemberState, Rows
from monosweep.model.records import TrialStatus
from monosweep.model.results import TrialResult


@dataclass(slots=True)
class Notes:
    """A member's records; what it trains is its engine's."""

    config: TrialConfig
    place: int
    """In the order in which members came."""
    curve: list[Mapping[str, Any]]
    rows: Rows
    seconds: float
    trained_by: tuple[str, ...] = ()
    judged: int = 0
    """The latest step of which it has been decided that the member goes on from there."""

    @classmethod
    def of(cls, state: MemberState, place: int, process: str) -> Notes:
        """Those of who comes, to be added to; `process` trains it from now on."""
        before = state.trained_by
        trained_by = before if not process or before[-1:] == (process,) else (*before, process)
        return cls(state.config, place, list(state.curve), copied(state.rows), state.seconds, trained_by, state.judged)

    def add(self, point: Mapping[str, Any], look: Look) -> None:
        """Note a look, unless one at the same step is noted: who is stopped may just have been looked at."""
        if not self.curve or self.curve[-1]["step"] < point["step"]:
            self.curve.append(point)
        for table, columns in look.tables.items():
            kept = self.rows.setdefault(table, {})
            if any(len(steps) and steps[0] == point["step"] for steps in kept.get("step", [])[-1:]):
                continue
            n_rows = len(next(iter(columns.values())))
            for name, values in {"step": np.full(n_rows, point["step"]), **columns}.items():
                kept.setdefault(name, []).append(values)

    def result(
        self, status: TrialStatus, error: str | None, step: int, metrics: Mapping[str, Any] | None = None
    ) -> TrialResult:
        """What is known of the trial as it ends."""
        description = description_of(self.config)
        return TrialResult(
            config=self.config,
            status=status,
            error=error,
            last_step=step,
            metrics=metrics,
            curve=_columns((*names(description.point), *names(description.curve)), self.curve),
            tables={
                table: {name: _joined(self.rows.get(table, {}).get(name, [])) for name in names(record)}
                for table, record in description.tables.items()
            },
            wall_time_s=self.seconds,
            trained_by=self.trained_by,
        )


def copied(rows: Rows) -> Rows:
    """To be added to; the arrays are never changed."""
    return {table: {name: list(arrays) for name, arrays in kept.items()} for table, kept in rows.items()}


def _columns(columns: Sequence[str], points: Sequence[Mapping[str, Any]]) -> dict[str, ndarray]:
    return {name: np.array([point[name] for point in points]) for name in columns}


def _joined(arrays: Sequence[ndarray]) -> ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0)
