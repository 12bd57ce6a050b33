"""A Ray worker that is told to go, without Ray: whenever the signal comes, its pack is checkpointed first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.executors import tune
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.work.blame import Loss
from monosweep.sweep.work.contract import Settings, Work
from monosweep.sweep.work.faults import Cause

GONE = Loss(Cause.GONE, "told to go")
Trial = Callable[..., TwoLayerConfig]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Of many short slices."""
    store = Store.create(str(tmp_path / "results"))
    return Work(store=store, sweep="s", settings=Settings(slice_s=0.01), n_workers=1)


@pytest.fixture
def pack(trial: Trial) -> Pack:
    return Pack((trial(n_steps=20_000),))


@pytest.fixture
def worker(work: Work, pack: Pack) -> Iterator[tune._PackTrainable]:
    """As Ray makes it, in this process; the tests' own signal handler is set again."""
    before = signal.getsignal(signal.SIGTERM)
    worker = tune._PackTrainable.__new__(tune._PackTrainable)
    worker.setup({"pack": tune._Parcel((pack, work)), "left_out": [], "avoid": []})
    yield worker
    signal.signal(signal.SIGTERM, before)


def told_to_go() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def begin(worker: tune._PackTrainable) -> None:
    place, name, kills = report(worker).began or ("", "", -1)
    assert place and name and kills >= 0


def report(worker: tune._PackTrainable) -> tune._Report:
    told: tune._Report = worker.step()["report"].take()
    return told


def test_before_it_has_begun(work: Work, worker: tune._PackTrainable) -> None:
    told_to_go()
    assert report(worker).fault == GONE


def test_before_its_first_step(work: Work, pack: Pack, worker: tune._PackTrainable) -> None:
    begin(worker)
    told_to_go()
    assert report(worker).fault == GONE
    assert work.store.list_checkpoints("s") == [pack.pack_id]


def test_between_two_reports(
    work: Work, pack: Pack, worker: tune._PackTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_REPORT_S", 0.0)
    begin(worker)
    assert report(worker).progress
    told_to_go()
    assert report(worker).fault == GONE
    assert work.store.list_checkpoints("s") == [pack.pack_id]


def test_a_sweep_that_stops_has_its_workers_checkpoint(
    work: Work, pack: Pack, worker: tune._PackTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_REPORT_S", 0.0)
    begin(worker)
    worker.step()
    worker.release()
    assert work.store.list_checkpoints("s") == [pack.pack_id]
