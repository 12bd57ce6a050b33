"""What a model of superposition is: its knobs and what it reports.  Torch-free, so that whoever reads tables knows it.

Elhage et al., *Toy Models of Superposition* (Transformer Circuits, 2022); the layer of `hidden` is that of a target of
Bushnaq, Braun and Sharkey (arXiv 2506.20790).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from monosweep.model.config import ConfigError, LrSchedule, Meanings, Shape, TrialConfig
from monosweep.model.family import Description
from monosweep.model.records import BlockRecord, Float32, Int32

Activation = Literal["relu", "none", "quadratic", "gelu"]
Hidden = Literal["none", "identity", "trained"]
Presence = Literal["independent", "together", "apart", "one"]

IN_PAIRS = Meanings("presence", {"independent": False, "together": True, "apart": True, "one": False})
"""Whether features 0 and 1, 2 and 3, … make pairs, by presence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuperpositionConfig(TrialConfig):
    """One trial: x̂ = ReLU(Wᵀ W x + b), which is to give back sparse features x by their importance.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = "superposition"

    optimizer: Shape[str] = "Adam"
    """`Adam`, as in the article; torch's `AdamW` or `SGD`, `Lamb`, or another class of torch_optimizer by name, which
    trains in the solo engine with its own defaults."""
    lr: float = 0.001
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "constant"
    """`cosine` has period 2·lr_period, `cosine_to_zero` half a wave over n_steps."""
    n_steps: int = 10_000
    """Optimiser steps."""
    n_features: Shape[int] = 5
    """n, number of sparse features."""
    d_hidden: Shape[int] = 2
    """m, dimensions that they go through."""
    activation: Shape[Activation] = "relu"
    """At the output: `relu`, `none` for the linear model, or `quadratic` (z²) or `gelu` as in Figure 7 of Scherlis et
    al. (arXiv 2210.01892)."""
    hidden: Shape[Hidden] = "none"
    """A further m × m layer between W and Wᵀ: none, one that stays the identity, or one that starts as it and is
    trained."""
    feature_prob: float = 0.05
    """p = 1 - S, probability that a feature is present, in (0, 1]; of presence `one`, no matter."""
    presence: Shape[Presence] = "independent"
    """Which features are present with which: `independent`; in pairs that are present `together`, or never (`apart`,
    where p is at most 1/2); or exactly `one` in each sample."""
    importance: float = 1.0
    """Feature i counts importance^i in the loss, i from 0."""
    last_importance: float = 1.0
    """The last feature counts so many times that."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_features", "d_hidden"))

    def check(self) -> None:
        """As the base class says."""
        self._check_not_negative(("importance", "last_importance"))
        most = 0.5 if self.presence == "apart" else 1
        if not 0 < self.feature_prob <= most:
            raise ConfigError(
                f"feature_prob must lie in (0, {most}]{' where pairs are apart' * (most < 1)}; got {self.feature_prob}"
            )
        if IN_PAIRS[self.presence] and self.n_features % 2:
            raise ConfigError(f"n_features must be even where features are {self.presence}; got {self.n_features}")

    def step_cost(self) -> float:
        """Multiply-adds of a step's matrix products, up to a constant."""
        return 2.0 * self.samples_per_step * self.n_features * self.d_hidden

    def look_cost(self) -> float:
        """Multiply-adds of the features' products with each other."""
        return float(self.n_features**2 * self.d_hidden)

    def stream(self) -> tuple[Any, ...]:
        """Seed and distribution of the features."""
        return (self.seed, self.feature_prob)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """A model at its last step; no field is NaN."""

    n_represented: int
    """Features whose column of W is longer than 1/2."""
    norm_squared: float
    """‖W‖²_F, about the number of features that are represented."""
    dimensions_per_feature: float
    """m / ‖W‖²_F; 0 if W is zero."""
    capacity_sum: float
    """Σ C_i of W (Scherlis et al., eq. 3); 1 to d_hidden, 0 if W is zero."""
    last_capacity: float
    """C of the last feature, that of importance `last_importance`; 0 to 1."""
    n_blocks: int
    """Blocks of features that interfere, as in `features`, those of one feature included."""
    largest_block: int
    """Features in the largest of them; 0 if there is none."""
    mean_bias: float
    """Mean bias over outputs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveMetrics:
    """A model at a recorded step."""

    n_represented: int
    """Features whose column of W is longer than 1/2."""
    norm_squared: float
    """‖W‖²_F."""
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
    """What it counts in the loss."""
    norm: Float32
    """‖W_i‖, Euclidean norm of its column of W."""
    dimensionality: Float32
    """D_i = ‖W_i‖² / Σ_j (Ŵ_i·W_j)² with Ŵ_i = W_i / ‖W_i‖, its share of a dimension, 0 to 1, which is also its
    capacity C_i (Scherlis et al., eq. 3); 0 if W_i is zero."""
    bias: Float32
    """Bias of its output."""
    block: Int32
    """Which block of interfering features it is in, from 0 by their first features; -1 if ‖W_i‖ is at most 1/10.
    Features interfere if the cosine between their columns is beyond 1/10, or if both do with a third."""


SUPERPOSITION = Description(
    SuperpositionConfig, Metrics, CurveMetrics, {"features": FeatureRecord, "blocks": BlockRecord}
)
