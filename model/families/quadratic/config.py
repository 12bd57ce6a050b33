"""What the capacity paper's model is: its knobs and what it reports.  Torch-free: whoever reads tables knows it.

Scherlis et al., *Polysemanticity and Capacity in Neural Networks* (arXiv 2210.01892).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from monosweep.model.config import ConfigError, LrSchedule, Shape, TrialConfig
from monosweep.model.family import Description
from monosweep.model.records import BlockRecord, Float32, Int32

Activation = Literal["quadratic", "relu", "gelu"]
Objective = Literal["sampled", "expected"]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuadraticConfig(TrialConfig):
    """One trial: Σ_k act((W x)_k) + b, which is to be Σ_i v_i act(x_i) of sparse features x; act(z) = z² in the paper.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = "quadratic"

    optimizer: Shape[str] = "Adam"
    """`Adam`, torch's `AdamW` or `SGD`, `Lamb`, or another class of torch_optimizer by name, which trains in the solo
    engine with its own defaults.  The paper names none."""
    lr: float = 0.01
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "cosine_to_zero"
    """`cosine` has period 2·lr_period, `cosine_to_zero` half a wave over n_steps."""
    n_steps: int = 2000
    """Optimiser steps."""
    n_features: Shape[int] = 6
    """N, number of sparse features."""
    d_hidden: Shape[int] = 3
    """D, neurons: rows of W."""
    activation: Shape[Activation] = "quadratic"
    """Of the neurons and of the features in the target."""
    objective: Shape[Objective] = "sampled"
    """What is minimised: the loss of a batch (`sampled`), or its expectation (`expected`; eqs. 12-13, activation
    `quadratic` alone), which has no noise and needs no samples, so that batch_size does not matter."""
    feature_prob: float = 0.05
    """p, probability that a feature is present, in (0, 1]; it is then uniform on ±√(3/p), so that its variance is 1
    and its kurtosis 9/(5p)."""
    importance: float = 1.0
    """v_i = importance^i, the coefficient of feature i in the target, i from 0."""
    last_importance: float = 1.0
    """V: v of the last feature is so many times that."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_features", "d_hidden"))

    def check(self) -> None:
        """As the base class says."""
        self._check_not_negative(("importance", "last_importance"))
        if not 0 < self.feature_prob <= 1:
            raise ConfigError(f"feature_prob must lie in (0, 1]; got {self.feature_prob}")
        if self.objective == "expected" and self.activation != "quadratic":
            raise ConfigError(
                f"objective expected is known for activation quadratic; got {self.activation}; use objective sampled"
            )

    def step_cost(self) -> float:
        """Multiply-adds of a step's matrix products, up to a constant."""
        samples = self.samples_per_step if self.objective == "sampled" else self.n_features
        return 1.0 * samples * self.n_features * self.d_hidden

    def look_cost(self) -> float:
        """Multiply-adds of the features' products with each other."""
        return float(self.n_features**2 * self.d_hidden)

    def stream(self) -> tuple[Any, ...]:
        """Seed and distribution of the features, where there are samples."""
        return (self.seed, self.feature_prob) if self.objective == "sampled" else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """A model at its last step; no field is NaN."""

    last_capacity: float
    """C of the last feature, that of importance `last_importance` (Scherlis et al., eq. 3); 0 to 1."""
    capacity_sum: float
    """Σ C_i of W (Scherlis et al., eq. 3); 1 to d_hidden, 0 if W is zero."""
    n_blocks: int
    """Blocks of features that interfere, as in `features`, those of one feature included."""
    largest_block: int
    """Features in the largest of them; 0 if there is none."""
    expected_loss: float | None
    """E[(ỹ - y)²] of this W and b (eqs. 12-13, and what a b that is not the best adds); null unless activation is
    quadratic."""
    optimal_loss: float | None
    """The least that any W and b can reach (eqs. 14-18); null unless activation is quadratic."""
    optimal_last_capacity: float | None
    """C of the last feature where the loss is least (eqs. 15-18); null unless activation is quadratic."""
    capacity_error: float | None
    """Largest distance of a feature's C_i from its optimum, features of equal importance by the order of their C_i;
    null unless activation is quadratic."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveMetrics:
    """A model at a recorded step."""

    last_capacity: float
    """C of the last feature."""
    capacity_sum: float
    """Σ C_i of W."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecord:
    """One feature of one trial at one recorded step."""

    step: Int32
    """Optimiser steps done."""
    feature: Int32
    """Index of the feature; 0 to n_features - 1."""
    importance: Float32
    """v_i, its coefficient in the target."""
    norm: Float32
    """‖W_i‖, Euclidean norm of its column of W."""
    dimensionality: Float32
    """C_i (Scherlis et al., eq. 3), its share of a dimension, 0 to 1, as in models of superposition; 0 if W_i is
    zero."""
    block: Int32
    """Which block of interfering features it is in, from 0 by their first features; -1 if ‖W_i‖ is at most 1/10.
    Features interfere if the cosine between their columns is beyond 1/10, or if both do with a third."""


QUADRATIC = Description(QuadraticConfig, Metrics, CurveMetrics, {"features": FeatureRecord, "blocks": BlockRecord})
