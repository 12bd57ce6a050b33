"""What a model of incidental polysemanticity is: its knobs and what it reports.  Torch-free.

Lecomte, Thaman, Schaeffer, Bashkansky, Chow and Koyejo, *What Causes Polysemanticity? An Alternative Origin Story of
Mixed Selectivity from Incidental Causes* (arXiv 2312.03096).  What the paper leaves open is as its authors' code has
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from monosweep.model.config import ConfigError, LrSchedule, Shape, TrialConfig
from monosweep.model.family import Description

Noise = Literal["none", "bipolar", "gaussian"]


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentalConfig(TrialConfig):
    """One trial: ŷ = ReLU(W (Wᵀ x + noise)), W n × m, which is to give back each of the n basis vectors.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.

    >>> IncidentalConfig(n_features=8, n_neurons=32).batch_size
    8
    """

    FAMILY: ClassVar[str] = "incidental"

    optimizer: Shape[str] = "AdamW"
    """`AdamW`, as in the paper; torch's `Adam` or `SGD`, `Lamb`, or another class of torch_optimizer by name, which
    trains in the solo engine with its own defaults."""
    lr: float = 0.001
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "constant"
    """`cosine` has period 2·lr_period, `cosine_to_zero` half a wave over n_steps."""
    n_steps: int = 7500
    """Optimiser steps."""
    n_features: Shape[int] = 64
    """n, number of features, each a basis vector; a batch is all of them."""
    n_neurons: Shape[int] = 256
    """m, width of the hidden layer."""
    l1: float = 0.001
    """Weight of Σ|Wᵀx| per basis vector in the optimised loss; the reported loss leaves it out."""
    noise: Shape[Noise] = "none"
    """On the hidden layer, drawn in each step for each neuron: none, `bipolar` (one sign or the other, of negative
    excess kurtosis) or `gaussian` (of none)."""
    noise_std: float = 0.0
    """Standard deviation of the noise; without noise, 0."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_features", "n_neurons"))

    def check(self) -> None:
        """As the base class says."""
        self._check_not_negative(("l1", "noise_std"))
        if self.batch_size != self.n_features:
            raise ConfigError(
                f"batch_size must be n_features, for a batch is the {self.n_features} basis vectors; "
                f"got {self.batch_size}; leave it out"
            )
        if self.noise == "none" and self.noise_std:
            raise ConfigError(
                f"noise_std must be 0 without noise; got {self.noise_std}; set noise to bipolar or gaussian"
            )

    def default_batch_size(self) -> int:
        """Each basis vector once."""
        return self.n_features

    def step_cost(self) -> float:
        """Multiply-adds of W Wᵀ and of its two products backward."""
        return 3.0 * self.n_features**2 * self.n_neurons

    def look_cost(self) -> float:
        """The entries of W."""
        return float(self.n_features * self.n_neurons)

    def stream(self) -> tuple[Any, ...]:
        """What the noise depends on."""
        return () if self.noise == "none" else (self.seed,)


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveMetrics:
    """A model at a recorded step.  A neuron represents feature i if |W_ik| > 1/2."""

    n_poly: int
    """Polysemantic neurons: those that represent two features or more."""
    n_mono: int
    """Neurons that represent one feature."""
    fourth_norm: float
    """Σ_k W_ik⁴, mean over features: 1 if each has a weight of ±1 to one neuron, about 3/m at the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(CurveMetrics):
    """A model at its last step; no field is NaN."""

    n_dead: int
    """Neurons that represent no feature."""
    n_represented: int
    """Features that some neuron represents."""


INCIDENTAL = Description(IncidentalConfig, Metrics, CurveMetrics)
