"""Monosemanticity, dead neurons and feature capacity of some trials' weights.

What is computed over stacked trials here reduces each trial's numbers in the same order whoever stands beside it;
products and activations, where a library may not, are called trial by trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.weights import Weights, responses
from monosweep.model.family import Look, Trained
from monosweep.model.geometry import capacities

EPS = 1e-10
"""Keeps r of a dead neuron finite (eq. 7)."""
POSITIVE_BIAS = 0.05
"""The paper's threshold for a polysemantic neuron (section 3)."""


@dataclass(frozen=True, slots=True)
class NeuronStats:
    """Per-neuron statistics of some trials of one shape, on their device."""

    r: Float[Tensor, "pack n_neurons"]
    feature: Tensor
    """Index of the feature that each neuron answers most; int64 (pack, n_neurons)."""
    dead: Tensor
    """No positive response to any single feature; bool (pack, n_neurons)."""
    mono: Tensor
    """Monosemantic: r > mono_threshold; bool (pack, n_neurons)."""


def neuron_stats(
    configs: Sequence[TwoLayerConfig],
    weights: Sequence[Weights],
    embeddings: Sequence[Float[Tensor, "d_embed n_features"]],
) -> NeuronStats:
    """r_i = max_j h_i(F_j) / (1e-10 + Σ_j max(0, h_i(F_j))) and what goes with it (section 3, eq. 7)."""
    answer = torch.stack([responses(*trial) for trial in zip(configs, weights, embeddings, strict=True)])
    top, feature = answer.max(dim=2)
    r = top / (EPS + answer.clamp_min_(0).sum(dim=2))
    thresholds = [[config.mono_threshold] for config in configs]
    return NeuronStats(r=r, feature=feature, dead=top <= 0, mono=_above(r, thresholds))


def _above(r: Float[Tensor, "pack n_neurons"], thresholds: list[list[float]]) -> Tensor:
    """r > threshold as `r > 0.999` compares: the threshold rounded to the type of r."""
    return r > torch.tensor(thresholds, dtype=r.dtype, device=r.device)


def features_by_n_mono(n_features: int, stats: NeuronStats) -> list[list[int]]:
    """For each trial, how many features have 0, 1, 2, … monosemantic neurons."""
    mono, feature = stats.mono.cpu().numpy(), stats.feature.cpu().numpy()
    owned = [np.bincount(f[m], minlength=n_features) for f, m in zip(feature, mono, strict=True)]
    return [np.bincount(counts).tolist() for counts in owned]


def look(members: Sequence[Trained], final: bool, rows: bool) -> list[Look]:
    """What some networks of one shape report: `CurveMetrics`, at their last step `Metrics`, and their neurons."""
    configs = [member.config for member in members]
    weights = [Weights(m.params["w_in"], m.params["bias"], m.params["w_out"]) for m in members]
    embeddings = [member.fixed["embedding"] for member in members]
    stats, bias = neuron_stats(configs, weights, embeddings), torch.stack([w.bias for w in weights])
    curves = [
        {"n_mono": n_mono, "mono_per_feature": n_mono / configs[0].n_features, "mean_bias": mean}
        for n_mono, mean in zip(stats.mono.sum(dim=1).tolist(), bias.double().mean(dim=1).tolist(), strict=True)
    ]
    metrics = _metrics(configs[0], weights, embeddings, stats, bias, curves) if final else [None] * len(configs)
    neurons = _neurons(weights, stats, bias) if rows else [None] * len(configs)
    return [
        Look(curve, ending, {} if columns is None else {"neurons": columns})
        for curve, ending, columns in zip(curves, metrics, neurons, strict=True)
    ]


def look_bytes(config: TwoLayerConfig) -> int:
    """Temporary memory of one network's look."""
    return 8 * (3 * config.n_neurons * config.n_features + 4 * config.n_features**2)


def _metrics(
    config: TwoLayerConfig, weights: Sequence[Weights], embeddings: Sequence[Tensor], stats: NeuronStats, bias: Tensor,
    curves: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    encoders = [w.w_in @ p for w, p in zip(weights, embeddings, strict=True)]
    columns = zip(
        curves,
        stats.dead.sum(dim=1).tolist(),
        (bias > POSITIVE_BIAS).sum(dim=1).tolist(),
        capacities(torch.stack(encoders)).sum(dim=1).tolist(),
        features_by_n_mono(config.n_features, stats),
        strict=True,
    )
    return [
        {
            **curve,
            "mono_per_neuron": curve["n_mono"] / config.n_neurons,
            "n_dead": n_dead,
            "n_positive_bias": n_positive,
            "capacity_sum": capacity,
            "features_by_n_mono": by_n_mono,
        }
        for curve, n_dead, n_positive, capacity, by_n_mono in columns
    ]


def _neurons(weights: Sequence[Weights], stats: NeuronStats, bias: Tensor) -> list[dict[str, ndarray]]:
    """Columns of `NeuronRecord` but the step."""
    columns = {
        "neuron": torch.arange(bias.shape[1]).expand(bias.shape),
        "r": stats.r,
        "bias": bias,
        "feature": stats.feature,
        "norm_in": torch.linalg.vector_norm(torch.stack([w.w_in.T for w in weights]), dim=1),
        "norm_out": torch.linalg.vector_norm(torch.stack([w.w_out for w in weights]), dim=1),
    }
    found = {name: values.cpu().numpy() for name, values in columns.items()}
    return [{name: values[i] for name, values in found.items()} for i in range(len(weights))]
