"""Judges, on simulated learning curves: who goes on, in whatever order they are told, and after a new start."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler, HyperBandScheduler, MedianStoppingRule, PopulationBasedTraining
from worlds import EXAMPLE, FACTOR, GRACE, LOSS, MONO, N_STEPS, RUNGS, World, asha, of_losses

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.schedule import recorded_steps
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import GO_ON, Judge, Point, Verdict
from monosweep.sweep.search.fronts import crowding, fronts, ranks
from monosweep.sweep.search.halving import AsyncHalving, Halving
from monosweep.sweep.search.judges import Judges
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.stop import Stop
from monosweep.sweep.search.tune_judge import TuneJudge


def sweep(world: World, judge: Judge, packs: Sequence[Sequence[TrialConfig]]) -> dict[str, int]:
    """Train packs one after another; the step at which each trial ended."""
    ended: dict[str, int] = {}
    waiting: dict[str, tuple[TrialConfig, int]] = {}

    def run(members: list[TrialConfig], start: int) -> None:
        for step in recorded_steps(N_STEPS):
            if step <= start:
                continue
            judged = [world.point(c, step) for c in members if judge.rungs.at(c, step) is not None]
            verdicts = dict(judge.see(judged)) if judged else {}
            for trial_id, verdict in list(verdicts.items()):
                if trial_id in waiting:
                    config, at = waiting.pop(trial_id)
                    if verdict.stop:
                        ended[trial_id] = at
                    else:
                        resumed.append((config, at))
            for point in judged:
                verdict = verdicts.get(point.trial_id)
                if verdict is None:
                    waiting[point.trial_id] = (point.config, step)
                    members = [c for c in members if c is not point.config]
                elif verdict.stop:
                    ended[point.trial_id] = step
                    members = [c for c in members if c is not point.config]
        for config in members:
            ended[config.trial_id] = N_STEPS
            judge.left(config)

    resumed: list[tuple[TrialConfig, int]] = []
    for pack in packs:
        run(list(pack), 0)
    while resumed:
        config, at = resumed.pop()
        run([config], at)
    assert not waiting and len(ended) == len(world.configs)
    return ended


def in_packs(configs: Sequence[TrialConfig], size: int) -> list[Sequence[TrialConfig]]:
    return [configs[i : i + size] for i in range(0, len(configs), size)]


def savings(world: World, ended: dict[str, int]) -> float:
    return len(world.configs) * N_STEPS / sum(ended.values())


@pytest.mark.parametrize("size", [32, 512])
@pytest.mark.parametrize("order", ["random", "best first", "worst first"])
def test_asha_saves_and_keeps_the_best_in_whatever_order_a_pack_stands(order: str, size: int) -> None:
    world = World(512)
    by_loss = sorted(world.configs, key=lambda c: world.loss(world.place[c.trial_id], N_STEPS))
    packs = in_packs(sorted(world.configs, key=lambda config: config.trial_id), size)
    key = {"random": lambda c: c.trial_id, "best first": by_loss.index, "worst first": lambda c: -by_loss.index(c)}
    ended = sweep(world, asha(), [sorted(pack, key=key[order]) for pack in packs])
    assert savings(world, ended) > 8
    assert ended[world.best().trial_id] == N_STEPS


def test_told_from_the_worst_to_the_best_asha_would_stop_nobody() -> None:
    """The trap that `in_order` keeps members out of: Ray's ASHA itself depends on the order of reports."""
    world, judge = World(512), asha()
    worst_first = sorted(world.configs, key=lambda c: -world.loss(world.place[c.trial_id], GRACE))
    stopped = 0
    for config in worst_first:
        (verdict,) = judge.see([world.point(config, GRACE)]).values()
        stopped += verdict.stop is not None
    assert stopped == 0


@pytest.mark.parametrize("size", [1, 32, 512])
def test_synchronous_halving_keeps_exactly_the_best_of_each_rung(size: int) -> None:
    world = World(512)
    judge = Halving("halving", of_losses(), RUNGS, FACTOR, world.configs)
    ended = sweep(world, judge, in_packs(world.configs, size))
    assert [sum(step == at for step in ended.values()) for at in (64, 256, 1024, 4096)] == [384, 96, 24, 8]
    assert ended[world.best().trial_id] == N_STEPS
    assert savings(world, ended) > 19


def test_a_rung_does_not_wait_for_those_who_have_left() -> None:
    world = World(16)
    judge = Halving("halving", of_losses(), RUNGS, FACTOR, world.configs)
    *there, gone = world.configs
    assert judge.see([world.point(config, GRACE) for config in there]) == {}
    verdicts = judge.left(gone)
    assert set(verdicts) == {config.trial_id for config in there}
    assert sum(verdict.stop is None for verdict in verdicts.values()) == math.ceil(15 / FACTOR)


