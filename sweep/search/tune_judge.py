"""Ray Tune's schedulers as judges of members: ASHA, median stopping, or the user's own object.

They are fed with stand-ins, since a Tune trial is a whole pack here.  A scheduler that only says go on or stop needs
no more of a trial than its id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
)
from ray.tune.schedulers import (
    TrialScheduler as TrialScheduler,
)

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import GO_ON, Point, Verdict, in_order
from monosweep.sweep.search.measure import Objectives

TIME = "step"
"""What a scheduler must take for its `time_attr`."""
METRIC = "objective"
"""What it is told to minimise."""
_WORST = 1e300
"""Of what is worth nothing: schedulers take percentiles, which infinity turns into NaN."""
_PAUSING = (HyperBandScheduler, PopulationBasedTraining, PopulationBasedTrainingReplay)


@dataclass(frozen=True)
class _StandIn:
    """A member, as a scheduler sees it."""

    trial_id: str
    status: str = "RUNNING"


class _NoController:
    """A scheduler asks Tune who else could run instead; nobody could."""

    def get_live_trials(self) -> list[_StandIn]:
        return []


class TuneJudge:
    """Asks a scheduler of Ray Tune about every member.

    Args:
        rungs: at which steps it has something to say; left out, at every recorded one.

    Raises:
        ConfigError: if the scheduler does more than letting go on and stopping.
    """

    def __init__(
        self, scheduler: TrialScheduler, name: str, objectives: Objectives, rungs: Rungs | None = None
    ) -> None:
        if len(objectives.objectives) != 1:
            raise ConfigError(
                f"scheduler {name} must be given one objective; got {len(objectives.objectives)}; use moasha or halving"
            )
        if isinstance(scheduler, _PAUSING):
            raise ConfigError(
                f"scheduler must let trials go on or stop them; got {type(scheduler).__name__}, which pauses or "
                "changes them: a trial's row must follow from its config; use asha, median, halving or moasha"
            )
        self._scheduler, self._name, self._objectives = scheduler, name, objectives
        self.rungs = rungs or Rungs.every()
        self._known: dict[str, _StandIn] = {}
        self._values: dict[int, list[float]] = {}
        scheduler.set_search_properties(METRIC, "min")  # one with a metric of its own keeps it

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        return {point.trial_id: self._verdict(point, value) for point, value in self._worth(points)}

    def remember(self, points: Sequence[Point]) -> None:
        for point, value in sorted(self._worth(points), key=lambda pair: pair[0].step):
            # The end of a trial is what a scheduler is told without being asked.
            stand_in, told = self._told(point, value)
            self._scheduler.on_trial_complete(_NoController(), stand_in, told)
            del self._known[point.trial_id]

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        return {}

    def _worth(self, points: Sequence[Point]) -> Iterator[tuple[Point, float]]:
        points = in_order(points)
        for point, (value,) in zip(points, self._objectives.of(points), strict=True):
            yield point, min(value, _WORST)

    def _verdict(self, point: Point, value: float) -> Verdict:
        action = self._ask(point, value)
        if action == TrialScheduler.CONTINUE:
            return GO_ON
        if action == TrialScheduler.STOP:
            return Verdict(stop=self._why(point, value))
        raise ConfigError(
            f"scheduler must let trials go on or stop them; {type(self._scheduler).__name__} said {action!r}; use "
            "asha, median, halving or moasha"
        )

    def _ask(self, point: Point, value: float) -> str:
        stand_in, told = self._told(point, value)
        return str(self._scheduler.on_trial_result(_NoController(), stand_in, told))

    def _told(self, point: Point, value: float) -> tuple[_StandIn, dict[str, Any]]:
        """What a scheduler gets to know of a point; it is shown whom it does not know."""
        stand_in = self._known.get(point.trial_id)
        if stand_in is None:
            stand_in = self._known[point.trial_id] = _StandIn(point.trial_id)
            with _seeded(point.trial_id):  # it draws the bracket
                self._scheduler.on_trial_add(_NoController(), stand_in)
        self._values.setdefault(point.step, []).append(value)
        return stand_in, {**point.values, TIME: point.step, "training_iteration": point.step, METRIC: value}

    def _why(self, point: Point, value: float) -> str:
        """With its place among those that were at this step before it."""
        values = self._values[point.step]
        place = sum(other < value for other in values) + 1
        worth = self._objectives.text([value if value < _WORST else math.inf])
        return f"{self._name}, step {point.step}: {place} of {len(values)} ({worth})"


def asha(objectives: Objectives, rungs: Rungs, max_steps: int, factor: float, brackets: int) -> TuneJudge:
    """Ray Tune's ASHA, whose rungs are these."""
    scheduler = ASHAScheduler(
        time_attr=TIME, max_t=max_steps, grace_period=int(rungs.steps[0]), reduction_factor=factor, brackets=brackets
    )
    return TuneJudge(scheduler, "asha", objectives, rungs)


def median(objectives: Objectives, grace_period: int, min_samples: int) -> TuneJudge:
    """Ray Tune's median stopping, at every recorded step."""
    scheduler = MedianStoppingRule(time_attr=TIME, grace_period=grace_period, min_samples_required=min_samples)
    return TuneJudge(scheduler, "median", objectives)


@contextmanager
def _seeded(trial_id: str) -> Iterator[None]:
    """NumPy's own generator, from which a scheduler draws, as a function of the trial."""
    before = np.random.get_state()
    np.random.seed(int(trial_id[:8], 16))
    try:
        yield
    finally:
        np.random.set_state(before)
