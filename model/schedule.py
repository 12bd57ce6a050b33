"""What changes with the step, whatever the family: learning rate, and when to record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from monosweep.model.config import Meanings, TrialConfig

_HALF_WAVES: Meanings[Callable[[TrialConfig], int]] = Meanings(
    "lr_schedule",
    {"constant": lambda config: 0, "cosine": lambda config: config.lr_period,
     "cosine_to_zero": lambda config: config.n_steps},
)  # fmt: skip


def lr_at(config: TrialConfig, step: int) -> float:
    """Learning rate that step 1, 2, … uses (section 2).

    `cosine` is annealing to 0 with T_max = lr_period, stepped for the whole run, hence periodic.

    >>> from monosweep.model.families.two_layer.config import TwoLayerConfig
    >>> config = TwoLayerConfig(lr=0.01, lr_period=512)
    >>> [round(lr_at(config, step), 4) for step in (1, 257, 513, 1025)]
    [0.01, 0.005, 0.0, 0.01]
    """
    half_wave = _half_wave(config)
    return config.lr * _cosine(step, half_wave) if half_wave else config.lr


def lr_table(configs: Sequence[TrialConfig], done: Sequence[int], n_steps: int) -> Float64[ndarray, "steps pack"]:
    """`lr_at` of some trials at their next steps, each wave computed once: they share few.

    Args:
        done: how many steps each trial has done.
    """
    waves = [(_half_wave(config), first) for config, first in zip(configs, done, strict=True)]
    shapes = {wave: _wave(*wave, n_steps) for wave in set(waves)}
    table: ndarray = np.array([shapes[wave] for wave in waves]).T * np.array([config.lr for config in configs])
    return table


def _wave(half_wave: int, done: int, n_steps: int) -> list[float]:
    return [_cosine(done + i, half_wave) if half_wave else 1.0 for i in range(1, n_steps + 1)]


def _half_wave(config: TrialConfig) -> int:
    """Steps from the peak rate to zero; 0 if it stays."""
    return _HALF_WAVES[config.lr_schedule](config)


def _cosine(step: int, half_wave: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (step - 1) / half_wave))


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


def is_recorded(step: int, n_steps: int) -> bool:
    """Whether a trial is looked at after this step."""
    return step == n_steps or (step > 0 and step & (step - 1) == 0)


def loss_window(config: TrialConfig, step: int) -> int:
    """Over how many steps a loss recorded at `step` is averaged (section 2)."""
    return min(2 * config.lr_period, max(1, step // 8))
