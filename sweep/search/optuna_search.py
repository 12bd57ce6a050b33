"""Optuna through Ray Tune's OptunaSearch: samplers by name, several objectives, and what is known at the start.

Members of a pack are asked for before any of them has ended.  Two things keep them from coming out alike: the sampler
counts points in training as bad ones (`constant_liar`), and draws knobs together (`multivariate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from monosweep.model.config import ConfigError, unknown_name
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.points import Points
from monosweep.sweep.search.searcher import AddKnown, Made, Vector, metrics_of, tune_space

_STUDY = "monosweep"


def _tpe(seed: int, n_startup: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_startup, constant_liar=True, multivariate=True)


SAMPLERS: Mapping[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "tpe": _tpe,
    "nsga2": lambda seed, n_startup: optuna.samplers.NSGAIISampler(seed=seed, population_size=max(2, n_startup)),
    "random": lambda seed, n_startup: optuna.samplers.RandomSampler(seed=seed),
}


def optuna_search(
    points: Points, objectives: Objectives, *, sampler: str = "tpe", seed: int = 0, n_startup: int = 32
) -> Made:
    """Makes searchers of this kind.

    Args:
        sampler: `tpe`, `nsga2` or `random`.
        n_startup: points that are drawn at random first (of `nsga2`: those of one generation).

    Raises:
        ConfigError: if there is no such sampler.
    """
    if sampler not in SAMPLERS:
        raise ConfigError(f"search: {unknown_name('sampler', sampler, list(SAMPLERS))}")

    def made(known: Sequence[tuple[Mapping[str, Any], Vector]]) -> tuple[Searcher, AddKnown]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if any(kind == "qloguniform" for domain in points.domains.values() for kind in domain):
            raise ConfigError("search: Optuna has no steps on a logarithmic scale; got qloguniform; use loguniform")
        try:
            space = OptunaSearch.convert_search_space(tune_space(points))
        except ValueError as error:
            kinds = ", ".join(next(iter(domain)) for domain in points.domains.values())
            raise ConfigError(f"search: Optuna cannot draw from one of {kinds} ({error}); use another domain") from None
        names = metrics_of(objectives)
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(storage=storage, study_name=_STUDY, directions=["minimize"] * len(names))

        def add(point: Mapping[str, Any], values: Vector) -> None:
            study.add_trial(optuna.trial.create_trial(params=dict(point), distributions=space, values=list(values)))

        for point, values in known:
            add(point, values)
        several = len(names) > 1
        searcher = OptunaSearch(
            space, metric=names if several else names[0], mode=["min"] * len(names) if several else "min",
            sampler=SAMPLERS[sampler](seed, n_startup), study_name=_STUDY, storage=storage,
        )  # fmt: skip
        return searcher, add

    return made
