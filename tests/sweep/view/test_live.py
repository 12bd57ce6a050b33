"""What people see while a sweep trains: counts that never count twice, rates, and lines in a log."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.root import Store
from monosweep.sweep.view import live
from monosweep.sweep.view.counts import Counts, Speed
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work.contract import Failure, PackProgress

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
        assert progress.counts().running == 2
        progress.waits(right)
        assert progress.counts().running == 0
        progress.started(right)
        progress.forget(right)
        assert progress.counts() == Counts(total=6, completed=2, diverged=1, failed=1)
    assert progress.counts().missing == 2


def test_speed_counts_training_and_not_checkpoints(
    store: Store, packs: tuple[Pack, Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = packs
    with Progress(store, "s", packs, Counts(total=4), quiet()) as progress:
        assert progress.speed() == Speed()
        progress.update(report(left, 100, trained=0))
        assert progress.speed() == Speed()
        time.sleep(0.2)  # what it takes to begin counts for nothing
        progress.update(report(left, 110, trained=10))
        start = time.monotonic()
        progress.update(report(right, 20))
        progress.update(report(right, 15))  # taken up again: fifteen more
        time.sleep(0.2)
        speed = progress.speed()
        elapsed = time.monotonic() - start
        monkeypatch.setattr(live, "_SURE_AFTER_S", 0.1)
        sure = progress.speed()
    assert speed.steps_per_s == pytest.approx(35 / elapsed, rel=0.2)
    assert speed.trials_per_hour == pytest.approx(speed.steps_per_s * 3600 / 64)
    assert speed.seconds_left is None
    assert sure.seconds_left is not None and sure.steps_per_s is not None
    assert sure.seconds_left * sure.steps_per_s == pytest.approx(256 - 110 - 15)


def test_a_log_gets_plain_lines_and_warnings(store: Store, packs: tuple[Pack, Pack]) -> None:
    console = quiet()
    assert isinstance(console.file, io.StringIO)
    with Progress(store, "s", packs, Counts(total=4), console) as progress:
        progress.update(report(packs[0], 32, warnings=("something happened",)))
        progress.update(report(packs[0], 64))
        deadline = time.monotonic() + 60
        while "done" not in console.file.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "something happened"
    assert lines[1].startswith("0/4 trials done")
    assert "steps/s" in lines[1] and "left" not in lines[1]
    assert "\x1b" not in console.file.getvalue()


def test_a_failure_is_told_as_it_happens_and_a_reason_once(store: Store, packs: tuple[Pack, Pack]) -> None:
    console = quiet()
    assert isinstance(console.file, io.StringIO)
    with Progress(store, "s", packs, Counts(total=4), console) as progress:
        failures = tuple(Failure(trial_id=f"{i}", error="ValueError: odd") for i in range(3))
        progress.update(report(packs[0], 32, failures=failures))
        progress.update(report(packs[1], 32, failures=(Failure(trial_id="9", error="KeyError: 'x'"),)))
        told = console.file.getvalue().splitlines()
    assert told == ["trial 0 failed: ValueError: odd", "trial 9 failed: KeyError: 'x'"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_time_left_is_always_seen(
    store: Store, packs: tuple[Pack, Pack], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar counts the steps that the number beside it counts; nothing is said of the time before it is known."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with Progress(store, "s", packs, Counts(total=2000, completed=700, stopped=800, failed=99), quiet()) as progress:
        monkeypatch.setattr(progress, "_console", console)
        progress.update(report(packs[0], 64, best={"loss": 0.271828, "mono_per_feature": 0.5}))
        with console.capture() as before:
            console.print(progress._render())
        monkeypatch.setattr(progress, "speed", lambda: Speed(steps_per_s=9e3, trials_per_hour=31e3, seconds_left=7300))
        with console.capture() as after:
            console.print(progress._render())
    lines = after.get().splitlines()
    assert "left" not in before.get() and "25 % of 256 steps" in before.get()
    assert all(len(line) <= width for line in lines)
    assert lines[0].rstrip().endswith("25 % of 256 steps · 2.0 h left")
    assert lines[0].count("━") / min(40, width - 31) >= 0.2 and "1500/2000 trials done, 800 of them" in lines[1]
    assert "best loss 0.2718, mono per feature 0.5 · 31,000 trials/h" in " ".join(lines[2:])


def test_a_terminal_gets_a_bar(store: Store, packs: tuple[Pack, Pack]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(store, "s", packs, Counts(total=4), console) as progress:
        progress.update(report(packs[0], 64))
        time.sleep(0.7)
    assert isinstance(console.file, io.StringIO)
    assert "━" in console.file.getvalue()
    assert "0/4 trials done" in console.file.getvalue()
