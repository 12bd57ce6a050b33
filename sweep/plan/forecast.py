"""How long a launch will train on this machine: a few steps of the costliest shapes, timed; from packs to seconds.

A shape's pace is that of one of its packs; shapes for which no time is left are taken to be as fast, for what their
trials cost, as those that were timed.  What else the machine does meanwhile is in it.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monosweep.model.config import TrialConfig, shape_of
from monosweep.model.kinds import kind_of
from monosweep.model.kinds.contract import Trainer
from monosweep.sweep.plan.packs import MULTIPLY_ADDS_PER_S, Pack

BUDGET_S = 2.0
"""For all shapes together, about: the first step, which may have to be compiled, takes what it takes."""
_MOST_SHAPES = 4
"""That are timed."""
_LEAST_INTERVALS = 4
"""Between recorded steps: the first does not count, two tell steps from looks, one more tells whether they do."""
_LONGEST_STEP_S = 0.2
"""Of a pack: one whose steps may take longer is timed with fewer members, who are then as slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pace:
    """Seconds that a member of a pack takes."""

    step_s: float
    """For an optimiser step."""
    look_s: float
    """For the metrics at a recorded step: 1, 2, 4, … and the last."""

    def of(self, pack: Pack) -> float:
        """A whole pack."""
        return sum(c.n_steps * self.step_s + _looks(c) * self.look_s for c in pack.configs)


def seconds_to_train(packs: Sequence[Pack], n_workers: int, device: str) -> float:
    """About how long `packs` take here, so many at a time and in this order.

    Raises:
        ConfigError: as the trainer does for packs that cannot be.
    """
    costs: dict[tuple[object, ...], float] = defaultdict(float)
    for pack in packs:
        costs[_shape(pack)] += _cost(pack)
    first = {_shape(pack): pack for pack in reversed(packs)}
    costliest = sorted(costs, key=lambda shape: -costs[shape])[:_MOST_SHAPES]
    paces: dict[tuple[object, ...], _Pace] = {}
    deadline = time.perf_counter() + BUDGET_S
    for i, shape in enumerate(costliest):
        left = deadline - time.perf_counter()
        if left > 0 or not paces:
            paces[shape] = _pace(first[shape], device, left / (len(costliest) - i))
    timed = [first[shape] for shape in paces]
    price = sum(paces[_shape(pack)].of(pack) for pack in timed) / sum(map(_cost, timed))
    told = [pace.of(pack) if (pace := paces.get(_shape(pack))) else _cost(pack) * price for pack in packs]
    return _end(told, n_workers)


def _shape(pack: Pack) -> tuple[object, ...]:
    return shape_of(pack.configs[0])


def _looks(config: TrialConfig) -> int:
    return (config.n_steps - 1).bit_length() + 1


def _cost(pack: Pack) -> float:
    """Multiply-adds, about."""
    return sum(config.n_steps * config.step_cost() + _looks(config) * config.look_cost() for config in pack.configs)


def _pace(pack: Pack, device: str, seconds: float) -> _Pace:
    """Of a pack, from training it for about so many seconds."""
    n_members = int(_LONGEST_STEP_S * MULTIPLY_ADDS_PER_S / pack.configs[0].step_cost())
    configs = pack.configs[: max(1, n_members)]
    trainer = kind_of(configs[0]).start(configs, device)
    intervals: list[tuple[int, int, float]] = []
    deadline = time.perf_counter() + seconds
    waited = 0.0
    while not trainer.done and (len(intervals) < _LEAST_INTERVALS or time.perf_counter() < deadline):
        start, busy = time.perf_counter(), time.process_time()
        before = _done(trainer)
        snapshot = trainer.advance(max(0.0, deadline - start))
        busy, passed = time.process_time() - busy, time.perf_counter() - start
        looks = sum(point is not None for point in snapshot.points) if snapshot else 0
        intervals.append((_done(trainer) - before, looks, busy))
        waited += max(0.0, passed - busy)
    trainer.close()
    pace = _fitted(intervals[1:] or intervals, configs[0])  # the first has something compiled
    shared = 1 + waited / max(sum(busy for _, _, busy in intervals), 1e-9)
    return _Pace(step_s=pace.step_s * shared, look_s=pace.look_s * shared)


def _done(trainer: Trainer) -> int:
    """Steps of all members, those who have ended too."""
    return trainer.model_steps + sum(result.last_step for result in trainer.results())


def _fitted(intervals: Sequence[tuple[int, int, float]], config: TrialConfig) -> _Pace:
    """From members' steps, their looks and the processor's seconds of each interval: least squares.

    The clock's seconds would tell of whoever shares the processor; how much these slow all down is told by their sum.
    """
    steps, looks, seconds = np.array(intervals, dtype=float).T
    (step_s, look_s), _, rank, _ = np.linalg.lstsq(np.stack([steps, looks], axis=1), seconds, rcond=None)
    if rank == 2 and step_s > 0 and look_s >= 0:
        return _Pace(step_s=float(step_s), look_s=float(look_s))
    ratio = config.look_cost() / config.step_cost()  # too little was seen to tell them apart
    price = float(seconds.sum() / (steps.sum() + ratio * looks.sum()))
    return _Pace(step_s=price, look_s=price * ratio)


def _end(seconds: Sequence[float], n_workers: int) -> float:
    """When the last worker is done, if each takes up the next pack as soon as it can.

    >>> _end([3, 2, 2], 2)
    4.0
    """
    free_at = [0.0] * n_workers
    for pack_s in seconds:
        heapq.heapreplace(free_at, free_at[0] + pack_s)
    return max(free_at)
