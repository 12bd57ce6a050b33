"""A Ray worker that is told to go, without Ray: whenever the signal comes, its pack is checkpointed first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.config import TrialConfig
from sweep.executors import ray
from sweep.packing import Pack
from sweep.store import Store
from sweep.worker import Settings, Work

Trial = Callable[..., TrialConfig]


@pytest.fixture
def work(tmp_path: Path, trial: Trial) -> Work:
    """One pack of many short slices."""
    pack = Pack((trial(n_steps=20_000),))
    store = Store.create(str(tmp_path / "results"))
    return Work(store=store, sweep="s", packs=(pack,), settings=Settings(slice_s=0.01), n_workers=1)


@pytest.fixture
def worker(work: Work) -> Iterator[ray._PackTrainable]:
    """As Ray makes it, in this process; the tests' own signal handler is set again."""
    before = signal.getsignal(signal.SIGTERM)
    worker = ray._PackTrainable.__new__(ray._PackTrainable)
    worker.setup({"pack": 0}, work)
    yield worker
    signal.signal(signal.SIGTERM, before)


def told_to_go() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_before_its_first_step(work: Work, worker: ray._PackTrainable) -> None:
    told_to_go()
    with pytest.raises(ray._Evicted, match="told to go"):
        worker.step()
    assert work.store.list_checkpoints("s") == [work.packs[0].pack_id]


def test_between_two_reports(work: Work, worker: ray._PackTrainable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "_REPORT_S", 0.0)
    assert not worker.step()["done"]
    told_to_go()
    with pytest.raises(ray._Evicted, match="told to go"):
        worker.step()
    assert work.store.list_checkpoints("s") == [work.packs[0].pack_id]


def test_a_sweep_that_stops_has_its_workers_checkpoint(
    work: Work, worker: ray._PackTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "_REPORT_S", 0.0)
    worker.step()
    worker.release()
    assert work.store.list_checkpoints("s") == [work.packs[0].pack_id]
