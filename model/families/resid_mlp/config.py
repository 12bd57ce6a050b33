"""What a residual MLP on embedded features is: its knobs and what it reports.  Torch-free.

Braun, Bushnaq, Heimersheim, Mendel and Sharkey, *Interpretability in Parameter Space* (arXiv 2501.14926), where fewer
neurons than features seem to compute y = x + ReLU(x) of each; and Bhagat, Molas-Medina, Giglemiani and Heimersheim,
*Compressed Computation is (probably) not Computation in Superposition* (arXiv 2606.14673), who find that what they gain
comes of a residual stream that mixes features.  What the papers leave open is as the first one's code has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from monosweep.model.config import ConfigError, LrSchedule, Shape, TrialConfig
from monosweep.model.family import Description
from monosweep.model.records import Float32, Int32

SQUARE_OF_RELU = 1 / 6
"""Mean of ReLU(x)² over x uniform on [-1, 1]: what a feature costs, where it is present, that is not computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidMlpConfig(TrialConfig):
    """One trial: MLP layers add to a residual stream, which is read as x + ReLU(x) of sparse features x.

    The features' embedding E is fixed: a random unit vector each, by which they are also read.  So the stream alone
    answers s·E Eᵀ x + (1 - s)·x with the knob s, `mixing`; at 1 it is the model, at 0 the stream mixes no features.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = "resid_mlp"

    optimizer: Shape[str] = "AdamW"
    """`AdamW`, as in the papers; torch's `Adam` or `SGD`, `Lamb`, or another class of torch_optimizer by name, which
    trains in the solo engine with its own defaults."""
    lr: float = 0.003
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "cosine_to_zero"
    """`cosine` has period 2·lr_period, `cosine_to_zero` half a wave over n_steps."""
    n_steps: int = 1000
    """Optimiser steps."""
    n_features: Shape[int] = 100
    """n, number of sparse features, each uniform on [-1, 1] where it is present."""
    d_embed: Shape[int] = 1000
    """d, dimension of the residual stream; features are mixed by about 1/√d."""
    n_neurons: Shape[int] = 50
    """k, neurons of all layers together; each has as many."""
    n_layers: Shape[int] = 1
    """MLP layers, one after the other."""
    feature_prob: float = 0.01
    """p, probability that a feature is present, in (0, 1]."""
    mixing: float = 1.0
    """s, how much of the stream's mixing E Eᵀ - 1 reaches the answer; 0 to 1."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_features", "d_embed", "n_neurons", "n_layers"))

    def check(self) -> None:
        """As the base class says."""
        if self.n_neurons % self.n_layers:
            raise ConfigError(
                f"n_neurons must be a multiple of n_layers, among which they are divided; "
                f"got {self.n_neurons} for {self.n_layers} layers"
            )
        if not 0 < self.feature_prob <= 1:
            raise ConfigError(f"feature_prob must lie in (0, 1]; got {self.feature_prob}")
        if not 0 <= self.mixing <= 1:
            raise ConfigError(f"mixing must lie in 0 … 1; got {self.mixing}")

    def default_batch_size(self) -> int:
        """The papers'."""
        return 2048

    @property
    def naive_loss(self) -> float:
        """What it costs to compute as many features as there are neurons, the others not at all, and to mix none."""
        return max(0, self.n_features - self.n_neurons) * self.feature_prob * SQUARE_OF_RELU

    def step_cost(self) -> float:
        """Multiply-adds of a step's matrix products, up to a constant."""
        n, k = self.n_features, self.n_neurons
        return 3.0 * (self.samples_per_step * n * (n + 2 * k) + 2 * n * k * self.d_embed)

    def look_cost(self) -> float:
        """Multiply-adds of the answers to single features."""
        return 4.0 * self.n_features * self.n_neurons * (self.n_features + self.d_embed)

    def stream(self) -> tuple[Any, ...]:
        """Seed and distribution of the features."""
        return (self.seed, self.feature_prob)


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveMetrics:
    """A model at a recorded step."""

    alone_loss: float
    """Σ p·L_i with L_i the expected squared error where feature i alone is present, as in `features`: what the loss is
    where features hardly ever meet."""
    n_computed: int
    """Features whose L_i is below 1/12, half of what one costs that is not computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(CurveMetrics):
    """A model at its last step; no field is NaN."""

    naive_loss: float
    """(n - k)·p/6, the loss of a model that computes k features, the others not at all, and mixes none; 0 if there are
    neurons enough.  `1 - loss / naive_loss` is the advantage over it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecord:
    """One feature of one trial at one recorded step, where it alone is present."""

    step: Int32
    """Optimiser steps done."""
    feature: Int32
    """Index of the feature; 0 to n_features - 1."""
    loss: Float32
    """L_i, expected squared error of all outputs over x_i uniform on [-1, 1]; 1/6 if it is not computed at all."""
    mixed: Float32
    """Part of it that lies on the other outputs."""
    slope_above: Float32
    """Its own answer per x_i above 0; 2 is right."""
    slope_below: Float32
    """Its own answer per x_i below 0; 1 is right."""


RESID_MLP = Description(ResidMlpConfig, Metrics, CurveMetrics, {"features": FeatureRecord})
