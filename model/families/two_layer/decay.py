"""Bias decay: how much of it there is at a step, and how much of that each neuron feels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.families.two_layer.config import TwoLayerConfig

Tensors = Mapping[str, Tensor]


def bias_decay_at(config: TwoLayerConfig, step: int) -> float:
    """The part of its bias that a neuron may lose after `step`: bias_decay·lr in the first half, then 0."""
    return config.bias_decay * config.lr if 2 * step <= config.n_steps else 0.0


def bias_decay_table(
    configs: Sequence[TwoLayerConfig], done: Sequence[int], n_steps: int
) -> Float64[ndarray, "steps pack"]:
    """`bias_decay_at` of some trials at their next steps; `done` is how many steps each has done."""
    rates = np.array([config.bias_decay * config.lr for config in configs])
    ends = np.array([config.n_steps for config in configs])
    steps = np.arange(1, n_steps + 1)[:, None] + np.array(done)
    table: ndarray = np.where(2 * steps <= ends, rates, 0.0)
    return table


def _all_decay(params: Tensors, before: Tensors, passed: Tensors, peak_lr: Any) -> Tensor:
    return torch.ones_like(params["bias"])


def _silent_decay(params: Tensors, before: Tensors, passed: Tensors, peak_lr: Any) -> Tensor:
    return passed["silent"].to(params["bias"].dtype)


def _still_decay(params: Tensors, before: Tensors, passed: Tensors, peak_lr: Any) -> Tensor:
    moved = torch.linalg.vector_norm(params["w_in"] - before["w_in"], dim=1)
    size = torch.linalg.vector_norm(params["w_in"], dim=1)
    relative = torch.where(size > 0, moved / torch.where(size > 0, size, 1.0), 0.0)
    share: Tensor = (1 - relative / peak_lr).clamp_min(0)
    return share


DECAY_SHARES = Meanings(
    "bias_decay_mode", {"rate": _all_decay, "per_neuron": _silent_decay, "tied_to_update": _still_decay}
)
"""How much of the bias decay each neuron feels, 0 to 1, by `bias_decay_mode`."""
