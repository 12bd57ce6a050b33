"""What training leaves: a trial's result, and a pack's snapshots.  Torch-free to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy import ndarray

from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus

if TYPE_CHECKING:
    from torch import Tensor

Columns = Mapping[str, ndarray]
Weights = Mapping[str, Mapping[str, "Tensor"]]
"""Members' tensors on the host: by trial_id, then by name."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """All that one trial's rows are made of."""

    config: TrialConfig
    status: TrialStatus
    error: str | None
    """Why the trial did not complete."""
    last_step: int
    metrics: Mapping[str, Any] | None
    """Losses and the family's metrics at the last step; None if the trial diverged."""
    curve: Columns
    """Columns of `curves`: of `CurvePoint` and the family's `CurveMetrics`."""
    tables: Mapping[str, Columns]
    """Columns of the family's own tables."""
    wall_time_s: float
    """This trial's equal share of the time that its pack was trained while it was there."""
    trained_by: tuple[str, ...] = ()
    """The processes that have trained it, in order, as each calls itself."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pack where some member has reached a recorded step or left."""

    step: int
    """Steps that the member furthest ahead has done."""
    final: bool
    """Whether nobody is left to train."""
    points: list[Mapping[str, Any] | None]
    """One per member in the order in which they came: a row of `curves`, or None where the member is at no recorded
    step or has left before it."""
    left: list[TrialResult] = field(default_factory=list)
    """Members that have ended: they are in the pack no more."""
    weights: Mapping[int, Weights] = field(default_factory=dict)
    """By their own step, the members looked at whose weights are to be kept."""
