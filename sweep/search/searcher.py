"""Ray Tune's searchers as sources of trials: Optuna's, or the user's own object.

    Searcher.suggest -> point -> configs (one a seed) -> rows -> Searcher.on_trial_complete

A searcher is made anew at every launch and told what the tables hold; none is ever pickled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from ray import tune
from ray.tune.search import Searcher as Searcher

from monosweep.model.config import TrialConfig
from monosweep.sweep.search.contract import Point
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.points import Points

_TRIES = 100
"""Suggestions in a row that were made before, after which a space counts as exhausted."""
_WORST = 1e30
"""Of a trial that has no value, while no other has one either."""

Vector = tuple[float, ...]


AddKnown = Callable[[Mapping[str, Any], Vector], None]
"""Tells a searcher of a point that it has not suggested."""


class Made(Protocol):
    """Makes a searcher that knows some points, and what tells it of others."""

    def __call__(self, known: Sequence[tuple[Mapping[str, Any], Vector]]) -> tuple[Searcher, AddKnown]: ...


@dataclass
class _Asked:
    """A point in training."""

    names: list[str]
    """Under which the searcher has suggested it."""
    point: Mapping[str, Any]
    values: dict[str, Vector | None] = field(default_factory=dict)
    """Of its trials, by trial_id."""

    @property
    def is_told(self) -> bool:
        return None not in self.values.values()

    def mean(self) -> Vector:
        return tuple(float(x) for x in np.mean([v for v in self.values.values() if v is not None], axis=0))


class SearcherSource:
    """Asks a searcher for points until there are `n_points`.

    Args:
        make: makes the searcher, which minimises `metrics_of(objectives)`.
        asked: what the sweep was asked for before, in that order.
        rows: those of them that have ended.
    """

    def __init__(
        self, make: Made, points: Points, objectives: Objectives, n_points: int,
        asked: Iterable[TrialConfig] = (), rows: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self._points, self._objectives, self._n_points = points, objectives, n_points
        self._asked: dict[tuple[Any, ...], _Asked] = {}
        self._where: dict[str, _Asked] = {}
        self._worst: Vector | None = None
        self._exhausted = False
        for config in asked:
            self._remember(config)
        for trial_id, row in (rows or {}).items():
            if trial_id in self._where:
                self._note(self._where[trial_id], trial_id, row)
        self._searcher, self._add_known = make([
            (a.point, self._finite(a.mean())) for a in self._asked.values() if a.is_told
        ])  # fmt: skip

    @property
    def is_over(self) -> bool:
        return self._exhausted or len(self._asked) >= self._n_points

    def ask(self, n: int) -> list[TrialConfig]:
        """Whole points, so that a few more than `n` may come where points have several seeds."""
        found: list[TrialConfig] = []
        tries = 0
        while len(found) < n and not self.is_over:
            name = f"point-{len(self._asked)}-{tries}"
            point = self._searcher.suggest(name)
            if point is None:
                break
            if point == Searcher.FINISHED:
                self._exhausted = True
                break
            new = self._new(name, point)
            found += new
            tries = 0 if new else tries + 1
            self._exhausted = tries >= _TRIES
        return found

    def tell(self, config: TrialConfig, row: Mapping[str, Any]) -> None:
        asked = self._where.get(config.trial_id)
        if asked is not None and not asked.is_told:
            self._note(asked, config.trial_id, row)
            self._complete_if_told(asked)

    def _remember(self, config: TrialConfig) -> None:
        point = self._points.of(config)
        if point is None:
            return
        if self._key(point) not in self._asked:
            self._add([], point)

    def _new(self, name: str, point: Mapping[str, Any]) -> list[TrialConfig]:
        """The trials of a point that was not suggested before; an old one gets its second answer when it has one."""
        point = self._points.rounded(point)
        known = self._asked.get(self._key(point))
        if known is None:
            return self._add([name], point)
        if known.is_told:
            self._complete([name], known)
        else:
            known.names.append(name)
        return []

    def _add(self, names: list[str], point: Mapping[str, Any]) -> list[TrialConfig]:
        configs = self._points.configs(point)
        asked = _Asked(names, point, {config.trial_id: None for config in configs})
        self._asked[self._key(point)] = asked
        self._where |= {config.trial_id: asked for config in configs}
        return configs

    def _key(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(point.values())

    def _note(self, asked: _Asked, trial_id: str, row: Mapping[str, Any]) -> None:
        config = next(c for c in self._points.configs(asked.point) if c.trial_id == trial_id)
        (vector,) = self._objectives.of([Point(config=config, step=int(row["last_step"]), values=row)])
        asked.values[trial_id] = vector
        if all(map(math.isfinite, vector)):
            worst = self._worst or vector
            self._worst = tuple(map(max, worst, vector))

    def _finite(self, vector: Vector) -> Vector:
        """What is worth nothing is told as the worst that was seen: a searcher learns nothing from infinity."""
        if all(map(math.isfinite, vector)):
            return vector
        return self._worst or (_WORST,) * len(vector)

    def _complete_if_told(self, asked: _Asked) -> None:
        if asked.is_told:
            self._complete(asked.names, asked)

    def _complete(self, names: Sequence[str], asked: _Asked) -> None:
        values = self._finite(asked.mean())
        result = dict(zip(metrics_of(self._objectives), values, strict=True))
        for name in names:
            self._searcher.on_trial_complete(name, {**result, "training_iteration": 1})
        if not names:  # asked for before this launch
            self._add_known(asked.point, values)


def metrics_of(objectives: Objectives) -> list[str]:
    """What a searcher is told its objectives are called."""
    return [f"objective_{place}" for place in range(len(objectives.objectives))]


def mine(searcher: Searcher, points: Points, objectives: Objectives) -> Made:
    """A user's own searcher, shown the space if it knows none."""

    def made(known: Sequence[tuple[Mapping[str, Any], Vector]]) -> tuple[Searcher, AddKnown]:
        names = metrics_of(objectives)
        several = len(names) > 1
        metric, mode = (names, ["min"] * len(names)) if several else (names[0], "min")
        searcher.set_search_properties(metric, mode, tune_space(points))
        for point, values in known:
            add(point, values)
        return searcher, add

    def add(point: Mapping[str, Any], values: Vector) -> None:
        value: Any = values[0] if len(values) == 1 else list(values)
        with suppress(NotImplementedError, TypeError, ValueError):  # else it begins anew at every launch
            searcher.add_evaluated_point(dict(point), value)

    return made


def tune_space(points: Points) -> dict[str, Any]:
    """The space in Ray Tune's words."""
    return {knob: _tune_domain(domain) for knob, domain in points.domains.items()}


def _tune_domain(domain: Mapping[str, Any]) -> Any:
    ((kind, values),) = domain.items()
    return _KINDS[kind](values)


_KINDS: Mapping[str, Any] = {
    "choice": lambda values: tune.choice(list(values)),
    "uniform": lambda bounds: tune.uniform(*bounds),
    "loguniform": lambda bounds: tune.loguniform(*bounds),
    "randint": lambda bounds: tune.randint(*map(int, bounds)),
    "lograndint": lambda bounds: tune.lograndint(*map(int, bounds)),
    "quniform": lambda numbers: tune.quniform(*numbers),
    "qloguniform": lambda numbers: tune.qloguniform(*numbers),
    "qrandint": lambda numbers: tune.qrandint(*map(int, numbers)),
    "qlograndint": lambda numbers: tune.qlograndint(*map(int, numbers)),
    "randn": lambda numbers: tune.randn(*numbers),
    "qrandn": lambda numbers: tune.qrandn(*numbers),
}
