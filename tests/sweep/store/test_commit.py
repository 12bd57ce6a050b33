"""A better row is never replaced by a lesser one, in whatever order a cut-off worker and its driver write."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.fs as pafs
import pytest
from made_packs import commit, config

from monosweep.analysis.tables.root import open_root
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import TABLES

T = TypeVar("T")
_TURN_S = 60.0


class Turns:
    """Who of two may touch the storage next, operation by operation; who has ended is passed over."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order, self._ended = list(order), set[str]()
        self._changed = threading.Condition()

    def take(self, who: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._next() in (who, ""), _TURN_S)
            if self._order:
                self._order.pop(0)
            self._changed.notify_all()

    def before(self, who: str, act: Callable[..., T]) -> Callable[..., T]:
        """`act`, once it is his turn."""

        def after_turn(*args: Any) -> T:
            self.take(who)
            return act(*args)

        return after_turn

    def end(self, who: str) -> None:
        with self._changed:
            self._ended.add(who)
            self._changed.notify_all()

    def _next(self) -> str:
        while self._order and self._order[0] in self._ended:
            self._order.pop(0)
        return self._order[0] if self._order else ""


def interleaved(root: str, order: Sequence[str], better: str, lesser: str = "failed") -> None:
    """A worker commits, and its driver says `failed` of the same trial, or one that was given up `stopped`."""
    turns = Turns(order)

    def act(who: str, status: str) -> None:
        store = Store.open(root)
        for name in ("put", "exists", "remove"):
            setattr(store, name, turns.before(who, getattr(store, name)))
        commit(store, "p", [0], status)
        turns.end(who)

    threads = [threading.Thread(target=act, args=args) for args in (("worker", better), ("driver", lesser))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def orders(n: int, seed: int) -> Iterator[list[str]]:
    """The driver first, last, and in n ways between the worker's operations."""
    worker, driver = ["worker"] * 11, ["driver"] * 11
    yield worker + driver
    yield driver + worker
    for i in range(n):
        mixed = worker + driver
        random.Random(seed + i).shuffle(mixed)
        yield mixed


def assert_shown(root: str, status: str) -> None:
    store, said = Store.open(root), list[str]()
    trial_id = config(0).trial_id
    assert (store.index().statuses, store.index().n_hidden) == ({trial_id: status}, 0)
    assert store.trial_row(trial_id)["status"] == status
    views = open_root(root, said.append)
    counts = [views.sql(f"select count(*) as n from {table}").to_pylist()[0]["n"] for table in TABLES]
    assert (counts, said) == ([1, 2, 3], [])


@pytest.mark.parametrize(
    ("better", "lesser"),
    [("completed", "failed"), ("diverged", "failed"), ("stopped", "failed"), ("completed", "stopped")],
)
def test_a_lesser_row_yields_in_any_order(tmp_path: Path, better: str, lesser: str) -> None:
    for i, order in enumerate(orders(8, seed=1)):
        root = Store.create(str(tmp_path / f"{i}")).root
        interleaved(root, order, better, lesser)
        assert_shown(root, better)
    compact(Store.open(root), grace_s=0)
    assert_shown(root, better)


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    pafs.FileSystem.from_uri(f"s3://key:secret@bucket?{options}&allow_bucket_creation=true")[0].create_dir("bucket")
    yield f"s3://key:secret@bucket/{{}}?{options}"
    server.stop()


def test_on_an_object_store_too(s3_bucket: str) -> None:
    for i, order in enumerate(orders(1, seed=2)):
        root = s3_bucket.format(f"r{i}")
        Store.create(root)
        interleaved(root, order, "completed")
        assert_shown(root, "completed")


def test_trials_that_fail_again_keep_one_row_until_they_do_not(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    for status in ("failed", "failed", "stopped", "failed", "completed", "failed", "stopped"):
        commit(store, "p", [0], status)
        assert store.index().n_hidden == 0
    assert_shown(store.root, "completed")


def test_a_failed_row_of_an_earlier_version_yields_too(tmp_path: Path) -> None:
    """It has the name that a better one takes."""
    store = Store.create(str(tmp_path))
    commit(store, "p", [0], "completed")
    names = {path.parent.parent.name: path.name for path in tmp_path.glob("*/sweep=s/*")}
    for path in tmp_path.glob("*/sweep=s/*"):
        path.unlink()
    commit(store, "p", [0], "failed")
    for path in tmp_path.glob("*/sweep=s/*"):
        path.rename(path.with_name(names[path.parent.parent.name]))
    assert store.index().statuses == {config(0).trial_id: "failed"}
    commit(store, "p", [0], "completed")
    assert_shown(store.root, "completed")
