"""A two-layer network's weights: how they start, the activations between them, and what neurons answer to features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.additions import activated
from monosweep.model.config import Meanings
from monosweep.model.data.random import generator
from monosweep.model.families.two_layer.config import SIGNED, TwoLayerConfig


@dataclass(frozen=True, slots=True)
class Weights:
    """One trial's parameters."""

    w_in: Float[Tensor, "n_neurons d_embed"]
    """L1"""
    bias: Float[Tensor, " n_neurons"]
    """b"""
    w_out: Float[Tensor, "n_out n_neurons"]
    """L2"""

    def named(self) -> dict[str, Tensor]:
        """As the family's params."""
        return {"w_in": self.w_in, "bias": self.bias, "w_out": self.w_out}


def initial_weights(config: TwoLayerConfig) -> Weights:
    """Uniform ±1/√fan_in for all three, then bias += bias_offset (section 2); float64."""
    drawn = _drawn_weights(config.seed, config.d_embed, config.n_neurons, config.n_out)
    w_in, bias, w_out = drawn.w_in.clone(), drawn.bias + config.bias_offset, drawn.w_out.clone()
    if config.connectivity < 1:
        mask = masks(config)
        w_in, w_out = w_in * mask.w_in, w_out * mask.w_out
    return Weights(w_in=w_in, bias=bias, w_out=w_out)


@lru_cache(maxsize=1)  # trials of one seed stand side by side in a pack
def _drawn_weights(seed: int, d_embed: int, n_neurons: int, n_outputs: int) -> Weights:
    """What a seed draws, shared by all that ask: not to be written to."""
    uniform = np.random.Generator(generator(seed, "weights"))

    def draw(*shape: int, fan_in: int) -> Tensor:
        return torch.from_numpy((uniform.random(shape) * 2 - 1) / math.sqrt(fan_in))

    return Weights(
        w_in=draw(n_neurons, d_embed, fan_in=d_embed),
        bias=draw(n_neurons, fan_in=d_embed),
        w_out=draw(n_outputs, n_neurons, fan_in=n_neurons),
    )


def masks(config: TwoLayerConfig) -> Weights:
    """Erdős–Rényi masks: 1 where a connection exists, with probability `connectivity`, else 0; float64.

    All biases exist (paper, claim 6: sparse layers at equal compute).
    """
    uniform = np.random.Generator(generator(config.seed, "masks"))

    def draw(*shape: int) -> Tensor:
        if config.connectivity == 1:
            return torch.ones(shape, dtype=torch.float64)
        return torch.from_numpy((uniform.random(shape) < config.connectivity).astype(np.float64))

    d, k = config.d_embed, config.n_neurons
    return Weights(w_in=draw(k, d), bias=torch.ones(k, dtype=torch.float64), w_out=draw(config.n_out, k))


def _relu(e: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.clamp(e, min=0.0, out=out)


def _gelu(e: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.mul(e, torch.special.ndtr(e), out=out)


def _solu(e: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.mul(e, torch.exp(e), out=out)


def _relu_slope(e: Tensor) -> Tensor:
    return (e > 0).to(e.dtype)


def _gelu_slope(e: Tensor) -> Tensor:
    density: Tensor = torch.exp(-0.5 * e * e) / math.sqrt(2 * math.pi)
    return torch.addcmul(torch.special.ndtr(e), e, density)


def _solu_slope(e: Tensor) -> Tensor:
    return (1 + e) * torch.exp(e)


_ACTIVATIONS: Meanings[tuple[Any, Any]] = Meanings("activation", {
    "relu": (_relu, _relu_slope),
    "gelu": (_gelu, _gelu_slope),  # exact, with erf
    "solu": (_solu, _solu_slope),  # the authors' elementwise x·exp(x)
})  # fmt: skip
"""act(e) and d act(e) / d e."""


_PLAIN: Meanings[Any] = Meanings("activation", {name: act for name, (act, _) in _ACTIVATIONS.items()})


def activate(name: str, e: Float[Tensor, "*any"], out: Tensor | None = None) -> Float[Tensor, "*any"]:
    """act(e) for `relu`, `gelu` or `solu`.

    Raises:
        ConfigError: for any other.
    """
    found: Tensor = _ACTIVATIONS[name][0](e, out=out)
    return found


def answer(config: TwoLayerConfig, e: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """act(e) as the trial means it: by one of these, or by a user's own."""
    found: Tensor = activated(config, _PLAIN, e)
    return found


def activation_slope(name: str, e: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """d act(e) / d e.

    Raises:
        ConfigError: as `activate`.
    """
    slope: Tensor = _ACTIVATIONS[name][1](e)
    return slope


def responses(
    config: TwoLayerConfig, weights: Weights, embedding: Float[Tensor, "d_embed n_features"]
) -> Float[Tensor, "n_neurons n_features"]:
    """h_i(F_j): each neuron's response to each feature alone at strength 1; for `abs` h_i(F_j) + h_i(-F_j)
    (section 3)."""
    drive = weights.w_in @ embedding
    found = answer(config, drive + weights.bias[:, None])
    if SIGNED[config.task]:
        found = found + answer(config, weights.bias[:, None] - drive)
    return found
