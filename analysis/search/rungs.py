"""Who was stopped where, and by what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monosweep.analysis.knobs import FigureError
from monosweep.analysis.search.found import Array, Found
from monosweep.model.records import TrialStatus

Curves = Mapping[str, tuple[Array, Array]]
"""Recorded steps and an objective's values there, by trial_id."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A step at which trials were stopped."""

    step: int
    reached: int
    """Trials that were trained up to there."""
    stopped: Mapping[str, int]
    """How many were stopped there, by who did it."""

    @property
    def went_on(self) -> int:
        """Trials that were trained beyond."""
        return self.reached - sum(self.stopped.values())


@dataclass(frozen=True, slots=True)
class RungsInfo:
    found: Found
    rungs: tuple[Rung, ...]
    saved: float
    """The share of the trials' steps that was not trained, since they were stopped."""
    curves: Curves
    """Of the first objective; empty where `curves` does not record it."""

    def table(self) -> pa.Table:
        """One row a rung and judge."""
        rows = [(rung, judge, n) for rung in self.rungs for judge, n in rung.stopped.items()]
        return pa.table({
            "step": [rung.step for rung, _, _ in rows], "reached": [rung.reached for rung, _, _ in rows],
            "judge": [judge for _, judge, _ in rows], "stopped": [n for _, _, n in rows],
            "went_on": [rung.went_on for rung, _, _ in rows],
        })  # fmt: skip


def rungs_info(found: Found, curves: Curves) -> RungsInfo:
    """Where the trials of a search were stopped.

    Raises:
        FigureError: if none was.
    """
    stopped = [row for row in found.rows if row["status"] == TrialStatus.STOPPED]
    if not stopped:
        raise FigureError(f"no trial of {found.sweep} was stopped early; a spec's scheduler or stop has them stopped")
    last = np.array([row["last_step"] for row in found.rows])
    rungs = []
    for step in sorted({row["last_step"] for row in stopped}):
        # Who diverged or failed at that very step was not asked there.
        ended = sum(r["last_step"] == step and r["status"] in _ENDED_BY_THEMSELVES for r in found.rows)
        judges = Counter(_judge(row) for row in stopped if row["last_step"] == step)
        rungs.append(Rung(int(step), int((last >= step).sum()) - ended, dict(sorted(judges.items()))))
    whole = sum(row["n_steps"] for row in found.rows)
    spared = sum(row["n_steps"] - row["last_step"] for row in stopped)
    return RungsInfo(found, tuple(rungs), spared / whole, curves)


_ENDED_BY_THEMSELVES = (TrialStatus.COMPLETED, TrialStatus.DIVERGED, TrialStatus.FAILED)


def _judge(row: Mapping[str, object]) -> str:
    """Who stopped a trial, as its row's reason begins: `asha, rung 64: …`, `stop: loss > 1`."""
    reason = str(row["error"] or "")
    return reason.split(":")[0].split(",")[0].strip() or "unknown"
