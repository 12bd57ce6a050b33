"""Judged sweeps on real executors: every trial one row, and every row what the trial shows when it is trained alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler
from rich.console import Console
from worlds import of_losses

from monosweep.model.config import TrialConfig
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer
from monosweep.sweep.executors import inline
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import Judge
from monosweep.sweep.search.feed import Feed
from monosweep.sweep.search.halving import Halving
from monosweep.sweep.search.sources import Listed
from monosweep.sweep.search.tune_judge import TuneJudge
from monosweep.sweep.store.root import Store
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work.contract import Orders, Settings, Work
from monosweep.sweep.work.feed import Given
from monosweep.sweep.work.pack import pack_slices

N_STEPS, GRACE, FACTOR, SIZE = 256, 16, 2, 8
RUNGS = Rungs.of(GRACE, FACTOR, N_STEPS)


def asha(configs: Sequence[TrialConfig]) -> Judge:
    scheduler = ASHAScheduler(time_attr="step", max_t=N_STEPS, grace_period=GRACE, reduction_factor=FACTOR)
    return TuneJudge(scheduler, "asha", of_losses(), RUNGS)


def halving(configs: Sequence[TrialConfig]) -> Judge:
    return Halving("halving", of_losses(), RUNGS, FACTOR, configs)


JUDGES = {"asha": asha, "halving": halving}


@pytest.fixture(scope="module")
def configs() -> list[TrialConfig]:
    shape = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 1 / 8, "batch_size": 64}
    return [TwoLayerConfig(**shape, n_steps=N_STEPS, lr=1e-4 * 1.2**i, seed=i % 2) for i in range(32)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, configs: list[TrialConfig]) -> Store:
    store = Store.create(str(tmp_path_factory.mktemp("full")))
    train(store, Given([Pack(tuple(configs))]), configs, None, 1)
    return store


def train(store: Store, feed: Any, configs: Sequence[TrialConfig], judge: Judge | None, n_workers: int) -> None:
    settings = Settings(rungs=judge.rungs if judge else None)
    work = Work(store=store, sweep="s", settings=settings, n_workers=n_workers)
    ahead, console = [Pack(tuple(configs))], Console(file=io.StringIO())
    with Progress(store, "s", ahead, Counts(total=len(configs)), console) as progress:
        inline.execute(work, feed, progress, lambda: False)


def table(store: Store, name: str, of: Callable[..., list[dict[str, Any]]]) -> dict[Any, dict[str, Any]]:
    key = (lambda row: row["trial_id"]) if name == "trials" else (lambda row: (row["trial_id"], row["step"]))
    return {key(row): row for row in of(store.root, name)}


def test_a_checkpoint_tells_who_was_judged_from_who_waits(configs: list[TrialConfig], tmp_path: Path) -> None:
    store, pack = Store.create(str(tmp_path / "out")), Pack(tuple(configs[:4]))
    waits = configs[0].trial_id

    def orders() -> Orders:
        return Orders(hold=frozenset([waits]), release=reports[-1].seen != ())

    reports = []
    for progress in pack_slices(store, "s", pack, Settings(rungs=RUNGS), orders=orders):
        reports.append(progress)
    assert reports[-1].released and {seen.step for seen in reports[-2].seen} == {GRACE}
    trainer = PackTrainer.from_bytes(store.load_checkpoint("s", pack.pack_id) or b"", "cpu")
    judged = {config.trial_id: trainer.points(config.trial_id)[-1][1] for config in configs[:4]}
    assert judged == {config.trial_id: config.trial_id != waits for config in configs[:4]}


@pytest.mark.parametrize("tells", [True, False])
def test_who_left_is_told_only_where_somebody_listens(tells: bool, configs: list[TrialConfig], tmp_path: Path) -> None:
    """It is all that their rows say: of packs of many short trials a large part of what workers send."""
    store, pack = Store.create(str(tmp_path / "out")), Pack(tuple(configs[:4]))
    told = [left for p in pack_slices(store, "s", pack, Settings(tells_ends=tells)) for left in p.left]
    assert {left.trial_id for left in told} == ({config.trial_id for config in pack.configs} if tells else set())
    assert all(left.metrics and "loss" in left.metrics for left in told)


@pytest.mark.parametrize(
    ("name", "n_workers"),
    [("asha", 1), ("halving", 1), ("asha", 2), pytest.param("halving", 2, marks=pytest.mark.long)],
)
def test_rows_a_judged_sweep_are_those_of_the_whole_one_up_to_where_each_was_stopped(
    name: str, n_workers: int, configs: list[TrialConfig], full: Store, tmp_path: Path,
    rows: Callable[..., list[dict[str, Any]]],
) -> None:  # fmt: skip
    judge, store = JUDGES[name](configs), Store.create(str(tmp_path / "out"))
    drop = partial(store.drop_checkpoint, "s")
    feed = Feed(Listed(configs), judge, lambda config: SIZE, lambda new: None, drop)
    train(store, feed, configs, judge, n_workers)
    whole, found = table(full, "trials", rows), table(store, "trials", rows)
    curves, judged_curves = table(full, "curves", rows), table(store, "curves", rows)
    assert whole.keys() == found.keys()
    stopped = {i for i, row in found.items() if row["status"] == "stopped"}
    assert len(stopped) >= len(configs) // 2
    assert store.list_checkpoints("s") == []
    for trial_id, row in found.items():
        end = curves[trial_id, row["last_step"]]
        assert (row["loss"], row["min_loss"], row["n_mono"]) == (end["loss"], end["min_loss"], end["n_mono"])
        mine = {step: point for (i, step), point in judged_curves.items() if i == trial_id}
        assert max(mine) == row["last_step"]
        same = ("loss", "min_loss", "lr", "n_mono", "mean_bias")
        assert all(point[k] == curves[trial_id, step][k] for step, point in mine.items() for k in same)
    steps = sum(row["last_step"] for row in found.values())
    assert steps < 0.6 * len(configs) * N_STEPS
    assert all(f"{name}, " in found[i]["error"] for i in stopped)
