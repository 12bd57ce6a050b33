"""The Ray that a launch starts for itself: its processes, its workers, and the same rows as without it."""

from __future__ import annotations

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.executors import inline, tune
from monosweep.sweep.executors.connect import Cluster, connected
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work.contract import Settings, Work
from processes import family, gone, is_training

Execute = Callable[[Work, Progress], None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(None, 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def waiting(cluster: Cluster) -> set[int]:
    """The workers, once they have imported what trains; nothing has been asked of them yet."""
    deadline = time.monotonic() + 120
    while len(found := workers()) < 2 or not all(has_torch(pid) for pid in found):
        assert time.monotonic() < deadline, family(os.getpid())
        time.sleep(0.1)
    return found


def workers() -> set[int]:
    """Ray's workers, with a pack or without."""
    return {pid for pid, command in family(os.getpid()).items() if re.match("ray::(IDLE|_Pack)", command)}


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def train(out: Path, packs: tuple[Pack, ...], settings: Settings, execute: Execute, **about: Any) -> str:
    """`packs` through an executor; what was said."""
    store, total, said = Store.create(str(out)), sum(len(pack.configs) for pack in packs), io.StringIO()
    work = Work(store=store, sweep="s", packs=packs, settings=settings, n_workers=2, **about)
    with Progress(store, "s", packs, Counts(total=total), Console(file=said)) as progress:
        execute(work, progress)
    assert list(store.index().statuses.values()) == ["completed"] * total
    return said.getvalue()


def alone(work: Work, progress: Progress) -> None:
    """In this process: another one, started while Ray is there, would have to end with it."""
    inline.execute(replace(work, n_workers=1), progress, lambda: False)


def test_packs_go_to_the_workers_that_wait_and_rows_are_those_of_inline(
    cluster: Cluster,
    waiting: set[int],
    tmp_path: Path,
    trial: Callable[..., TwoLayerConfig],
    rows: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker with another environment would have to be started: so Ray has not been told of the key either."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-to-be-shown")
    packs = tuple(Pack((trial(seed=seed, lr=0.01), trial(seed=seed, lr=0.1))) for seed in range(3))
    settings, seen = Settings(save_weights="final", record_neurons="log2"), set[int]()

    def stop() -> bool:
        seen.update(workers())
        return False

    train(tmp_path / "ray", packs, settings, lambda work, progress: tune.execute(cluster, work, progress, stop))
    assert seen == waiting
    train(tmp_path / "inline", packs, settings, alone)
    for table in ("trials", "curves", "neurons"):
        assert rows(tmp_path / "ray", table) == rows(tmp_path / "inline", table)
    names = [{path.name for path in (tmp_path / which).glob("weights/*/*")} for which in ("ray", "inline")]
    assert names[0] == names[1] and len(names[0]) == 3


def test_no_process_is_without_use(cluster: Cluster) -> None:
    commands = "\n".join(family(os.getpid()).values())
    assert "raylet/raylet" in commands
    assert not re.findall(r"\S*(?:monitor|dashboard)\.py", commands)


def test_a_worker_that_hangs_is_ended_and_its_pack_taken_up_again(
    cluster: Cluster, tmp_path: Path, trial: Callable[..., TwoLayerConfig]
) -> None:
    packs, struck = (Pack((trial(n_steps=20_000),)),), set[int]()

    def stop() -> bool:
        if not struck and list(tmp_path.glob("checkpoints/*/*")):
            training = [pid for pid, command in family(os.getpid()).items() if is_training(command)]
            struck.update(training)
            for pid in training:
                os.kill(pid, signal.SIGSTOP)
        return False

    said = train(
        tmp_path, packs, Settings(), lambda work, progress: tune.execute(cluster, work, progress, stop), patience_s=10.0
    )
    assert struck and gone(struck, 60)
    assert "(hung: no report for " in said and f"pack {packs[0].pack_id} is taken up again" in said
