"""What a trial reports, as plain dataclasses: the tables' columns start here.  Torch-free.

A field's docstring is the column's documentation (meaning; unit or range).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

Float32 = Annotated[float, "float32"]
"""A float that the tables keep in single precision."""
Int32 = Annotated[int, "int32"]
"""An int that the tables keep in 32 bits."""


class TrialStatus(StrEnum):
    """How a trial ended."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """A trial's losses at its last step, whatever its family; no field is NaN."""

    loss: float
    """Task loss: squared error summed over outputs, mean over the batch and over the window that ends here
    (2·lr_period steps, or the last eighth of the steps so far where that is shorter)."""
    min_loss: float
    """Least so far of the mean task loss over the last 16 steps, or over all steps while they are fewer; never
    rises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One trial at one recorded step, 1, 2, 4, … and the last, whatever its family."""

    step: int
    """Optimiser steps done."""
    loss: float
    """Windowed task loss, as in `trials`."""
    min_loss: float
    """Least mean loss so far, as in `trials`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint(Point):
    """The same of a network, which is trained."""

    lr: float
    """Scheduled learning rate that the step used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRecord:
    """One block of interfering features of one trial at one recorded step, of families that record blocks."""

    step: Int32
    """Optimiser steps done."""
    block: Int32
    """Which block, as in `features`."""
    size: Int32
    """Features in it."""
    capacity: Float32
    """Σ C_i over them; a whole number where the block is efficient (Scherlis et al., section 4)."""
    deviation: Float32
    """How far its columns are from a multiple of a semi-orthogonal matrix of that many rows: of its round(Σ C) largest
    singular values the largest over the smallest, less 1; 0 if it is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nothing:
    """What a family reports that adds nothing of its own."""
