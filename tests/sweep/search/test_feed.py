"""The feed, with workers that are simulated step by step: who is packed with whom, who leaves, who goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from worlds import FACTOR, N_STEPS, RUNGS, World, asha, of_losses

from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.model.schedule import recorded_steps
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.search.contract import Judge
from monosweep.sweep.search.feed import Feed
from monosweep.sweep.search.halving import Halving
from monosweep.sweep.search.sources import Listed
from monosweep.sweep.work.contract import Left, Orders, PackProgress, Seen

SIZE = 32


@dataclass
class Workers:
    """Two workers that take turns at every recorded step."""

    world: World
    judge: Judge | None
    feed: Feed
    rows: dict[str, tuple[str, int]] = field(default_factory=dict)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    """Checkpoints: steps by pack and trial_id."""
    packs: list[Pack] = field(default_factory=list)
    model_steps: int = 0
    rows_made: int = 0
    widths: list[tuple[int, int]] = field(default_factory=list)
    """Members in training and the steps that they did together."""

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        training: list[Iterator[None]] = []
        while not until():
            while len(training) < 2 and (pack := self.feed.next()):
                training.append(self._train(pack))
            if not training:
                assert self.feed.over
                return
            for worker in list(training):
                try:
                    next(worker)
                except StopIteration:
                    training.remove(worker)

    def _train(self, pack: Pack) -> Iterator[None]:
        self.packs.append(pack)
        steps = {c.trial_id: self._kept_step(pack, c.trial_id) for c in pack.configs}
        configs = {config.trial_id: config for config in pack.configs}
        left = [self._row(configs[i], steps.pop(i), TrialStatus.STOPPED) for i, _ in pack.leaving]
        self._report(pack, seen=(), left=left)
        while steps:
            ahead = min(self._next(step) - step for step in steps.values())
            self.model_steps += ahead * len(steps)
            self.widths.append((len(steps), ahead))
            steps = {i: step + ahead for i, step in steps.items()}
            left = [self._row(configs[i], s, TrialStatus.COMPLETED) for i, s in steps.items() if s == N_STEPS]
            steps = {i: step for i, step in steps.items() if step < N_STEPS}
            orders = self._report(pack, self._seen(configs, steps), left)
            left = [self._row(configs[i], steps.pop(i), TrialStatus.STOPPED) for i in orders.stop]
            if left:
                self._report(pack, (), left)
            if orders.release and steps:
                assert pack.pack_id not in self.kept
                self.kept[pack.pack_id] = dict(steps)
                self._report(pack, (), [], released=True)
                return
            yield
        self._report(pack, (), [], finished=True)

    def _kept_step(self, pack: Pack, trial_id: str) -> int:
        found = [self.kept[source][trial_id] for source in pack.sources if trial_id in self.kept[source]]
        assert trial_id not in self.rows, "who has a row is not trained again"
        return max(found, default=0)

    def _next(self, step: int) -> int:
        return next(at for at in recorded_steps(N_STEPS) if at > step)

    def _seen(self, configs: dict[str, TrialConfig], steps: dict[str, int]) -> list[Seen]:
        if self.judge is None:
            return []
        there = [i for i, step in steps.items() if self.judge.rungs.at(configs[i], step) is not None]
        points = [self.world.point(configs[i], steps[i]) for i in there]
        return [Seen(trial_id=point.trial_id, step=point.step, values=point.values) for point in points]

    def _row(self, config: TrialConfig, step: int, status: TrialStatus) -> Left:
        assert config.trial_id not in self.rows, "one row a trial"
        self.rows[config.trial_id] = str(status), step
        return Left(trial_id=config.trial_id, status=status, last_step=step, metrics={"loss": 1.0})

    def _report(
        self,
        pack: Pack,
        seen: Sequence[Seen],
        left: Sequence[Left],
        finished: bool = False,
        released: bool = False,
    ) -> Orders:
        progress = PackProgress(
            pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=0, trained_steps=0, seen=tuple(seen),
            left=tuple(left), finished=finished, released=released,
        )  # fmt: skip
        return self.feed.heard(progress)


def workers(world: World, judge: Judge | None) -> Workers:
    kept: dict[str, dict[str, int]] = {}
    feed = Feed(Listed(world.configs), judge, lambda config: SIZE, lambda configs: None, kept.pop)
    return Workers(world, judge, feed, kept=kept)


def test_without_a_judge_all_are_trained_to_the_end_in_full_packs() -> None:
    world = World(100)
    crew = workers(world, None)
    crew.run()
    assert [len(pack.configs) for pack in crew.packs] == [32, 32, 32, 4]
    assert set(crew.rows.values()) == {("completed", N_STEPS)}


def test_asha_in_packs_saves_keeps_the_best_and_keeps_packs_full() -> None:
    world = World(512)
    crew = workers(world, asha())
    crew.run()
    assert len(crew.rows) == 512 and not crew.kept
    assert crew.rows[world.best().trial_id] == ("completed", N_STEPS)
    assert 512 * N_STEPS / crew.model_steps > 6
    # but for the last, packs are never thinner than half
    wide = sum(steps * width for width, steps in crew.widths if width > SIZE // 4)
    assert wide / crew.model_steps > 0.8


def test_without_regrouping_packs_would_be_thin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world in which the test above can fail."""
    monkeypatch.setattr(Feed, "_is_thin", lambda self, pack_id, n_live: False)
    crew = workers(World(512), asha())
    crew.run()
    wide = sum(steps * width for width, steps in crew.widths if width > SIZE // 4)
    assert wide / crew.model_steps < 0.5


def test_synchronous_halving_holds_members_and_decides_once() -> None:
    world = World(512)
    crew = workers(world, Halving("halving", of_losses(), RUNGS, FACTOR, world.configs))
    crew.run()
    assert not crew.kept
    steps = [step for _, step in crew.rows.values()]
    assert [steps.count(at) for at in (64, 256, 1024, 4096)] == [384, 96, 24, 8]
    assert crew.rows[world.best().trial_id] == ("completed", N_STEPS)


def test_who_waits_for_a_rung_is_not_taken_for_judged() -> None:
    world = World(64)
    crew = workers(world, Halving("halving", of_losses(), RUNGS, FACTOR, world.configs))
    pack = crew.feed.next()
    assert pack is not None
    points = [world.point(config, 64) for config in pack.configs]
    seen = [Seen(trial_id=point.trial_id, step=64, values=point.values) for point in points]
    orders = crew._report(pack, seen, [])
    assert orders == Orders(hold=frozenset(point.trial_id for point in points), release=True)


def test_a_worker_that_died_before_it_heard_is_told_the_same_again() -> None:
    """Ray's ASHA lets go on whom it is asked about twice, the median rule breaks, halving says nothing."""
    world = World(64)
    crew = workers(world, asha())
    pack = crew.feed.next()
    assert pack is not None
    points = [world.point(config, 64) for config in pack.configs]
    seen = [Seen(trial_id=point.trial_id, step=64, values=point.values) for point in points]
    first = crew._report(pack, seen, [])
    assert len(first.stop) > SIZE // 2
    assert crew._report(pack, seen, []) == first


@pytest.mark.parametrize("sync", [False, True])
def test_a_pack_that_is_halved_or_lost_is_known_by_its_parts(sync: bool) -> None:
    world = World(64)
    judge: Judge = Halving("halving", of_losses(), RUNGS, FACTOR, world.configs) if sync else asha()
    crew = workers(world, judge)
    first = crew.feed.next()
    assert first is not None
    halves = Pack(first.configs[:16]), Pack(first.configs[16:30])  # two have got rows that no worker told of
    crew.feed.replaced(first.pack_id, halves)
    crew.rows |= {config.trial_id: ("failed", 0) for config in first.configs[30:]}
    rest = [crew._train(half) for half in halves]
    while rest:
        for worker in list(rest):
            if next(worker, "over") == "over":
                rest.remove(worker)
    crew.run()
    assert len(crew.rows) == 64


def test_packs_of_an_earlier_launch_go_on_first_and_together() -> None:
    world = World(64)
    resumed = [Pack(tuple(world.configs[:8])), Pack(tuple(world.configs[8:16]))]
    feed = Feed(Listed(world.configs[16:]), asha(), lambda config: SIZE, lambda configs: None, print, resumed)
    pack = feed.next()
    assert pack is not None
    assert set(pack.sources) == {other.pack_id for other in resumed}
    assert {c.trial_id for c in world.configs[:16]} < {c.trial_id for c in pack.configs}
    assert len(pack.configs) == SIZE
