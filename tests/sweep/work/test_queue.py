"""Whose fault it is that a pack lost its worker: the queue alone, with a clock of the test's, over a real store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.work.blame import BAD_AFTER, BAD_AFTER_DEATHS, Loss
from monosweep.sweep.work.contract import MAX_RETRIES, PackProgress, Settings, Work
from monosweep.sweep.work.faults import Cause
from monosweep.sweep.work.feed import Given
from monosweep.sweep.work.pack import train_pack
from monosweep.sweep.work.queue import PATIENCE, Order, Queue

Trial = Callable[..., TwoLayerConfig]
Rows = Callable[..., list[dict[str, Any]]]
DIED, GPU_BROKE = Loss(Cause.DIED, "exit code -11"), Loss(Cause.MACHINE, "RuntimeError: CUDA error")
MEMORY = Loss(Cause.MEMORY, "out of memory")


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.reports: list[PackProgress] = []

    def started(self, pack: Pack) -> None:
        """Not of interest."""

    def waits(self, pack: Pack) -> None:
        """Not of interest."""

    def forget(self, pack: Pack) -> None:
        """Not of interest."""

    def update(self, progress: PackProgress) -> None:
        """A worker reports, or the queue."""
        self.reports.append(progress)

    def note(self, line: str) -> None:
        """For people."""
        self.notes.append(line)


class Launch:
    """A queue and the executor that a test plays; packs are trained for real, or lost."""

    def __init__(self, root: Path, packs: tuple[Pack, ...], n_workers: int = 1, n_places: int = 1) -> None:
        self.now = 0.0
        self.store, self.listener = Store.create(str(root)), Listener()
        work = Work(store=self.store, sweep="s", settings=Settings(), n_workers=n_workers)
        self.queue = Queue(work, Given(packs), self.listener, lambda: n_places, lambda: self.now)

    def take(self) -> Order:
        """The next pack, however long one has to wait for it."""
        for _ in range(10_000):
            if order := self.queue.take():
                return order
            self.now += 1
        raise AssertionError("there is none")

    def lose(self, loss: Loss, place: str = "here", at_step: int = 0, kills: int = 0) -> Pack:
        """The next pack begins at `place`, and loses its worker; where it had begun is `at_step`."""
        pack = self.take().pack
        self.queue.began(pack.pack_id, place, f"name of {place}", kills)
        self.queue.heard(report(pack, at_step))
        self.queue.lost(pack.pack_id, loss)
        return pack

    def train(self, place: str = "here") -> Pack:
        """The next pack, to its end."""
        pack = self.take().pack
        self.queue.began(pack.pack_id, place, f"name of {place}", 0)
        train_pack(self.store, "s", pack, Settings(), self.queue.heard)
        return pack


def report(pack: Pack, steps: int, trained: int = 0) -> PackProgress:
    return PackProgress(
        pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=steps, trained_steps=trained, ended={}
    )


@pytest.fixture
def packs(trial: Trial) -> tuple[Pack, ...]:
    """Three of one trial each."""
    return tuple(Pack((trial(n_steps=4, seed=seed),)) for seed in range(3))


def test_who_kills_its_workers_again_and_again_fails_and_no_neighbour_does(
    tmp_path: Path, trial: Trial, rows: Rows
) -> None:
    pack, bad = Pack(tuple(trial(n_steps=4, seed=seed) for seed in range(4))), trial(n_steps=4, seed=2)
    launch, deaths = Launch(tmp_path / "r", (pack,)), 0
    while not launch.queue.over:
        order = launch.take()
        launch.queue.began(order.pack.pack_id, "here", "its name", 0)
        if bad in order.pack.configs:
            launch.queue.heard(report(order.pack, 0))
            launch.queue.lost(order.pack.pack_id, DIED)
            deaths += 1
        else:
            train_pack(launch.store, "s", order.pack, Settings(), launch.queue.heard)
    assert (deaths, launch.queue.problem) == (MAX_RETRIES + 1 + 1 + MAX_RETRIES + 1, None)
    found = {row["trial_id"]: row for row in rows(launch.store.root)}
    assert {row["status"] for row in found.values() if row["trial_id"] != bad.trial_id} == {"completed"}
    failed = found[bad.trial_id]
    assert failed["status"] == "failed"
    assert failed["error"] == f"its worker died {MAX_RETRIES + 1} times (exit code -11)"
    assert failed["device_name"] == "its name"
    assert sum(r.ended.get("completed", 0) for r in launch.listener.reports if r.finished) == 3


def test_a_worker_that_dies_further_on_each_time_is_not_blamed(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    """As under random kills: the pack gets on."""
    launch = Launch(tmp_path / "r", packs[:1])
    for step in range(10 * MAX_RETRIES):
        launch.lose(DIED, at_step=step)
    launch.train()
    assert (launch.queue.over, launch.queue.problem) == (True, None)
    assert set(launch.store.index().statuses.values()) == {"completed"}


def test_what_dies_before_it_has_begun_is_the_machines(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs)
    for _ in range(BAD_AFTER_DEATHS):
        assert not launch.queue.over
        launch.queue.lost(launch.take().pack.pack_id, Loss(Cause.DIED, "killed or crashed", "10.0.0.1"))
    assert launch.queue.over and launch.queue.take() is None
    assert str(launch.queue.problem).startswith(
        "no machine is left that can train (10.0.0.1: killed or crashed); what is finished is kept"
    )
    assert launch.store.index().statuses == {}


def test_a_place_where_nothing_succeeds_is_left_out_and_the_others_go_on(
    tmp_path: Path, packs: tuple[Pack, ...]
) -> None:
    launch = Launch(tmp_path / "r", packs, n_workers=2, n_places=2)
    for _ in range(BAD_AFTER):
        launch.lose(GPU_BROKE, "GPU 0")
    order = launch.take()
    assert order.left_out == ("GPU 0",)
    launch.queue.refused(order.pack.pack_id)
    while not launch.queue.over:
        launch.train("GPU 1")
    assert launch.queue.problem is None
    assert list(launch.store.index().statuses.values()) == ["completed"] * 3
    assert f"GPU 0 is left out: {BAD_AFTER} packs in a row could not be trained there ({GPU_BROKE.reason})" in (
        launch.listener.notes
    )


def test_a_worker_that_fails_at_once_does_not_take_one_pack_after_another(
    tmp_path: Path, packs: tuple[Pack, ...]
) -> None:
    """One of two is busy for a minute; the other fails, and Ray would have a new one in no time."""
    launch = Launch(tmp_path / "r", packs, n_workers=2)
    busy = launch.take().pack
    launch.queue.began(busy.pack_id, "here", "", 0)
    faults = 0
    for _ in range(600):
        launch.queue.heard(report(busy, 0, trained=1))
        if order := launch.queue.take():
            launch.queue.began(order.pack.pack_id, "here", "", 0)
            launch.queue.lost(order.pack.pack_id, GPU_BROKE)
            faults += 1
        launch.now += 0.1
    assert 2 < faults < 8


def test_neighbours_that_take_the_memory_make_nobody_fail(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs)
    for _ in range(PATIENCE * len(packs)):
        launch.lose(MEMORY)
    assert launch.queue.over and launch.now > 120
    assert str(launch.queue.problem).startswith("3 trials could not be trained, through no fault of theirs")
    assert launch.store.index().statuses == {}


def test_what_the_kernel_kills_for_want_of_memory_is_not_blamed(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    """Ray does not tell: the count of the next worker there does."""
    launch = Launch(tmp_path / "r", packs[:1])
    for kills in range(2 * MAX_RETRIES):
        launch.lose(DIED, kills=kills)
    launch.train()
    assert set(launch.store.index().statuses.values()) == {"completed"}


def test_a_pack_that_does_not_fit_is_halved(tmp_path: Path, trial: Trial) -> None:
    pack = Pack(tuple(trial(n_steps=4, seed=seed) for seed in range(4)))
    launch = Launch(tmp_path / "r", (pack,))
    launch.lose(MEMORY)
    launch.lose(MEMORY)
    assert [len(launch.train().configs) for _ in range(2)] == [2, 2]
    assert launch.queue.over and len(launch.store.index().statuses) == 4


def test_who_has_killed_its_worker_is_tried_elsewhere(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs[:2], n_places=2)
    launch.train("there")
    launch.lose(DIED, "here")
    assert launch.take().avoid == ("here",)


def test_a_worker_that_is_told_to_go_costs_nothing(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs[:1])
    for _ in range(10 * PATIENCE):
        launch.lose(Loss(Cause.GONE, "told to go"))
    launch.train()
    assert (launch.now, launch.queue.problem) == (0.0, None)


def test_a_pack_whose_worker_died_after_the_commit_is_done(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs[:1])
    for _ in range(MAX_RETRIES):
        launch.lose(DIED)
    pack = launch.take().pack
    launch.queue.began(pack.pack_id, "here", "", 0)
    train_pack(launch.store, "s", pack, Settings())
    launch.queue.lost(pack.pack_id, DIED)
    assert (launch.queue.over, launch.listener.reports[-1].ended) == (True, {"completed": 1})


def test_a_place_is_not_sound_for_a_first_step(tmp_path: Path, packs: tuple[Pack, ...]) -> None:
    launch = Launch(tmp_path / "r", packs)
    for _ in range(BAD_AFTER):
        pack = launch.take().pack
        launch.queue.began(pack.pack_id, "here", "", 0)
        launch.queue.heard(report(pack, 1, trained=1))
        launch.queue.lost(pack.pack_id, GPU_BROKE)
    assert launch.queue.over
