"""What a two-layer network is: its knobs and what it reports.  Torch-free, so that whoever reads tables knows it.

Paper: Jermyn, Schiefer and Hubinger, *Engineering Monosemanticity in Toy Models* (arXiv 2211.09169); section and
equation numbers are its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from monosweep.model.config import ConfigError, Meanings, Shape, TrialConfig
from monosweep.model.family import Description
from monosweep.model.records import Float32, Int32

Task = Literal["decoder", "reprojector", "abs"]
Activation = Literal["relu", "gelu", "solu"]
FeatureDist = Literal["uniform", "power_law"]
BiasDecayMode = Literal["rate", "per_neuron", "tied_to_update"]

SIGNED = Meanings("task", {"decoder": False, "reprojector": False, "abs": True})
"""Whether features are differences f1 - f2 of two draws, each at ε/2 (eq. 3), by task."""
REPROJECTS = Meanings("task", {"decoder": False, "reprojector": True, "abs": False})
"""Whether the target is a map of the features into as many dimensions as the network reads (eq. 2), by task."""
TOLD_BY_ANSWER = Meanings("activation", {"relu": True, "gelu": False, "solu": False})
"""Whether an activation's slope can be told from its answer; else what went in has to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoLayerConfig(TrialConfig):
    """One trial: a two-layer network on sparse features (paper, section 2).

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.

    >>> TwoLayerConfig(n_neurons=1024).batch_size
    8192
    >>> TwoLayerConfig(lr=0.01).trial_id == TwoLayerConfig(lr=0.01, task="decoder").trial_id
    True
    """

    FAMILY: ClassVar[str] = "two_layer"

    task: Shape[Task] = "decoder"
    """What the network computes: `decoder` f (eq. 1), `reprojector` Q f (eq. 2), `abs` |f1 - f2| (eq. 3)."""
    activation: Shape[Activation] = "relu"
    """Nonlinearity; `solu` is the authors' elementwise x·exp(x)."""
    n_features: Shape[int] = 512
    """N, number of sparse features."""
    d_embed: Shape[int] = 64
    """m or d, dimension of the embedding that the network reads; at most n_features."""
    n_neurons: Shape[int] = 1024
    """k, width of the nonlinear layer."""
    feature_prob: float = 1 / 64
    """ε, mean probability that a feature is present, in (0, 1]."""
    feature_dist: FeatureDist = "uniform"
    """How ε_i depends on the feature: all equal, or ∝ i^-1.1 scaled to mean ε and then clipped at 1."""
    bias_offset: float = 0.0
    """Added to every initial bias."""
    bias_decay: float = 0.0
    """After each step of the first half of training, bias *= 1 - bias_decay·lr (the peak lr)."""
    bias_decay_mode: Shape[BiasDecayMode] = "rate"
    """Whose bias decays: `rate` every neuron's; `per_neuron` only that of neurons silent on the whole batch;
    `tied_to_update` each one's the less, the more its input weights move: times max(0, 1 - s_i), where s_i is the
    step's relative change of its row of L1 over the peak lr."""
    bias_reg: float = 0.0
    """Weight of Σ (b_i - bias_reg_target)² in the optimised loss; the reported loss leaves it out."""
    bias_reg_target: float = 0.0
    """Where `bias_reg` pulls the biases."""
    l1: float = 0.0
    """Weight of Σ|h| per sample in the optimised loss; the reported loss leaves it out."""
    connectivity: Shape[float] = 1.0
    """Density of fixed Erdős–Rényi masks on both layers, in (0, 1]; 1 is dense.  Initial weights are drawn as for
    the dense layers and then masked."""
    mono_threshold: float = 0.999
    """A neuron is monosemantic when r exceeds this (eq. 7)."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_features", "d_embed", "n_neurons"))

    def check(self) -> None:
        """As the base class says."""
        self._check_not_negative(("bias_decay", "bias_reg", "l1"))
        if not 0 < self.feature_prob <= 1:
            raise ConfigError(f"feature_prob must lie in (0, 1]; got {self.feature_prob}")
        if not 0 < self.mono_threshold < 1:
            raise ConfigError(f"mono_threshold must lie between 0 and 1; got {self.mono_threshold}")
        if self.d_embed > self.n_features:
            raise ConfigError(
                f"d_embed must be at most n_features (P is made of orthonormal columns, section 2); "
                f"got d_embed {self.d_embed}, n_features {self.n_features}"
            )
        if not 0 < self.connectivity <= 1:
            raise ConfigError(f"connectivity must lie in (0, 1]; got {self.connectivity}")

    def default_batch_size(self) -> int:
        """The paper's."""
        return paper_batch_size(self.n_neurons)

    @property
    def n_out(self) -> int:
        """Outputs of the network: d_embed for `reprojector`, else n_features."""
        return self.d_embed if REPROJECTS[self.task] else self.n_features

    def step_cost(self) -> float:
        """Multiply-adds of a step's matrix products, up to a constant."""
        return float(self.samples_per_step * self.n_neurons * (self.d_embed + self.n_out))

    def look_cost(self) -> float:
        """Multiply-adds of the responses to single features."""
        return float(self.n_neurons * self.n_features * self.d_embed)

    def stream(self) -> tuple[Any, ...]:
        """Seed and distribution of the features."""
        return (self.seed, self.feature_dist, self.feature_prob)


def paper_batch_size(n_neurons: int) -> int:
    """The paper's batch size: 2^23 / k, rounded down to a power of two (section 2).

    >>> [paper_batch_size(k) for k in (16, 384, 512, 1024, 2048)]
    [524288, 16384, 16384, 8192, 4096]
    """
    return 1 << max(0, 23 - math.ceil(math.log2(n_neurons)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """A network at its last step; no field is NaN."""

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
class CurveMetrics:
    """A network at a recorded step."""

    n_mono: int
    """Monosemantic neurons."""
    mono_per_feature: float | None
    """n_mono / n_features; null where a version recorded the point that did not have this column."""
    mean_bias: float
    """Mean bias over neurons."""


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


TWO_LAYER = Description(TwoLayerConfig, Metrics, CurveMetrics, {"neurons": NeuronRecord})
