"""Tune's searchers as sources: whole batches, new starts from the tables, spaces that end, trials without a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from ray.tune.search import Searcher
from ray.tune.search.hyperopt import HyperOptSearch

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.search.contract import Objective
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.optuna_search import SAMPLERS, optuna_search
from monosweep.sweep.search.points import Points
from monosweep.sweep.search.searcher import SearcherSource, mine
from monosweep.sweep.spec.domains import KINDS

POINTS = Points(fixed={"n_steps": 64}, domains={"lr": {"loguniform": [1e-4, 1.0]}, "bias_offset": {"uniform": [-2, 0]}})
LOSS, MONO = Objective(expression="loss", mode="min"), Objective(expression="mono_per_feature", mode="max")
EXAMPLE = {**TwoLayerConfig().to_dict(), "loss": 0.5, "mono_per_feature": 0.5, "last_step": 1, "step": 1}


def objectives(*wanted: Objective) -> Objectives:
    return Objectives(wanted or (LOSS,), (), EXAMPLE)


def row(config: TrialConfig) -> dict[str, Any]:
    """Best at lr .01, whatever the seed; more monosemantic with a lower bias."""
    assert isinstance(config, TwoLayerConfig)
    loss = 0.1 + (math.log10(config.lr) + 2) ** 2 + 0.1 * (config.bias_offset + 1) ** 2
    return {"loss": loss, "mono_per_feature": -config.bias_offset / 2, "last_step": 64}


def source(n: int, *wanted: Objective, points: Points = POINTS, **given: Any) -> SearcherSource:
    measured = objectives(*wanted)
    return SearcherSource(optuna_search(points, measured, n_startup=16), points, measured, n, **given)


def run(asker: SearcherSource, size: int = 16, of: Callable[[TrialConfig], Mapping[str, Any]] = row) -> list[Any]:
    """Ask in batches, as packs are filled, and tell how each has ended."""
    found: list[Any] = []
    while batch := asker.ask(size):
        for config in batch:
            asker.tell(config, of(config))
        found += batch
    return found


def far(configs: Sequence[Any]) -> float:
    """Decades from the best learning rate, on average."""
    return float(np.mean([abs(math.log10(config.lr) + 2) for config in configs]))


def test_it_learns_from_batch_to_batch_and_asks_for_so_many_points() -> None:
    found = run(source(96))
    assert len({config.trial_id for config in found}) == 96
    assert far(found[:16]) > 0.6  # at random
    assert far(found[48:]) < 0.6 * far(found[:16])


def test_a_batch_that_is_asked_for_before_any_has_ended_does_not_collapse() -> None:
    asker = source(96)
    for config in asker.ask(32):
        asker.tell(config, row(config))
    batch = asker.ask(32)
    rates = np.sort([math.log10(config.lr) for config in batch])  # type: ignore[attr-defined]
    assert len(batch) == len({config.trial_id for config in batch}) == 32
    assert np.ptp(rates) > 0.5 and np.median(np.diff(rates)) > 1e-3


def test_a_new_start_is_told_what_the_tables_hold_and_goes_on() -> None:
    first = source(96)
    asked = first.ask(48)
    rows = {config.trial_id: row(config) for config in asked[:40]}
    second = source(96, asked=asked, rows=rows)
    new = second.ask(16)
    assert not {config.trial_id for config in new} & {config.trial_id for config in asked}
    assert far(new) < 0.7 * far(asked)
    for config in (*asked[40:], *new):  # those that were in training then, too
        second.tell(config, row(config))
    assert len(run(second)) == 96 - 48 - 16 and second.is_over
    assert far(source(96).ask(16)) > 0.6  # without the tables it would begin at random


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_several_objectives_with_every_sampler(sampler: str) -> None:
    measured = objectives(LOSS, MONO)
    make = optuna_search(POINTS, measured, sampler=sampler, n_startup=8)
    found = run(SearcherSource(make, POINTS, measured, 40), 8)
    assert len({config.trial_id for config in found}) == 40


def test_a_space_that_is_exhausted_ends_the_search() -> None:
    few = Points(fixed={}, domains={"n_neurons": {"choice": [16, 32, 64]}})
    asker = source(50, points=few)
    assert sorted(config.n_neurons for config in run(asker, 4)) == [16, 32, 64]
    assert asker.is_over


def test_seeds_of_a_point_are_told_together_as_their_mean() -> None:
    told: list[float] = []

    class Listening(Searcher):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._rates = iter([0.01, 0.02])

        def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
            assert (metric, mode, set(config)) == ("objective_0", "min", {"lr", "bias_offset"})
            return True

        def suggest(self, trial_id: str) -> Any:
            rate = next(self._rates, None)
            return Searcher.FINISHED if rate is None else {"lr": rate, "bias_offset": -1.0}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            told.append(result["objective_0"])

    points = Points(fixed={"seed": 5}, domains=POINTS.domains, repeats=2)
    asker = SearcherSource(mine(Listening(), points, objectives()), points, objectives(), 10)
    batch = asker.ask(3)
    assert [(c.lr, c.seed) for c in batch] == [(0.01, 5), (0.01, 6), (0.02, 5), (0.02, 6)]  # type: ignore[attr-defined]
    asker.tell(batch[0], {"loss": 1.0, "last_step": 64})
    assert told == []
    asker.tell(batch[1], {"loss": 3.0, "last_step": 64})
    assert told == [2.0]
    assert asker.ask(1) == [] and asker.is_over


def hyperopt(n: int, **given: Any) -> SearcherSource:
    """Ray Tune's adapter of another library, as a user brings it: shown the space and the metric by us."""
    pytest.importorskip("hyperopt")
    searcher, measured = HyperOptSearch(n_initial_points=16, random_state_seed=0), objectives()
    return SearcherSource(mine(searcher, POINTS, measured), POINTS, measured, n, **given)


