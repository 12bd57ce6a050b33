"""Successive halving, for one objective or several.

Asynchronous: who reaches a rung goes on if it is among the best 1/factor of those that have reached it so far.
Synchronous: whoever reaches a rung waits until all have that can; then the best 1/factor go on, for sure.

Several objectives: by front, then by crowding distance, as in Schmucker et al., *Multi-objective Asynchronous
Successive Halving* (2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from monosweep.model.config import TrialConfig
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import GO_ON, Point, Verdict, in_order
from monosweep.sweep.search.fronts import ranks
from monosweep.sweep.search.measure import Objectives

_Vectors = dict[str, tuple[float, ...]]


class _Ranked:
    """Rungs and what their members are worth."""

    def __init__(self, name: str, objectives: Objectives, rungs: Rungs, factor: float) -> None:
        self._name, self._objectives, self.rungs, self._factor = name, objectives, rungs, factor
        self._reached: list[_Vectors] = [{} for _ in rungs.steps]

    def remember(self, points: Sequence[Point]) -> None:
        self._note(points)

    def _note(self, points: Sequence[Point]) -> dict[str, int]:
        """Put members on the rungs that they have reached; which those are."""
        rungs = {}
        there = [(point, self.rungs.at(point.config, point.step)) for point in in_order(points)]
        reached = [(point, rung) for point, rung in there if rung is not None]
        vectors = self._objectives.of([point for point, _ in reached])
        for (point, rung), vector in zip(reached, vectors, strict=True):
            self._reached[rung].setdefault(point.trial_id, vector)
            rungs[point.trial_id] = rung
        return rungs

    def _verdicts(self, rung: int) -> dict[str, Verdict]:
        """On all who have reached a rung, as they stand there now."""
        vectors = self._reached[rung]
        ids = sorted(vectors)
        places = ranks(np.array([vectors[trial_id] for trial_id in ids]))
        go_on = math.ceil(len(ids) / self._factor)
        return {
            trial_id: GO_ON if place < go_on else Verdict(stop=self._why(rung, int(place), len(ids), vectors[trial_id]))
            for trial_id, place in zip(ids, places, strict=True)
        }

    def _why(self, rung: int, place: int, n: int, vector: Sequence[float]) -> str:
        at = f"{self._name}, rung {self.rungs.steps[rung]:g}"
        return f"{at}: {place + 1} of {n} ({self._objectives.text(vector)})"


class AsyncHalving(_Ranked):
    """Judges who reaches a rung by those that have reached it before."""

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        rungs = self._note(points)
        verdicts = {rung: self._verdicts(rung) for rung in set(rungs.values())}
        return {p.trial_id: verdicts[rungs[p.trial_id]][p.trial_id] if p.trial_id in rungs else GO_ON for p in points}

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        return {}


class Halving(_Ranked):
    """Has members wait at a rung until it is full.

    Args:
        configs: all trials of the sweep.
    """

    def __init__(
        self, name: str, objectives: Objectives, rungs: Rungs, factor: float, configs: Sequence[TrialConfig]
    ) -> None:
        super().__init__(name, objectives, rungs, factor)
        self._configs = {config.trial_id: config for config in configs}
        self._gone: set[str] = set()
        self._told: list[set[str]] = [set() for _ in rungs.steps]
        """Whose verdict at each rung has been given."""

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        rungs = self._note(points)
        return {p.trial_id: GO_ON for p in points if p.trial_id not in rungs} | self._settled()

    def remember(self, points: Sequence[Point]) -> None:
        for trial_id, rung in self._note(points).items():
            self._told[rung].add(trial_id)

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        self._gone.add(config.trial_id)
        return self._settled()

    def _settled(self) -> dict[str, Verdict]:
        """Verdicts at rungs that are full and were not given yet."""
        found: dict[str, Verdict] = {}
        coming = set(self._configs)
        for rung, step in enumerate(self.rungs.steps):
            due = {trial_id for trial_id in coming if self._configs[trial_id].n_steps > step}
            if not due - self._gone <= self._reached[rung].keys():
                break
            verdicts = self._verdicts(rung) if self._reached[rung] else {}
            new = verdicts.keys() - self._told[rung] - self._gone
            found |= {trial_id: verdicts[trial_id] for trial_id in new}
            self._told[rung] |= new
            coming = {trial_id for trial_id, verdict in verdicts.items() if verdict.stop is None}
        return found
