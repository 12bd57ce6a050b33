"""Do all contenders train the same thing?  Ours against ours to the last digits, the peers by statistics."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

import numpy as np

from contenders.sample import Case, Sample
from monosweep.model.bench.shapes import Shape
from monosweep.model.device import reproducible
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.solo import SoloEngine

ENGINES_TOLERANCE = 1e-4
"""Largest relative difference between the losses of the solo and the packed engine over the first steps."""
STANDARD_ERRORS = 5
"""Between mean losses of two contenders, each of ten trials or more: by Student's t with 18 degrees of freedom one
comparison in 10,000 goes beyond it by chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """A peer's mean loss beside ours: other random numbers, the same distribution."""

    shape: str
    contender: str
    lr: float
    step: int
    ours: float
    theirs: float
    tolerance: float
    """Five standard errors of the difference."""
    n: tuple[int, int]
    """Trials of ours and theirs."""

    @property
    def holds(self) -> bool:
        """Whether the difference is within chance."""
        return abs(self.ours - self.theirs) <= self.tolerance


def engines_differ_by(shape: Shape, n_steps: int) -> float:
    """Largest relative difference between solo and packed losses over `n_steps` steps."""
    (config,) = shape.trials(1, n_steps)
    with reproducible("cpu"):
        packed, solo = PackedEngine((config,)).advance(n_steps), SoloEngine((config,), "cpu").advance(n_steps)
    return float(np.max(np.abs(packed / solo - 1)))


def agreements(cases: Sequence[Case], samples: Sequence[Sample], ours: str) -> Iterator[Agreement]:
    """Every peer, and ours with rounded products, against `ours` at every shape, rate and step."""
    pooled: dict[tuple[str, str], dict[tuple[float, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        for key, values in sample.losses.items():
            pooled[sample.shape, sample.contender][key] += values
    for (shape, contender), losses in pooled.items():
        if not contender.startswith("ours") or contender.endswith("bf16"):
            for (lr, step), theirs in losses.items():
                reference = pooled[shape, ours][lr, step]
                yield Agreement(
                    shape=shape, contender=contender, lr=lr, step=step, ours=fmean(reference),
                    theirs=fmean(theirs), tolerance=_tolerance(reference, theirs), n=(len(reference), len(theirs)),
                )  # fmt: skip


def _tolerance(a: Sequence[float], b: Sequence[float]) -> float:
    return STANDARD_ERRORS * math.sqrt(variance(a) / len(a) + variance(b) / len(b))