def test_another_searcher_of_ray_tune_learns_too_and_goes_on() -> None:
    found = run(hyperopt(96))
    assert len({config.trial_id for config in found}) == 96
    assert all(1e-4 <= config.lr <= 1 and -2 <= config.bias_offset <= 0 for config in found)
    assert far(found[:16]) > 0.8 and far(found[64:]) < 0.7 * far(found[:16])
    rows = {config.trial_id: row(config) for config in found[:64]}
    second = hyperopt(96, asked=found[:64], rows=rows)
    rest = run(second)
    assert len(rest) == 32 and second.is_over
    assert not {config.trial_id for config in rest} & rows.keys()
    assert far(rest) < 0.9 * far(found[:16])  # it suggests old points first, and is told how they ended


def test_who_diverges_is_told_as_the_worst_that_was_seen() -> None:
    def explosive(config: TrialConfig) -> dict[str, Any]:
        return row(config) if config.lr < 0.1 else {"last_step": 3, "status": "diverged"}  # type: ignore[attr-defined]

    found = run(source(96), of=explosive)
    assert sum(config.lr >= 0.1 for config in found[48:]) <= 4


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "grid"])
def test_every_random_domain_can_be_searched_or_is_refused_in_a_line(kind: str) -> None:
    numbers = {"choice": [16, 32], "randn": [0.5, 0.1], "qrandn": [0.5, 0.1, 0.25]}
    bounds = numbers.get(kind, [16, 256, 8] if kind.startswith("q") else [16, 256])
    knob = "n_neurons" if kind == "choice" or "int" in kind else "mono_threshold"
    knob = knob if knob == "n_neurons" or "randn" in kind else "lr"
    points = Points(fixed={}, domains={knob: {kind: bounds}})
    if "randn" in kind or kind in ("qloguniform", "qlograndint"):  # Optuna has no steps on a logarithmic scale
        with pytest.raises(ConfigError, match=r"^search: Optuna (cannot draw from one of|has no steps)"):
            source(4, points=points)
        return
    values = [getattr(config, knob) for config in run(source(6, points=points), 3)]
    assert values and all(16 <= value <= 256 for value in values)
    assert not kind.startswith("q") or all(value % 8 == 0 for value in values)


def test_an_unknown_sampler_is_one_line() -> None:
    with pytest.raises(ConfigError, match="search: unknown sampler 'tp'; did you mean 'tpe'"):
        optuna_search(POINTS, objectives(), sampler="tp")
