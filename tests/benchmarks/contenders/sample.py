"""What one measurement of one contender at one shape yields, and the pace at which all of them train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy import ndarray

from monosweep.model.bench.shapes import RATES, SHAPES, Shape
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.schedule import loss_window


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One shape in the benchmark: long enough to time, short enough to repeat."""

    shape: Shape
    n_steps: int
    """A power of two, so that ours records a loss at its end and at a quarter of it."""
    n_packed: int
    """Trials that ours trains, in one pack per core."""
    n_plain: int
    """Trials of the plain contender; a multiple of the cores."""
    n_jax: int
    """Trials in JAX's vmap."""
    jax_steps: int
    """Steps of one call of JAX; it divides n_steps."""

    @property
    def loss_steps(self) -> tuple[int, int]:
        """Where losses are compared."""
        return self.n_steps // 4, self.n_steps


CASES = tuple(
    Case(shape=s, n_steps=steps, n_packed=packed, n_plain=4, n_jax=jax, jax_steps=min(steps, 512))
    for s, steps, packed, jax in zip(SHAPES, (4096, 512, 512, 8), (16, 16, 16, 4), (32, 32, 32, 4), strict=True)
)
CHECKED_RATES = RATES[:2]
"""Learning rates at which all contenders train, so that their losses can be compared."""

Losses = Mapping[tuple[float, int], list[float]]
"""Windowed task losses of the trials by (lr, step)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One contender at one shape, once."""

    contender: str
    shape: str
    step_ms: float
    """Milliseconds per model-step while all cores train: whole machine."""
    losses: Losses = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One contender at all shapes, once."""

    samples: tuple[Sample, ...]
    startup_s: float
    """Wall time besides the training: starting, compiling, scheduling, storing, ending."""


def windowed(config: TwoLayerConfig, trace: ndarray, step: int) -> float:
    """The loss that monosweep would record at `step`, from the loss of every step."""
    return float(trace[step - loss_window(config, step) : step].mean())
