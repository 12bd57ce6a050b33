"""The Pareto front: trials than which no other is better in one objective and as good in the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monosweep.analysis.knobs import FigureError
from monosweep.analysis.search.found import Array, Found, Mask
from monosweep.analysis.stats.fronts import hypervolume, undominated

_BEYOND = 0.1
"""How much worse than the worst of the front the reference is, as a share of the front's range: so that its ends count,
and a trial that exploded does not make all others equal."""


@dataclass(frozen=True, slots=True)
class FrontInfo:
    """The front of the completed trials, those that they dominate, and those that were stopped as they stood then."""

    found: Found
    on_front: Mask
    """Of all trials."""
    reference: Array
    """By objective, as a user reads it."""
    hypervolume: float
    """What the front dominates up to there."""

    def table(self) -> pa.Table:
        """One row a trial."""
        return self.found.table(on_front=self.on_front)


def front_info(found: Found, reference: Mapping[str, float] | None = None) -> FrontInfo:
    """The front of a search.

    Args:
        reference: the point up to which volume counts, by objective, to compare searches; left out, a tenth of the
            front's range beyond its worst values.

    Raises:
        FigureError: if there are not two objectives, no completed trial has both, or an objective has no reference.
    """
    if len(found.objectives) < 2:
        (only,) = found.objectives
        raise FigureError(
            f"a front takes two objectives; got {only.expression}; name them: --objectives loss:min "
            "mono_per_feature:max"
        )
    on_front = front_of(found)
    signs = np.array([objective.sign for objective in found.objectives])
    worst = reference_of(found, on_front) if reference is None else signs * _given(found, reference)
    volume = hypervolume(found.vectors[on_front], worst)
    return FrontInfo(found, on_front, worst * signs, volume)


def _given(found: Found, reference: Mapping[str, float]) -> Array:
    names = [objective.expression for objective in found.objectives]
    if set(names) != set(reference):
        raise FigureError(f"a reference must have a value for each of {', '.join(names)}; got {', '.join(reference)}")
    return np.array([float(reference[name]) for name in names])


def front_of(found: Found) -> Mask:
    """Which trials are on the front.

    Raises:
        FigureError: if no trial is completed.
    """
    if not found.completed.any():
        raise FigureError(f"no completed trial of {found.sweep} has a value for every objective")
    on_front = np.zeros(len(found.rows), np.bool_)
    on_front[found.completed] = undominated(found.vectors[found.completed])
    return on_front


def reference_of(found: Found, on_front: Mask) -> Array:
    """The point, of which less is better, up to which volume counts."""
    front, done = found.vectors[on_front], found.vectors[found.completed]
    worst, width = front.max(axis=0), np.ptp(front, axis=0)
    others = np.ptp(done, axis=0)  # where all of the front are equal
    return np.asarray(worst + _BEYOND * np.where(width > 0, width, np.where(others > 0, others, 1.0)))
