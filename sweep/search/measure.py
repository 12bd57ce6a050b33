"""What points and rows are worth: objectives, constraints and `stop`, with the best that was seen.

    Point or row -> {objective: value, less is better} , feasible or not

`best_loss` in an expression is the least loss that any trial of the sweep has had at that step or before; `best_X` is
the greatest where X is an objective to be maximised.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from typing import Any

from monosweep.model.config import ConfigError
from monosweep.sweep.search.contract import Objective, Point
from monosweep.sweep.search.expressions import Expressions

_BEST = re.compile(r"\bbest_(\w+)\b")


class Best:
    """The best value of some columns up to any step."""

    def __init__(self, columns: Sequence[str], objectives: Sequence[Objective]) -> None:
        maximised = {objective.expression for objective in objectives if objective.mode == "max"}
        self._signs = {column: -1 if column in maximised else 1 for column in columns}
        self._seen: dict[str, dict[int, float]] = {column: {} for column in columns}
        self._steps: list[int] = []

    def note(self, step: int, values: Mapping[str, Any]) -> None:
        """A trial has these values at this step."""
        for column, sign in self._signs.items():
            value = values.get(column)
            if value is None or not math.isfinite(value):
                continue
            if step not in self._steps:
                insort(self._steps, step)
            known = self._seen[column].get(step, math.inf)
            self._seen[column][step] = min(known, sign * float(value))

    def at(self, step: int) -> dict[str, float | None]:
        """As columns `best_X`."""
        steps = self._steps[: bisect_right(self._steps, step)]
        found = {}
        for column, sign in self._signs.items():
            least = min((self._seen[column].get(s, math.inf) for s in steps), default=math.inf)
            found[f"best_{column}"] = sign * least if math.isfinite(least) else None
        return found


class Measure:
    """Evaluates expressions of a sweep's columns.

    Args:
        expressions: SQL of columns and of their `best_X`.
        objectives: which columns are to be maximised.
        example: a row with all columns, for their types.

    Raises:
        ConfigError: if an expression cannot be evaluated.
    """

    def __init__(self, expressions: Sequence[str], objectives: Sequence[Objective], example: Mapping[str, Any]) -> None:
        named = dict.fromkeys(name for expression in expressions for name in _BEST.findall(expression))
        for name in named:
            if not isinstance(example.get(name), (int, float)):
                raise ConfigError(f"best_{name} must be the best of a column of numbers; there is no such {name!r}")
        self.best = Best(tuple(named), objectives)
        bests = {f"best_{name}": 0.5 for name in named}
        self._expressions = Expressions({e: e for e in expressions}, {**example, **bests})

    def of(self, points: Sequence[Point]) -> list[dict[str, Any]]:
        """Values of the expressions for points, which count for the best from now on."""
        for point in points:
            self.best.note(point.step, point.values)
        rows = [{**p.config.to_dict(), **p.values, "step": p.step, **self.best.at(p.step)} for p in points]
        return self._expressions.of(rows)


class Objectives:
    """What points are worth, as vectors of which less is better in every place.

    A point at which an objective has no value, or which breaks a constraint, is worth less than every other: its
    vector is infinite.
    """

    def __init__(self, objectives: Sequence[Objective], constraints: Sequence[str], example: Mapping[str, Any]) -> None:
        self.objectives, self.constraints = tuple(objectives), tuple(constraints)
        expressions = [objective.expression for objective in objectives]
        self._measure = Measure([*expressions, *constraints], objectives, example)

    def of(self, points: Sequence[Point]) -> list[tuple[float, ...]]:
        """One vector a point."""
        return [self._vector(values) for values in self._measure.of(points)]

    def _vector(self, values: Mapping[str, Any]) -> tuple[float, ...]:
        found = [values[objective.expression] for objective in self.objectives]
        if None in found or not all(values[constraint] for constraint in self.constraints):
            return (math.inf,) * len(found)
        return tuple(o.sign * float(value) for o, value in zip(self.objectives, found, strict=True))

    def text(self, vector: Sequence[float]) -> str:
        """For a row's `error`, such as `loss 0.31`."""
        if not all(map(math.isfinite, vector)):
            return "worth nothing"
        pairs = zip(self.objectives, vector, strict=True)
        return ", ".join(f"{o.expression} {o.sign * value:.4g}" for o, value in pairs)
