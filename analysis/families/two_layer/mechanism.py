"""How a trained network does it (paper, section 5): its halves by the sign of the bias, run alone.  Pure.

    Root.weights -> split -> amplitudes, kinks, line | linear_map -> papers: figures (24 to 26), claims

Weights are `w_in` (n_neurons, d_embed), `bias` (n_neurons), `w_out` (n_out, n_neurons), `embedding` (d_embed,
n_features) and, for the reprojector, `target_map` (d_embed, n_features), as `Root.weights` gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.responses import activate, monosemanticity, responses
from monosweep.model.families.two_layer.config import TwoLayerConfig

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Weights = Mapping[str, NDArray[np.floating]]
AMPLITUDES = np.linspace(0, 1, 101)
"""Strengths of a feature alone, as the paper's Figures 24 and 25 scan them."""
ZERO_SINGULAR_VALUE = 0.1
"""Below it a singular value counts as none; the paper finds them all near 0 or in .99-1.03."""


@dataclass(frozen=True, slots=True)
class Split:
    """The neurons by the sign of their bias; bool (n_neurons,) each.

    >>> split({"bias": np.array([0.2, -0.1, 0.0])}).positive.tolist()
    [True, False, False]
    """

    positive: Mask
    """b > 0: the polysemantic part of a highly monosemantic network."""
    negative: Mask
    """The others: the monosemantic part."""


def split(weights: Weights) -> Split:
    """The two halves of section 5."""
    positive = np.asarray(weights["bias"]) > 0
    return Split(positive, ~positive)


def part(weights: Weights, neurons: Mask) -> dict[str, Array]:
    """The network of some neurons alone, in float64; `neurons` is bool (n_neurons,)."""
    wide = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    kept = {"w_in": wide["w_in"][neurons], "bias": wide["bias"][neurons], "w_out": wide["w_out"][:, neurons]}
    return {**wide, **kept}


def amplitudes(weights: Weights, config: TwoLayerConfig, strengths: Array = AMPLITUDES) -> Array:
    """What the network says of feature j when j alone is present: shape (len(strengths), n_features).

    For `decoder` and `abs` that is output j; for `reprojector` the output along Q's column j, which has length 1.
    """
    net = part(weights, np.ones(len(weights["bias"]), dtype=bool))
    drive = net["w_in"] @ net["embedding"]
    readout = net["target_map"].T @ net["w_out"] if config.task == "reprojector" else net["w_out"]
    answers = [activate(config.activation, drive * a + net["bias"][:, None]) for a in strengths]
    return np.array([np.einsum("jk,kj->j", readout, answer) for answer in answers]).reshape(
        len(strengths), drive.shape[1]
    )


def owners(weights: Weights, config: TwoLayerConfig) -> list[list[int]]:
    """For every feature its monosemantic neurons (r > mono_threshold), in their order."""
    answer = responses(weights, config)
    mono = np.flatnonzero(monosemanticity(answer) > config.mono_threshold)
    owned: list[list[int]] = [[] for _ in range(answer.shape[1])]
    for neuron in mono:
        owned[int(answer[neuron].argmax())].append(int(neuron))
    return owned


def kinks(weights: Weights, config: TwoLayerConfig) -> list[Array]:
    """For every feature the strengths at which its monosemantic neurons wake, ascending.

    Neuron i wakes at -b_i / (w_i · P_j), where its ReLU leaves zero; 0 if it is awake before.  A feature without
    a monosemantic neuron has none.
    """
    net = part(weights, np.ones(len(weights["bias"]), dtype=bool))
    drive = net["w_in"] @ net["embedding"]
    # an abs neuron may answer the feature's negative side only; its drive is as strong there
    drive = np.abs(drive) if config.task == "abs" else drive
    found = owners(weights, config)
    return [
        np.sort([max(0.0, float(-net["bias"][i] / drive[i, j])) for i in neurons]) for j, neurons in enumerate(found)
    ]


@dataclass(frozen=True, slots=True)
class Line:
    """Straight lines through each feature's amplitude response; (n_features,) each."""

    slope: Array
    intercept: Array


def line(response: Array, strengths: Array = AMPLITUDES) -> Line:
    """Least-squares lines through `response` (strengths, n_features).

    >>> fit = line(np.array([[0.1, 0.0], [0.3, 0.5]]), np.array([0.0, 1.0]))
    >>> fit.slope.round(3).tolist(), fit.intercept.round(3).tolist()
    ([0.2, 0.5], [0.1, 0.0])
    """
    centred = strengths - strengths.mean()
    slope = centred @ response / (centred @ centred)
    intercept = response.mean(axis=0) - slope * strengths.mean()
    return Line(slope, intercept)


@dataclass(frozen=True, slots=True)
class LinearMap:
    """The positive-bias half as if it were linear: L2₊ L1₊ P f + L2₊ b₊ (Figure 26)."""

    matrix: Array
    """L2₊ L1₊ P, (n_out, n_features)."""
    singular_values: Array
    """Of `matrix`, descending; min(n_out, n_features)."""
    constant: Array
    """L2₊ b₊, (n_out,)."""

    @property
    def rank(self) -> int:
        """Singular values that are not near zero; the paper finds d_embed or fewer."""
        return int((self.singular_values > ZERO_SINGULAR_VALUE).sum())


def linear_map(weights: Weights) -> LinearMap:
    """The positive-bias half without its nonlinearity."""
    half = part(weights, split(weights).positive)
    matrix = half["w_out"] @ half["w_in"] @ half["embedding"]
    values = np.linalg.svd(matrix, compute_uv=False)
    return LinearMap(matrix, np.asarray(values, dtype=np.float64), half["w_out"] @ half["bias"])
