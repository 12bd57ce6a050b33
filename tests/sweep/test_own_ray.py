"""The Ray that a launch starts for itself: which processes it has, and that packs go to the workers that wait."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from model.config import TrialConfig
from processes import family
from sweep.executors.ray import Cluster, connected, execute
from sweep.packing import Pack
from sweep.progress import Counts, Progress
from sweep.store import Store
from sweep.worker import Settings, Work

_NEEDED = ("reaper.py", "gcs_server", "raylet/raylet", "DashboardAgent", "RuntimeEnvAgent", "dashboard/agent.py")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(None, 2) as cluster:
        yield cluster


def workers() -> set[int]:
    """Ray's workers, with a pack or without."""
    return {pid for pid, command in family(os.getpid()).items() if re.match("ray::(IDLE|_Pack)", command)}


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_workers_import_what_trains_before_they_have_a_pack(cluster: Cluster) -> None:
    deadline = time.monotonic() + 60
    while len(workers()) < 2 or not all(map(has_torch, workers())):
        assert time.monotonic() < deadline, family(os.getpid())
        time.sleep(0.1)


def test_packs_go_to_the_workers_that_wait(
    cluster: Cluster, tmp_path: Path, trial: Callable[..., TrialConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with another environment would have to be started: so Ray has not been told of the key either."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-to-be-shown")
    before, seen = workers(), set[int]()
    packs = tuple(Pack((trial(seed=seed),)) for seed in range(4))
    store = Store.create(str(tmp_path))
    work = Work(store=store, sweep="s", packs=packs, settings=Settings(), n_workers=2)
    with Progress(store, "s", packs, Counts(total=4), Console(file=io.StringIO())) as progress:
        execute(cluster, work, progress, lambda: bool(seen.update(workers())))
    assert len(before) == 2 and seen == before
    assert sorted(store.completed().values()) == ["completed"] * 4


def test_no_process_is_without_use(cluster: Cluster) -> None:
    others = [c for c in family(os.getpid()).values() if c and not any(needed in c for needed in _NEEDED)]
    assert all(command.startswith("ray::") for command in others), others
