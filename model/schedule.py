"""What changes with the step: learning rate, bias decay, and when to record."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from monosweep.model.config import TrialConfig


def lr_at(config: TrialConfig, step: int) -> float:
    """Learning rate that step 1, 2, … uses (section 2).

    `cosine` is annealing to 0 with T_max = lr_period, stepped for the whole run, hence periodic.

    >>> config = TrialConfig(lr=0.01, lr_period=512)
    >>> [round(lr_at(config, step), 4) for step in (1, 257, 513, 1025)]
    [0.01, 0.005, 0.0, 0.01]
    """
    half_wave = _half_wave(config)
    return config.lr * _cosine(step, half_wave) if half_wave else config.lr


def lr_table(configs: Sequence[TrialConfig], steps: Sequence[int]) -> Float64[ndarray, "steps pack"]:
    """`lr_at` of some trials at some steps, each wave computed once: they share few."""
    half_waves = [_half_wave(config) for config in configs]
    waves = {half: [_cosine(s, half) if half else 1.0 for s in steps] for half in set(half_waves)}
    table: ndarray = np.array([waves[half] for half in half_waves]).T * np.array([config.lr for config in configs])
    return table


def _half_wave(config: TrialConfig) -> int:
    """Steps from the peak rate to zero; 0 if it stays."""
    if config.lr_schedule == "constant":
        return 0
    return config.lr_period if config.lr_schedule == "cosine" else config.n_steps


def _cosine(step: int, half_wave: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (step - 1) / half_wave))


def bias_decay_at(config: TrialConfig, step: int) -> float:
    """The part of its bias that a neuron may lose after `step`: bias_decay·lr in the first half, then 0."""
    return config.bias_decay * config.lr if 2 * step <= config.n_steps else 0.0


def bias_decay_table(configs: Sequence[TrialConfig], steps: Sequence[int]) -> Float64[ndarray, "steps pack"]:
    """`bias_decay_at` of some trials at some steps."""
    rates = np.array([config.bias_decay * config.lr for config in configs])
    ends = np.array([config.n_steps for config in configs])
    table: ndarray = np.where(2 * np.array(steps)[:, None] <= ends, rates, 0.0)
    return table


def recorded_steps(n_steps: int) -> Iterator[int]:
    """1, 2, 4, … and the last step.

    >>> list(recorded_steps(10))
    [1, 2, 4, 8, 10]
    """
    step = 1
    while step < n_steps:
        yield step
        step *= 2
    yield n_steps


def next_recorded(step: int, n_steps: int) -> int:
    """The first recorded step after `step`."""
    return next(s for s in recorded_steps(n_steps) if s > step)


def loss_window(config: TrialConfig, step: int) -> int:
    """Over how many steps a loss recorded at `step` is averaged (section 2)."""
    return min(2 * config.lr_period, max(1, step // 8))
