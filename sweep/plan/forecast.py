"""How long a launch will train on this machine: a few steps of the costliest shapes, timed; from packs to seconds.

A shape's pace is that of one of its packs, a function's that of some trials of one method.  Those for which no time
is left are taken to be as fast, for what their trials cost, as those that were timed.  What else the machine does
meanwhile is in it.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monosweep.model.config import TrialConfig, shape_of
from monosweep.model.kinds import kind_of
from monosweep.model.kinds.contract import Trainer
from monosweep.model.procedure import ProcedureConfig
from monosweep.model.records import TrialStatus
from monosweep.model.results import TrialResult
from monosweep.sweep.plan.packs import MULTIPLY_ADDS_PER_S, Pack

_Alike = tuple[object, ...]
BUDGET_S = 2.0
"""For all shapes together, about: the first step, which may have to be compiled, takes what it takes."""
_MOST_SHAPES = 4
"""That are timed."""
_LEAST_INTERVALS = 4
"""Between recorded steps: the first does not count, two tell steps from looks, one more tells whether they do."""
_WAIT_S = 0.1
"""For a first step that takes longer than there is time."""
_LONGEST_STEP_S = 0.2
"""Of a pack: one whose steps may take longer is timed with fewer members, who are then as slow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pace:
    """Seconds that a member of a pack takes."""

    step_s: float
    """For an optimiser step."""
    look_s: float
    """For the metrics at a recorded step: 1, 2, 4, … and the last."""
    share: float = 1.0
    """Of their steps that members take: a function may be done before it has spent them."""

    def of(self, config: TrialConfig) -> float:
        """One member."""
        return config.n_steps * self.share * self.step_s + _looks(config) * self.look_s


def seconds_to_train(packs: Sequence[Pack], n_workers: int, device: str) -> float:
    """About how long `packs` take here, so many at a time and in this order.

    Raises:
        ConfigError: as the trainer does for packs that cannot be.
    """
    costs: dict[_Alike, float] = defaultdict(float)
    first: dict[_Alike, Pack] = {}
    parts = [_by_pace(pack) for pack in packs]
    for part in parts:
        for alike, configs in part.items():
            costs[alike] += sum(map(_cost, configs))
            first.setdefault(alike, Pack(tuple(configs)))
    costliest = sorted(costs, key=lambda alike: -costs[alike])[:_MOST_SHAPES]
    paces: dict[_Alike, _Pace] = {}
    deadline = time.perf_counter() + BUDGET_S
    for i, alike in enumerate(costliest):
        left = deadline - time.perf_counter()
        if left > 0 or not paces:
            paces[alike] = _pace(first[alike], device, left / (len(costliest) - i))
    timed = [(pace, config) for alike, pace in paces.items() for config in first[alike].configs]
    price = sum(pace.of(config) for pace, config in timed) / sum(_cost(config) for _, config in timed)

    def seconds(alike: _Alike, configs: Sequence[TrialConfig]) -> float:
        pace = paces.get(alike)
        return sum(pace.of(config) if pace else _cost(config) * price for config in configs)

    return _end([sum(seconds(*alike) for alike in part.items()) for part in parts], n_workers)


def _by_pace(pack: Pack) -> Mapping[_Alike, Sequence[TrialConfig]]:
    """Members that take as long for a step: all, or those functions that share such words as a method's name."""
    shape = shape_of(pack.configs[0])
    if not isinstance(pack.configs[0], ProcedureConfig):
        return {shape: pack.configs}
    found: dict[_Alike, list[TrialConfig]] = defaultdict(list)
    for config in pack.configs:
        found[(*shape, *(value for value in config.to_dict().values() if isinstance(value, str)))].append(config)
    return found


def _looks(config: TrialConfig) -> int:
    return (config.n_steps - 1).bit_length() + 1


def _cost(config: TrialConfig) -> float:
    """Multiply-adds, about."""
    return config.n_steps * config.step_cost() + _looks(config) * config.look_cost()


def _pace(pack: Pack, device: str, seconds: float) -> _Pace:
    """Of a pack, from training it for about so many seconds."""
    n_members = int(_LONGEST_STEP_S * MULTIPLY_ADDS_PER_S / pack.configs[0].step_cost())
    configs = pack.configs[: max(1, n_members)]
    trainer = kind_of(configs[0]).start(configs, device)
    intervals: list[tuple[int, int, float]] = []
    deadline = time.perf_counter() + seconds
    waited = 0.0
    while not trainer.done and (
        len(intervals) < _LEAST_INTERVALS or time.perf_counter() < deadline or not _seen(intervals)
    ):
        start, busy = time.perf_counter(), time.process_time()
        before = _done(trainer)
        snapshot = trainer.advance(max(0.0 if _seen(intervals) else _WAIT_S, deadline - start))
        busy, passed = time.process_time() - busy, time.perf_counter() - start
        looks = sum(point is not None for point in snapshot.points) if snapshot else 0
        intervals.append((_done(trainer) - before, looks, busy))
        waited += max(0.0, passed - busy)
    trainer.close()
    told = intervals[1:] if _seen(intervals[1:]) else intervals  # the first has something compiled
    pace = _fitted(told, configs[0])
    shared = 1 + waited / max(sum(busy for _, _, busy in intervals), 1e-9)
    return _Pace(step_s=pace.step_s * shared, look_s=pace.look_s * shared, share=_share(trainer.results()))


def _seen(intervals: Sequence[tuple[int, int, float]]) -> bool:
    """Whether anything was done in them."""
    return any(steps or looks for steps, looks, _ in intervals)


def _share(ended: Sequence[TrialResult]) -> float:
    """Of their steps that those have taken which came to their end; 1 where none did."""
    taken = [result.last_step / result.config.n_steps for result in ended if result.status is TrialStatus.COMPLETED]
    return float(np.mean(taken)) if taken else 1.0


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
