"""What people see: counts that never count twice, rates, lines in a log, and the status of a root."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.view.live import Counts, Progress, Speed, describe, duration, read_status
from monosweep.sweep.work.contract import PackProgress, Settings
from monosweep.sweep.work.pack import train_pack

Trial = Callable[..., TwoLayerConfig]
_SPEC = SweepSpec(
    name="s", base={"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64, "n_steps": 64}, repeats=4
)


def report(pack: Pack, steps: int, trained: int | None = None, **fields: Any) -> PackProgress:
    return PackProgress(
        pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=steps,
        trained_steps=steps if trained is None else trained, **fields,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(str(tmp_path))
    store.write_spec("s", _SPEC.to_json())
    return store


@pytest.fixture
def packs() -> tuple[Pack, Pack]:
    configs = tuple(expand(_SPEC))
    return Pack(configs[:2]), Pack(configs[2:])


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_a_report_replaces_the_one_before(store: Store, packs: tuple[Pack, Pack]) -> None:
    left, right = packs
    with Progress(store, "s", packs, Counts(total=6, completed=1, failed=1), quiet()) as progress:
        progress.started(left)
        assert progress.counts() == Counts(total=6, completed=1, failed=1, running=2)
        for _ in range(2):
            progress.update(report(left, 96, ended={"completed": 1}))
        assert progress.counts() == Counts(total=6, completed=2, failed=1, running=1)
        progress.update(report(left, 128, ended={"completed": 1, "diverged": 1}, finished=True))
        progress.started(right)
        progress.forget(right)
        assert progress.counts() == Counts(total=6, completed=2, diverged=1, failed=1)
    assert progress.counts().missing == 2


def test_speed_counts_training_and_not_checkpoints(store: Store, packs: tuple[Pack, Pack]) -> None:
    left, right = packs
    with Progress(store, "s", packs, Counts(total=4), quiet()) as progress:
        assert progress.speed() == Speed()
        start = time.monotonic()
        progress.update(report(left, 100, trained=0))
        assert progress.speed() == Speed()
        progress.update(report(left, 110, trained=10))
        progress.update(report(right, 20))
        progress.update(report(right, 15))  # taken up again: fifteen more
        time.sleep(0.2)
        speed = progress.speed()
        elapsed = time.monotonic() - start
    assert speed.steps_per_s == pytest.approx(45 / elapsed, rel=0.2)
    assert speed.seconds_left is not None
    assert speed.seconds_left * speed.steps_per_s == pytest.approx(256 - 110 - 15)
    assert speed.trials_per_hour == pytest.approx(speed.steps_per_s * 3600 / 64)


def test_a_log_gets_plain_lines_and_warnings(store: Store, packs: tuple[Pack, Pack]) -> None:
    console = quiet()
    with Progress(store, "s", packs, Counts(total=4), console) as progress:
        progress.update(report(packs[0], 64, warnings=("something happened",)))
        time.sleep(2.8)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "something happened"
    assert lines[1].startswith("0/4 trials done")
    assert "steps/s" in lines[1]
    assert "\x1b" not in console.file.getvalue()


def test_a_terminal_gets_a_bar(store: Store, packs: tuple[Pack, Pack]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(store, "s", packs, Counts(total=4), console) as progress:
        progress.update(report(packs[0], 64))
        time.sleep(0.7)
    assert isinstance(console.file, io.StringIO)
    assert "━" in console.file.getvalue()
    assert "0/4 trials done" in console.file.getvalue()


def test_status_follows_a_driver(store: Store, packs: tuple[Pack, Pack]) -> None:
    (before,) = read_status(store.root)
    assert (before.live, before.updated_at, before.counts) == (False, None, Counts(total=4))
    with Progress(store, "s", packs, Counts(total=4), quiet()):
        train_pack(store, "s", packs[0], Settings())
        (during,) = read_status(store.root, "s")
        assert during.live
        assert during.counts.completed == 2
    (after,) = read_status(store.root)
    assert not after.live
    assert after.updated_at is not None
    assert (after.counts.completed, after.counts.missing, after.n_hidden) == (2, 2, 0)


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({}, True),
        ({"state": "stopped"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, True),
        ({"updated_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, False),
    ],
)
def test_a_heartbeat_counts_while_it_is_fresh(store: Store, fields: dict[str, Any], live: bool) -> None:
    beat = {
        "state": "running", "pid": os.getpid(), "host": socket.gethostname(), "running": 3,
        "updated_at": datetime.now(UTC).isoformat(),
        "speed": {"steps_per_s": 2.0, "trials_per_hour": 3.0, "seconds_left": 4.0},
    }  # fmt: skip
    store.write_heartbeat("s", {**beat, **fields})
    (status,) = read_status(store.root)
    assert (status.live, status.counts.running) == (live, 3 if live else 0)
    assert status.speed.steps_per_s == (2.0 if live else None)


def test_status_needs_a_sweep_that_is_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no sweep 'quick'"):
        read_status(store.root, "quick")


def test_lines_for_people() -> None:
    assert describe(Counts(total=4), Speed()) == "0/4 trials done"
    speed = Speed(steps_per_s=5000, trials_per_hour=1234.4, seconds_left=70)
    assert describe(Counts(total=9, completed=4, diverged=1, failed=2, running=1), speed) == (
        "4/9 trials done · 1 diverged · 2 failed · 1 running · 1,234 trials/h · 5,000 steps/s · 1 min left"
    )
    assert [duration(s) for s in (0.4, 59, 61, 7300, 200_000)] == ["0 s", "59 s", "1 min", "2.0 h", "2.3 days"]
