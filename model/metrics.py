"""Monosemanticity, dead neurons and feature capacity of one trial's weights; a pack's windowed losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from model.config import TrialConfig
from model.network import Weights, responses
from model.schedule import loss_window

EPS = 1e-10
"""Keeps r of a dead neuron finite (eq. 7)."""
POSITIVE_BIAS = 0.05
"""The paper's threshold for a polysemantic neuron (section 3)."""
MIN_LOSS_STEPS = 16
"""`min_loss` is the least mean over so many consecutive steps."""


@dataclass(frozen=True, slots=True)
class NeuronStats:
    """Per-neuron statistics of one trial, on its device."""

    r: Float[Tensor, " n_neurons"]
    feature: Tensor
    """Index of the feature that each neuron answers most; int64 (n_neurons,)."""
    dead: Tensor
    """No positive response to any single feature; bool (n_neurons,)."""


def neuron_stats(
    config: TrialConfig, weights: Weights, embedding: Float[Tensor, "d_embed n_features"]
) -> NeuronStats:
    """r_i = max_j h_i(F_j) / (1e-10 + Σ_j max(0, h_i(F_j))) and what goes with it (section 3, eq. 7)."""
    answer = responses(config, weights, embedding)
    top, feature = answer.max(dim=1)
    return NeuronStats(r=top / (EPS + answer.clamp_min(0).sum(dim=1)), feature=feature, dead=top <= 0)


def monosemantic(config: TrialConfig, stats: NeuronStats) -> Tensor:
    """Which neurons have r > mono_threshold; bool (n_neurons,)."""
    return stats.r > config.mono_threshold


def features_by_n_mono(config: TrialConfig, stats: NeuronStats) -> list[int]:
    """How many features have 0, 1, 2, … monosemantic neurons."""
    owned = torch.bincount(stats.feature[monosemantic(config, stats)], minlength=config.n_features)
    return torch.bincount(owned).tolist()


def capacities(w: Float[Tensor, "rows n_features"]) -> Float64[Tensor, " n_features"]:
    """C_i = (W·i · W·i)² / Σ_j (W·i · W·j)², 0 for a zero column (Scherlis et al., eq. 3).

    >>> capacities(torch.eye(2)).tolist()
    [1.0, 1.0]
    >>> capacities(torch.ones(1, 4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    lengths = torch.linalg.vector_norm(w.double(), dim=0)
    scale = lengths.max()
    if not scale > 0:
        return torch.zeros_like(lengths)
    gram = torch.square((w.double() / scale).T @ (w.double() / scale))  # scaled, so that no square overflows
    total = gram.sum(dim=1)
    return torch.where(lengths > 0, gram.diagonal() / total.where(total > 0, 1.0), 0.0)


class LossRecord:
    """Windowed and least losses of a pack, from every step's loss; the same however the steps are chunked.

    Args:
        configs: the pack's members.
    """

    def __init__(self, configs: tuple[TrialConfig, ...]) -> None:
        self.configs = configs
        self.step = 0
        size = max(MIN_LOSS_STEPS, *(loss_window(c, c.n_steps) for c in configs))
        self.recent: Float64[ndarray, "pack size"] = np.zeros((len(configs), size))
        """The latest losses; step s stands at (s - 1) mod size."""
        self.least: Float64[ndarray, " pack"] = np.full(len(configs), np.inf)

    def push(self, losses: Float64[ndarray, "steps pack"]) -> None:
        """Append the losses of the next steps."""
        for start in range(0, len(losses), self.recent.shape[1]):
            self._push(losses[start : start + self.recent.shape[1]])

    def _push(self, losses: Float64[ndarray, "steps pack"]) -> None:
        before = min(self.step, MIN_LOSS_STEPS - 1)
        joined = np.concatenate([self._last(before), losses.T], axis=1)
        if (n_means := joined.shape[1] - MIN_LOSS_STEPS + 1) > 0:
            # Summed in one fixed order, so that chunking cannot change a bit.
            total = joined[:, :n_means].copy()
            for shift in range(1, MIN_LOSS_STEPS):
                total += joined[:, shift : shift + n_means]
            self.least = np.fmin(self.least, total.min(axis=1) / MIN_LOSS_STEPS)
        places = (self.step + np.arange(len(losses))) % self.recent.shape[1]
        self.recent[:, places] = losses.T
        self.step += len(losses)

    def _last(self, n: int) -> Float64[ndarray, "pack n"]:
        return self.recent[:, (self.step - n + np.arange(n)) % self.recent.shape[1]]

    def loss(self, member: int) -> float:
        """Mean loss over the window that ends at the current step."""
        window = self._last(loss_window(self.configs[member], self.step))[member]
        return float(np.ascontiguousarray(window).mean())

    def min_loss(self, member: int) -> float:
        """Least 16-step mean so far; before step 16 the mean of all steps so far."""
        if self.step < MIN_LOSS_STEPS:
            return float(np.ascontiguousarray(self._last(self.step)[member]).mean())
        return float(self.least[member])
