"""The best so far against the steps that were trained for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monosweep.analysis.search.found import Array, Found
from monosweep.analysis.search.front import front_of, reference_of
from monosweep.analysis.stats.fronts import hypervolume


@dataclass(frozen=True, slots=True)
class HistoryInfo:
    """Trials in the order in which they ended."""

    found: Found
    model_steps: Array
    """Optimiser steps of all trials that had ended by then."""
    best: Array
    """By trial and objective: the best of the completed ones by then; NaN before the first."""
    hypervolume: Array | None
    """Of the front by then, up to the reference of the last; None for a single objective."""

    def table(self) -> pa.Table:
        """One row a trial."""
        best = {f"best {o.expression}": self.best[:, i] for i, o in enumerate(self.found.objectives)}
        volume = {} if self.hypervolume is None else {"hypervolume": self.hypervolume}
        return self.found.table(model_steps=self.model_steps, **best, **volume)


def history_info(found: Found) -> HistoryInfo:
    """The history of a search.

    Raises:
        FigureError: if no trial is completed.
    """
    on_front = front_of(found)
    worth = np.where(found.completed[:, None], found.vectors, np.inf)
    best = np.minimum.accumulate(worth, axis=0)
    signs = np.array([objective.sign for objective in found.objectives])
    steps = np.cumsum([float(row["last_step"]) for row in found.rows])
    volume = _volumes(worth, reference_of(found, on_front)) if len(signs) > 1 else None
    return HistoryInfo(found, steps, np.where(np.isinf(best), np.nan, best * signs), volume)


def _volumes(worth: Array, reference: Array) -> Array:
    """Of the trials up to each; only one that comes within the reference can add any."""
    found, kept = np.zeros(len(worth)), np.empty((0, len(reference)))
    for place, vector in enumerate(worth):
        adds = (vector < reference).all() and not (kept <= vector).all(axis=1).any()
        if adds:
            kept = np.vstack([kept[~(kept >= vector).all(axis=1)], vector])
        found[place] = hypervolume(kept, reference) if adds else (found[place - 1] if place else 0.0)
    return found
