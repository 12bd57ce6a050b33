"""The expression `stop` of a spec as a judge: `loss > 2 * best_loss and step >= 1024`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monosweep.model.config import TrialConfig
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import GO_ON, Objective, Point, Verdict, in_order
from monosweep.sweep.search.measure import Measure


class Stop:
    """Stops whom an expression is true of, at any recorded step; one without a value is not true."""

    def __init__(self, expression: str, objectives: Sequence[Objective], example: Mapping[str, Any]) -> None:
        self._expression, self.rungs = expression, Rungs.every()
        self._measure = Measure([expression], objectives, example)

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        points = in_order(points)
        found = self._measure.of(points)
        why = Verdict(stop=f"stop: {self._expression}")
        pairs = zip(points, found, strict=True)
        return {point.trial_id: why if values[self._expression] else GO_ON for point, values in pairs}

    def remember(self, points: Sequence[Point]) -> None:
        self._measure.of(points)

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        return {}
