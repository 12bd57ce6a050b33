"""Several judges as one: who is stopped by any of them is stopped, who waits for any of them waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from monosweep.model.config import TrialConfig
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import GO_ON, Judge, Point, Verdict


class Judges:
    """Asks each judge about the points at its own rungs."""

    def __init__(self, judges: Sequence[Judge]) -> None:
        self._judges = tuple(judges)
        self.rungs = reduce(Rungs.__or__, (judge.rungs for judge in judges), Rungs(()))
        self._waits: dict[str, set[int]] = {}
        """For whom members wait, by trial_id."""

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        for point in points:
            self._waits[point.trial_id] = set()
        answers: list[Mapping[str, Verdict]] = []
        for place, judge in enumerate(self._judges):
            asked = self._of(judge, points)
            answers.append(judge.see(asked) if asked else {})
            for trial_id in {point.trial_id for point in asked} - answers[-1].keys():
                self._waits[trial_id].add(place)
        found: dict[str, Verdict] = {}
        for place, verdicts in enumerate(answers):
            found |= self._given(place, verdicts, found)
        # Who was neither stopped nor has to wait goes on.
        return {p.trial_id: GO_ON for p in points if not self._waits[p.trial_id]} | found

    def remember(self, points: Sequence[Point]) -> None:
        for judge in self._judges:
            if told := self._of(judge, points):
                judge.remember(told)

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        self._waits.pop(config.trial_id, None)
        found: dict[str, Verdict] = {}
        for place, judge in enumerate(self._judges):
            found |= self._given(place, judge.left(config), found)
        return found

    def _of(self, judge: Judge, points: Sequence[Point]) -> list[Point]:
        return [point for point in points if judge.rungs.at(point.config, point.step) is not None]

    def _given(self, place: int, verdicts: Mapping[str, Verdict], before: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """What becomes of members now that one judge has spoken."""
        found = {}
        for trial_id, verdict in verdicts.items():
            waits = self._waits.setdefault(trial_id, set())
            waits.discard(place)
            stopped = before.get(trial_id, GO_ON).stop
            if stopped is None and (verdict.stop is not None or not waits):
                found[trial_id] = verdict
        return found