def hypervolume(vectors: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area dominated by points of which less is better, by a sweep along the first objective."""
    area, height = 0.0, reference[1]
    for x, y in sorted(vectors):
        if x < reference[0] and y < height:
            area += (reference[0] - x) * (height - y)
            height = y
    return area


def test_two_objectives_keep_the_front_at_a_fraction_of_the_steps() -> None:
    world = World(512)
    judge = AsyncHalving("moasha", of_losses(LOSS, MONO), RUNGS, FACTOR)
    packs = in_packs(sorted(world.configs, key=lambda config: config.trial_id), 32)
    ended = sweep(world, judge, packs)

    def worth(configs: Sequence[TrialConfig]) -> list[tuple[float, float]]:
        places = [world.place[config.trial_id] for config in configs]
        return [(world.loss(i, N_STEPS), -float(world.mono[i])) for i in places]

    kept = [config for config in world.configs if ended[config.trial_id] == N_STEPS]
    assert savings(world, ended) > 3
    assert hypervolume(worth(kept), (2, 0)) > 0.98 * hypervolume(worth(world.configs), (2, 0))
    # a world where it would not be so: judged by the loss alone, the front's monosemantic end is lost
    alone = sweep(world, AsyncHalving("moasha", of_losses(), RUNGS, FACTOR), packs)
    kept = [config for config in world.configs if alone[config.trial_id] == N_STEPS]
    assert hypervolume(worth(kept), (2, 0)) < 0.98 * hypervolume(worth(world.configs), (2, 0))


def test_the_median_rule_stops_about_half_at_each_look_and_keeps_the_best() -> None:
    world = World(128)
    judge = TuneJudge(MedianStoppingRule(time_attr="step", grace_period=GRACE), "median", of_losses())
    ended = sweep(world, judge, in_packs(sorted(world.configs, key=lambda config: config.trial_id), 32))
    assert savings(world, ended) > 2
    assert ended[world.best().trial_id] == N_STEPS


Make = Callable[[World], Judge]
JUDGES: dict[str, Make] = {
    "asha": lambda world: asha(),
    "median": lambda world: TuneJudge(MedianStoppingRule(time_attr="step", grace_period=GRACE), "median", of_losses()),
    "moasha": lambda world: AsyncHalving("moasha", of_losses(LOSS, MONO), RUNGS, FACTOR),
    "halving": lambda world: Halving("halving", of_losses(), RUNGS, FACTOR, world.configs),
    "stop": lambda world: Stop("loss > 1.5 * best_loss and step >= 64", (LOSS,), EXAMPLE),
}


@pytest.mark.parametrize("name", JUDGES)
def test_a_judge_that_remembers_says_what_the_one_before_it_would_have_said(name: str) -> None:
    world = World(64)
    news = [world.point(config, 64) for config in world.configs[48:]]
    first, second = JUDGES[name](world), JUDGES[name](world)
    judged: list[Point] = []
    waiting: list[Point] = []
    going_on = world.configs[:48]
    for step in (64, 256):
        points = [world.point(config, step) for config in going_on]
        verdicts = first.see(points)
        judged += [point for point in points if point.trial_id in verdicts]
        waiting += [point for point in points if point.trial_id not in verdicts]
        going_on = [c for c in going_on if c.trial_id in verdicts and verdicts[c.trial_id].stop is None]
    assert bool(waiting) == (name == "halving")
    second.remember(judged)
    second.see(waiting)
    assert dict(second.see(news)) == dict(first.see(news))
    assert dict(second.see([])) == {}


def test_stop_compares_with_the_best_up_to_that_step_only() -> None:
    world = World(2)
    good, bad = sorted(world.configs, key=lambda c: world.loss(world.place[c.trial_id], 64))
    judge = Stop("loss > 1.5 * best_loss", (LOSS,), EXAMPLE)
    early = Point(config=bad, step=64, values={"loss": 1.4})
    assert judge.see([Point(config=good, step=4096, values={"loss": 0.1})])[good.trial_id].stop is None
    assert judge.see([early])[bad.trial_id].stop is None  # 0.1 came later than step 64
    assert judge.see([Point(config=good, step=32, values={"loss": 0.2}), early])[bad.trial_id].stop is not None


def test_what_has_no_value_or_breaks_a_constraint_is_worth_less_than_all_else() -> None:
    world = World(4)
    objectives = Objectives((MONO,), ("loss <= 1.01 * best_loss",), EXAMPLE)
    values = [{"loss": 1.0, "n_mono": 1}, {"loss": 1.005, "n_mono": 5}, {"loss": 2.0, "n_mono": 9}, {"n_mono": 9}]
    points = [Point(config=c, step=64, values=v) for c, v in zip(world.configs, values, strict=True)]
    n_features = TwoLayerConfig().n_features
    assert objectives.of(points) == [(-1 / n_features,), (-5 / n_features,), (math.inf,), (math.inf,)]


def test_reasons_tell_rung_place_and_worth() -> None:
    world = World(40)
    verdicts = AsyncHalving("moasha", of_losses(), RUNGS, FACTOR).see([world.point(c, 64) for c in world.configs])
    (last,) = (verdict.stop for verdict in verdicts.values() if verdict.stop and ": 40 of 40" in verdict.stop)
    worst = max(world.loss(i, 64) for i in range(40))
    assert last == f"moasha, rung 64: 40 of 40 (loss {worst:.4g})"


def several() -> Iterator[tuple[object, str]]:
    population = PopulationBasedTraining(hyperparam_mutations={"lr": [0.1, 0.2]})
    yield population, "a trial's row must follow from its config"
    yield HyperBandScheduler(), "pauses"


def test_schedulers_that_change_or_pause_trials_are_refused() -> None:
    for scheduler, match in several():
        with pytest.raises(ConfigError, match=match):
            TuneJudge(scheduler, "mine", of_losses())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one objective; got 2"):
        TuneJudge(ASHAScheduler(), "asha", of_losses(LOSS, MONO))


def test_rungs_are_reached_at_the_first_recorded_step_from_them_on() -> None:
    rungs, config = Rungs.of(100, 4, 3000), TwoLayerConfig(n_steps=3000)
    at = {step: rungs.at(config, step) for step in recorded_steps(3000)}
    assert {step: rung for step, rung in at.items() if rung is not None} == {128: 0, 512: 1, 2048: 2}
    assert Rungs.of(2500, 4, 3000).at(config, 3000) is None
    with pytest.raises(ConfigError, match="grace_period must be below"):
        Rungs.of(3000, 4, 3000)


def test_fronts_against_every_pair() -> None:
    draw = np.random.default_rng(0)
    for n_objectives in (1, 2, 3):
        vectors = draw.integers(0, 6, (40, n_objectives)).astype(float)
        left, front, expected = set(range(40)), 0, {}
        while left:
            best = {
                i for i in left
                if not any((vectors[j] <= vectors[i]).all() and (vectors[j] < vectors[i]).any() for j in left)
            }  # fmt: skip
            expected |= dict.fromkeys(best, front)
            left, front = left - best, front + 1
        assert dict(enumerate(fronts(vectors).tolist())) == expected
        assert sorted(ranks(vectors)) == list(range(40))
    assert crowding(np.array([[0.0, 1.0], [np.inf, np.inf]])).tolist() == [np.inf, np.inf]


# -- several judges as one


class Said(Judge):
    """Says what it is told to say, by trial_id; who is not in it waits."""

    def __init__(self, rungs: Rungs) -> None:
        self._rungs = rungs
        self.says: Mapping[str, Verdict] = {}
        self.says_later: Mapping[str, Verdict] = {}
        self.asked: list[tuple[str, int]] = []
        self.reminded: list[tuple[str, int]] = []

    @property
    def rungs(self) -> Rungs:
        return self._rungs

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        self.asked += [(point.trial_id, point.step) for point in points]
        return self.says

    def remember(self, points: Sequence[Point]) -> None:
        self.reminded += [(point.trial_id, point.step) for point in points]

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        return self.says_later


def stop(why: str) -> Verdict:
    return Verdict(stop=why)


def test_who_is_stopped_by_any_judge_is_stopped_with_the_first_reason_and_who_waits_for_any_waits() -> None:
    world = World(5)
    a, b, c, d, e = (config.trial_id for config in world.configs)
    one, other = Said(Rungs((64,))), Said(Rungs((64,)))
    both = Judges([one, other])
    one.says = {a: GO_ON, b: stop("one"), c: stop("one"), d: GO_ON}  # e waits
    other.says = {a: GO_ON, b: GO_ON, c: stop("other"), e: stop("other")}  # d waits
    found = both.see([world.point(config, 64) for config in world.configs])
    assert found == {a: GO_ON, b: stop("one"), c: stop("one"), e: stop("other")}
    other.says_later = {d: GO_ON}
    assert both.left(world.configs[0]) == {d: GO_ON}


@pytest.mark.parametrize("last", [GO_ON, stop("other")])
def test_who_waits_for_two_judges_goes_on_when_both_have_said_so(last: Verdict) -> None:
    world = World(2)
    waiting, leaving = world.configs
    one, other = Said(Rungs((64,))), Said(Rungs((64,)))
    both = Judges([one, other])
    assert both.see([world.point(waiting, 64)]) == {}
    one.says_later = {waiting.trial_id: GO_ON}
    assert both.left(leaving) == {}
    one.says_later, other.says_later = {}, {waiting.trial_id: last}
    assert both.left(leaving) == {waiting.trial_id: last}


def test_each_judge_is_told_what_is_at_its_own_rungs() -> None:
    world = World(1)
    (config,) = world.configs
    early, late = Said(Rungs((64,))), Said(Rungs((1024,)))
    early.says = late.says = {config.trial_id: GO_ON}
    both = Judges([early, late])
    assert both.rungs.steps == (64, 1024)
    assert both.see([world.point(config, 64)]) == {config.trial_id: GO_ON}
    both.remember([world.point(config, 64), world.point(config, 1024)])
    assert (early.asked, late.asked) == ([(config.trial_id, 64)], [])
    assert (early.reminded, late.reminded) == ([(config.trial_id, 64)], [(config.trial_id, 1024)])
