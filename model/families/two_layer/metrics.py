"""Monosemanticity, dead neurons and feature capacity of some trials' weights; a pack's windowed losses.

What is computed over stacked trials here reduces each trial's numbers in the same order whoever stands beside it;
products and activations, where a library may not, are called trial by trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import TrialConfig
from monosweep.model.families.two_layer.network import Weights, responses
from monosweep.model.schedule import loss_window

EPS = 1e-10
"""Keeps r of a dead neuron finite (eq. 7)."""
POSITIVE_BIAS = 0.05
"""The paper's threshold for a polysemantic neuron (section 3)."""
MIN_LOSS_STEPS = 16
"""`min_loss` is the least mean over so many steps, or over all steps so far where they are fewer."""


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
    configs: Sequence[TrialConfig],
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


def capacities(w: Float[Tensor, "pack rows n_features"]) -> Float64[Tensor, "pack n_features"]:
    """C_i = (W·i · W·i)² / Σ_j (W·i · W·j)², 0 for a zero column (Scherlis et al., eq. 3).

    >>> capacities(torch.eye(2)[None]).tolist()
    [[1.0, 1.0]]
    >>> capacities(torch.ones(1, 1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    w = w.double()
    lengths = torch.linalg.vector_norm(w, dim=1)
    scale = lengths.amax(dim=1)[:, None, None]
    w = w / torch.where(scale > 0, scale, 1.0)  # so that no square overflows
    gram = torch.stack([one.T @ one for one in w]).square_()
    total = gram.sum(dim=2)
    return torch.where(lengths > 0, gram.diagonal(dim1=1, dim2=2) / total.where(total > 0, 1.0), 0.0)


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
        if self.step < MIN_LOSS_STEPS:
            first = np.cumsum(joined[:, : MIN_LOSS_STEPS - 1], axis=1)
            means = first / np.arange(1, first.shape[1] + 1)
            self.least = np.fmin(self.least, means.min(axis=1))
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

    def losses(self) -> Float64[ndarray, " pack"]:
        """Mean loss over the window that ends at the current step."""
        windows = np.array([loss_window(config, self.step) for config in self.configs])
        out = np.empty(len(windows))
        for window in np.unique(windows):
            out[windows == window] = self._mean(int(window))[windows == window]
        return out

    def min_losses(self) -> Float64[ndarray, " pack"]:
        """Least so far of the mean loss over the last 16 steps, or over all steps while they are fewer; never rises."""
        return self.least

    def _mean(self, n: int) -> Float64[ndarray, " pack"]:
        mean: ndarray = np.ascontiguousarray(self._last(n)).mean(axis=1)  # each row in NumPy's order of one array
        return mean
