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
class Metrics:
    """A trial's state at its last step; no field is NaN."""

    loss: float
    """Task loss: squared error summed over outputs, mean over the batch and over the window that ends here
    (2·lr_period steps, or the last eighth of the steps so far where that is shorter)."""
    min_loss: float
    """Least so far of the mean task loss over the last 16 steps, or over all steps while they are fewer; never
    rises."""
    n_mono: int
    """Monosemantic neurons: r > mono_threshold."""
    mono_per_feature: float
    """n_mono / n_features."""
    mono_per_neuron: float
    """n_mono / n_neurons; 0 to 1."""
    n_dead: int
    """Neurons with no positive response to any single feature."""
    n_positive_bias: int
    """Neurons with bias > 0.05, the paper's proxy for polysemantic ones."""
    mean_bias: float
    """Mean bias over neurons."""
    capacity_sum: float
    """Σ C_i of the composed encoder L1·P (Scherlis et al., eq. 3); 1 to d_embed, 0 if the encoder is zero."""
    features_by_n_mono: list[int]
    """How many features have 0, 1, 2, … monosemantic neurons; sums to n_features."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One trial at one recorded step: 1, 2, 4, … and the last."""

    step: int
    """Optimiser steps done."""
    loss: float
    """Windowed task loss, as in `trials`."""
    min_loss: float
    """Least mean loss so far, as in `trials`."""
    n_mono: int
    """Monosemantic neurons."""
    mean_bias: float
    """Mean bias over neurons."""
    lr: float
    """Scheduled learning rate that the step used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NeuronRecord:
    """One neuron of one trial at one recorded step."""

    step: Int32
    """Optimiser steps done."""
    neuron: Int32
    """Index of the neuron; 0 to n_neurons - 1."""
    r: Float32
    """Monosemanticity (eq. 7): largest response to a single feature over the sum of all positive ones."""
    bias: Float32
    """Bias of the neuron."""
    feature: Int32
    """Index of the feature that it answers most."""
    norm_in: Float32
    """Euclidean norm of its row of L1."""
    norm_out: Float32
    """Euclidean norm of its column of L2."""
