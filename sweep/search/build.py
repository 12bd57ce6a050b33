"""From a spec to who asks and who judges.

SweepSpec (search, scheduler, objectives, constraints, stop) + what the tables hold -> Source, Judge
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from monosweep.model.config import TrialConfig
from monosweep.model.families import description_of
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import Judge, Objective, Point, Source
from monosweep.sweep.search.halving import AsyncHalving, Halving
from monosweep.sweep.search.judges import Judges
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.points import Points
from monosweep.sweep.search.stop import Stop
from monosweep.sweep.spec.searching import Scheduler, Search, check_searching
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.store.schema import columns

if TYPE_CHECKING:
    from monosweep.sweep.search.searcher import Searcher
    from monosweep.sweep.search.tune_judge import TrialScheduler

_GRACE_SHARE = 64
_EXAMPLES: Mapping[Any, Any] = {pa.float64(): 0.5, pa.float32(): 0.5, pa.int64(): 1, pa.int32(): 1, pa.bool_(): True}


def objectives_of(spec: SweepSpec) -> tuple[Objective, ...]:
    """What a spec wants; the least loss if it does not say."""
    wanted = spec.objectives or {"loss": "min"}
    return tuple(Objective(expression=expression, mode=mode) for expression, mode in wanted.items())


def example_of(table: str, config: TrialConfig) -> dict[str, Any]:
    """A row of `trials` or `curves` with the config's knobs, for its columns' types."""
    found = {column.name: _EXAMPLES.get(column.type, "") for column in columns(table, description_of(config))}
    return {**found, **config.to_dict(), "step": 1}


def judge_of(spec: SweepSpec, configs: Sequence[TrialConfig], scheduler: TrialScheduler | None = None) -> Judge | None:
    """Who judges the trials of a sweep; None if nobody does.

    Args:
        configs: the sweep's trials, or those that stand for trials that are yet to be asked for.
        scheduler: one of Ray Tune's, instead of the spec's own.

    Raises:
        ConfigError: if an expression is none of the families' columns, or nothing could be stopped.
    """
    judges: list[Judge] = []
    example = example_of("curves", configs[0])
    objectives = objectives_of(spec)
    if scheduler is not None:
        from monosweep.sweep.search.tune_judge import TuneJudge  # Ray

        measured = Objectives(objectives, spec.constraints, example)
        judges.append(TuneJudge(scheduler, type(scheduler).__name__, measured))
    elif spec.scheduler is not None:
        measured = Objectives(objectives, spec.constraints, example)
        judges.append(_MAKERS[spec.scheduler.name](spec.scheduler, measured, configs))
    if spec.stop is not None:
        judges.append(Stop(spec.stop, objectives, example))
    return Judges(judges) if len(judges) > 1 else judges[0] if judges else None


def _rungs(scheduler: Scheduler, configs: Sequence[TrialConfig]) -> Rungs:
    longest = max(config.n_steps for config in configs)
    return Rungs.of(_grace(scheduler, longest), scheduler.reduction_factor, longest)


def _grace(scheduler: Scheduler, longest: int) -> int:
    return scheduler.grace_period or max(1, longest // _GRACE_SHARE)


def _asha(scheduler: Scheduler, objectives: Objectives, configs: Sequence[TrialConfig]) -> Judge:
    from monosweep.sweep.search.tune_judge import asha  # Ray

    longest = max(config.n_steps for config in configs)
    return asha(objectives, _rungs(scheduler, configs), longest, scheduler.reduction_factor, scheduler.brackets)


def _median(scheduler: Scheduler, objectives: Objectives, configs: Sequence[TrialConfig]) -> Judge:
    from monosweep.sweep.search.tune_judge import median  # Ray

    grace = _grace(scheduler, max(config.n_steps for config in configs))
    return median(objectives, grace, scheduler.min_samples_required)


def _halving(scheduler: Scheduler, objectives: Objectives, configs: Sequence[TrialConfig]) -> Judge:
    rungs = _rungs(scheduler, configs)
    return Halving(scheduler.name, objectives, rungs, scheduler.reduction_factor, configs)


def _moasha(scheduler: Scheduler, objectives: Objectives, configs: Sequence[TrialConfig]) -> Judge:
    return AsyncHalving(scheduler.name, objectives, _rungs(scheduler, configs), scheduler.reduction_factor)


_MAKERS: Mapping[str, Callable[[Scheduler, Objectives, Sequence[TrialConfig]], Judge]] = {
    "asha": _asha, "median": _median, "halving": _halving, "moasha": _moasha,
}  # fmt: skip


def check_searchable(spec: SweepSpec) -> None:
    """Refuse a space that a searcher cannot draw from, whoever brings the searcher.

    Raises:
        ConfigError: with the rule, what was received and the fix.
    """
    check_searching(spec.search or Search(name="optuna"), spec.scheduler, spec.objectives, spec.kinds())


def points_of(spec: SweepSpec) -> Points:
    """The one sub-space of a spec that is searched."""
    (space,) = spec.space
    domains = {knob: value for knob, value in space.items() if isinstance(value, Mapping)}
    fixed = {**spec.base, **{knob: value for knob, value in space.items() if knob not in domains}}
    return Points(fixed=fixed, domains=domains, repeats=spec.repeats)


def source_of(
    spec: SweepSpec, asked: Sequence[TrialConfig], rows: Mapping[str, Mapping[str, Any]],
    searcher: Searcher | None = None,
) -> Source:  # fmt: skip
    """Who asks for the trials of a spec that is searched.

    Args:
        asked: what it has asked for so far, in that order.
        rows: those of them that have ended, by trial_id.
        searcher: one of Ray Tune's, instead of the spec's own.
    """
    from monosweep.sweep.search.searcher import SearcherSource, mine  # Ray

    points = points_of(spec)
    objectives = Objectives(objectives_of(spec), spec.constraints, example_of("trials", stand_in(spec)))
    if searcher is not None:
        make = mine(searcher, points, objectives)
    else:
        from monosweep.sweep.search.optuna_search import optuna_search

        assert spec.search is not None
        make = optuna_search(
            points, objectives, sampler=spec.search.sampler, seed=spec.sample_seed,
            n_startup=spec.search.n_startup_trials,
        )  # fmt: skip
    return SearcherSource(make, points, objectives, spec.num_samples, asked, rows)


def stand_in(spec: SweepSpec) -> TrialConfig:
    """Some trial of a spec that is searched."""
    points = points_of(spec)
    some = {knob: _some(domain) for knob, domain in points.domains.items()}
    return points.configs(some)[0]


def _some(domain: Mapping[str, Any]) -> Any:
    ((_, values),) = domain.items()
    return values[0]


def remind(
    judge: Judge, ended: Sequence[TrialConfig], stopped: Sequence[TrialConfig],
    points: Sequence[tuple[str, Mapping[str, Any]]],
) -> None:  # fmt: skip
    """Tell a judge what the tables hold of trials that have their rows.

    Args:
        ended: those that were not stopped.
        points: trial_ids and points of `curves`.
    """
    known = {config.trial_id: config for config in (*ended, *stopped)}
    told = [
        Point(config=known[trial_id], step=values["step"], values=values)
        for trial_id, values in points
        if trial_id in known and judge.rungs.at(known[trial_id], values["step"]) is not None
    ]
    judge.remember(told)
    for config in ended:
        judge.left(config)
