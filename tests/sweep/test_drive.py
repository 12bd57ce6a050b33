"""Launching: what is trained and what is not, and that executors and orders make no difference to a row."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.model.checkpoint_header import FORMAT
from monosweep.model.config import ConfigError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer
from monosweep.sweep.drive import LaunchOptions, LaunchReport, launch
from monosweep.sweep.executors import inline
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand, load_spec
from monosweep.sweep.store import lease
from monosweep.sweep.store.root import LeaseError, Store, StoreError
from monosweep.sweep.version import training_code
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.lines import launch_lines
from monosweep.sweep.view.live import Progress
from monosweep.sweep.view.status import read_status
from monosweep.sweep.work.contract import Settings, Work
from monosweep.sweep.work.feed import Given
from monosweep.sweep.work.pack import train_pack
from processes import Driver, gone
from same_tables import assert_same

Trial = Callable[..., TwoLayerConfig]
Rows = Callable[..., list[dict[str, Any]]]
TABLES = ("trials", "curves", "neurons")
_BASE = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 0.125, "batch_size": 64, "n_steps": 64}
_NOTHING_MISSING = """
import sys
from monosweep.sweep.__main__ import main
status = main(["launch", sys.argv[1], "--out", sys.argv[2]])
print(status, sorted({"torch", "ray"} & set(sys.modules)))
"""


def sweep(name: str = "s", **keys: Any) -> SweepSpec:
    """A spec of four trials: two rates, two seeds."""
    given = {"base": _BASE, "space": [{"lr": {"grid": [0.01, 0.1]}}], "repeats": 2, "pack_size": 2, **keys}
    return SweepSpec(name=name, **given)


def inline_launch(spec: SweepSpec, out: Path, said: io.StringIO | None = None, **options: Any) -> LaunchReport:
    console = Console(file=said or io.StringIO(), width=200)
    return launch(spec, str(out), LaunchOptions(executor="inline", device="cpu", **options), console)


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("trials/*/*.parquet")}


def test_a_sweep_is_trained_once(tmp_path: Path, rows: Rows) -> None:
    report = inline_launch(sweep(), tmp_path)
    assert (report.before.ended, report.after.completed, report.trained) == (0, 4, 4)
    assert report.plan is not None
    assert (report.plan.n_packs, report.plan.model_steps) == (2, 256)
    written = times(tmp_path)
    again = inline_launch(sweep(), tmp_path)
    assert (again.plan, again.trained, again.after.completed) == (None, 0, 4)
    assert times(tmp_path) == written
    assert len(rows(tmp_path)) == 4


def test_more_points_extend_a_sweep(tmp_path: Path, rows: Rows) -> None:
    inline_launch(sweep(), tmp_path)
    written = times(tmp_path)
    report = inline_launch(sweep(space=[{"lr": {"grid": [0.01, 0.1, 0.3]}}]), tmp_path)
    assert (report.before.completed, report.trained, report.after.total) == (4, 2, 6)
    assert times(tmp_path).items() > written.items()
    assert SweepSpec.from_json(Store.open(str(tmp_path)).read_spec("s")).space[0]["lr"]["grid"][-1] == 0.3


def test_two_sweeps_of_a_root_share_their_trials(tmp_path: Path) -> None:
    inline_launch(sweep("one"), tmp_path)
    report = inline_launch(sweep("two", repeats=3), tmp_path)
    assert (report.before.completed, report.trained) == (4, 2)
    assert Store.open(str(tmp_path)).sweeps() == ["one", "two"]


def test_a_sweep_counts_what_it_asked_for_whoever_trained_it(tmp_path: Path) -> None:
    """One holds four trials, two holds the same and two more."""
    inline_launch(sweep("one"), tmp_path)
    inline_launch(sweep("two", repeats=3), tmp_path)
    store = Store.open(str(tmp_path))
    assert [(s.sweep, s.counts.completed, s.counts.total) for s in read_status(str(tmp_path))] == [
        ("one", 4, 4), ("two", 6, 6),
    ]  # fmt: skip
    assert store.asked("one").trial_ids < store.asked("two").trial_ids
    assert set(store.asked_configs("two").values()) == set(expand(sweep("two", repeats=3)))
    report = inline_launch(sweep("two", repeats=3), tmp_path)
    assert list(launch_lines(report, "out"))[-2] == "query     monosweep query out \"from sweep('two')\""


def test_a_smaller_launch_is_part_of_its_sweep(tmp_path: Path) -> None:
    inline_launch(sweep(space=[{"lr": 0.1}]), tmp_path / "out")
    store = Store.open(str(tmp_path / "out"))
    store.ask("s", expand(sweep()))
    report = inline_launch(sweep(space=[{"lr": 0.1}]), tmp_path / "out")
    assert (report.plan, report.n_wanted, report.n_missing) == (None, 2, 0)
    assert (report.after.total, report.after.missing) == (4, 2)
    lines = list(launch_lines(report, "out"))
    assert lines[0] == "nothing to train: all 2 trials have their rows"
    assert "left      2 trials that s was asked for before lack their rows: launch with --unfinished" in lines
    rest = inline_launch(sweep(space=[{"lr": 0.1}]), tmp_path / "out", unfinished=True)
    assert (rest.trained, rest.after.completed, rest.after.missing) == (2, 4, 0)


def test_names_with_slashes_and_dashes_are_different_sweeps(tmp_path: Path) -> None:
    inline_launch(sweep("a/b", repeats=1), tmp_path)
    inline_launch(sweep("a-b", space=[{"lr": 0.3}]), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("trials/*")) == ["sweep=a-b", "sweep=a.b"]
    assert [(s.sweep, s.counts.total) for s in read_status(str(tmp_path))] == [("a-b", 2), ("a/b", 2)]
    (status,) = read_status(str(tmp_path), "a/b")
    assert (status.sweep, status.live, status.updated_at is None) == ("a/b", False, False)


def test_a_name_that_held_another_spec_is_said(tmp_path: Path) -> None:
    said = io.StringIO()
    inline_launch(sweep(), tmp_path, said)
    inline_launch(sweep(repeats=3), tmp_path, said)
    assert "held another spec" not in said.getvalue()
    report = inline_launch(sweep(base={**_BASE, "n_steps": 32}, space=[{"lr": 0.3}]), tmp_path, said)
    assert (report.after.total, report.n_wanted, report.trained) == (8, 2, 2)
    (line,) = (line for line in said.getvalue().splitlines() if "another spec" in line)
    assert line.startswith("sweep s held another spec: 6 trials of ") and "lr 0.01 … 0.1, " in line
    assert "; this one asks for 2 trials of " in line and "n_steps 32, lr 0.3, " in line
    assert line.endswith("name: in the spec gives this one a name of its own")


def test_nothing_missing_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    launch_tiny = [sys.executable, "-c", _NOTHING_MISSING, "tiny", str(tmp_path / "out")]
    inline_launch(sweep("tiny-like"), tmp_path / "out")
    launch(load_spec("tiny"), str(tmp_path / "out"), LaunchOptions(executor="inline"), Console(file=io.StringIO()))
    done = subprocess.run(launch_tiny, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    report = inline_launch(sweep(), tmp_path / "out", dry_run=True)
    assert report.plan is not None
    assert (report.plan.n_trials, report.plan.n_packs, report.plan.model_steps) == (4, 2, 256)
    assert 2**20 < report.plan.memory_bytes < 2**32
    assert (report.dry_run, report.trained) == (True, 0)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StoreError, match="new or empty folder"):
        inline_launch(sweep(), tmp_path, dry_run=True)


def test_failed_trials_are_trained_again_only_when_asked(tmp_path: Path, rows: Rows) -> None:
    """A real failure: a batch that no memory holds."""
    impossible = [{"batch_size": 2**31}, {"lr": {"grid": [0.01]}}]
    report = inline_launch(sweep(space=impossible), tmp_path)
    assert (report.after.failed, report.after.completed) == (2, 2)
    failed = [row for row in rows(tmp_path) if row["status"] == "failed"]
    assert all(row["error"] and "\n" not in row["error"] for row in failed)
    assert inline_launch(sweep(space=impossible), tmp_path).trained == 0
    retried = inline_launch(sweep(space=impossible), tmp_path, retry_failed=True)
    assert (retried.before.completed, retried.before.failed, retried.trained) == (2, 0, 2)
    assert len(rows(tmp_path)) == 4


def test_an_unknown_optimizer_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown optimizer 'Nope'"):
        inline_launch(sweep(base={**_BASE, "optimizer": "Nope"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packs_with_a_checkpoint_go_on_as_they_were(tmp_path: Path, trial: Trial, rows: Rows) -> None:
    """Of three checkpoints one is wanted; one holds a finished trial besides, and one is not readable."""
    spec = sweep(pack_size=1)
    by_seed = {(c.lr, c.seed): c for c in (trial(lr=lr, seed=s) for lr in (0.01, 0.1) for s in (0, 1))}
    inline_launch(sweep(space=[{"lr": 0.01}], repeats=1), tmp_path)
    store = Store.open(str(tmp_path))
    wanted = Pack((by_seed[0.1, 0], by_seed[0.1, 1]))
    trainer = PackTrainer(wanted.configs, "cpu")
    trainer.advance()
    store.save_checkpoint("s", wanted.pack_id, trainer.to_bytes(training_code()))
    partly = PackTrainer([by_seed[0.01, 0], by_seed[0.01, 1]], "cpu")
    partly.advance()
    store.save_checkpoint("s", "partly", partly.to_bytes(training_code()))
    store.save_checkpoint("s", "broken", b"rubbish" * 9)
    said = io.StringIO()
    report = inline_launch(spec, tmp_path, said)
    assert report.plan is not None
    assert (report.plan.n_resumed, report.plan.n_packs, report.trained) == (2, 2, 3)
    assert "the checkpoint of pack broken is damaged (" in said.getvalue()
    assert store.list_checkpoints("s") == []
    inline_launch(spec, tmp_path / "whole")
    for table in TABLES:
        assert rows(tmp_path, table) == rows(tmp_path / "whole", table)


def test_a_damaged_part_is_said_and_trained_again(tmp_path: Path, rows: Rows) -> None:
    inline_launch(sweep(), tmp_path)
    before = rows(tmp_path)
    victim = next(tmp_path.glob("trials/*/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:100])
    said = io.StringIO()
    report = inline_launch(sweep(), tmp_path, said)
    assert report.trained == 2
    assert f"{victim.name} cannot be read; its trials count as missing" in said.getvalue()
    assert rows(tmp_path) == before


_LONG = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 60000}
space: {lr: {grid: [0.003, 0.03]}}
repeats: 2
pack_size: 4
"""


def test_a_smaller_launch_after_an_interrupted_one_destroys_nothing(tmp_path: Path) -> None:
    """Of four trials in one interrupted pack two are wanted; then the others; nothing is trained twice."""
    (spec := tmp_path / "long.yaml").write_text(_LONG)
    whole = Driver(spec, tmp_path / "whole", "--executor", "inline")
    first = Driver(spec, tmp_path / "out", "--executor", "inline")
    first.wait_for(lambda: "steps/s" in first.said())
    first.process.send_signal(signal.SIGINT)
    assert first.finish() == 130, first.said()
    store = Store.open(str(tmp_path / "out"))
    (bigger,) = store.list_checkpoints("long")
    asked, step = store.asked("long"), step_of(store, bigger)
    assert (len(asked.trial_ids), step > 0) == (4, True)

    dry = launch(load_spec(str(spec), ["repeats=1"]), store.root, LaunchOptions(executor="inline", dry_run=True))
    assert dry.plan is not None and (dry.plan.n_trials, dry.plan.n_resumed) == (2, 1)
    assert store.list_checkpoints("long") == [bigger]

    said = io.StringIO()
    smaller = inline_launch(load_spec(str(spec), ["repeats=1"]), tmp_path / "out", said)
    assert (smaller.trained, smaller.n_missing, smaller.after.missing) == (2, 0, 2)
    assert "1 of 1 packs go on from their checkpoints" in said.getvalue()
    assert store.list_checkpoints("long") == [bigger], "two trials in it have no rows yet"
    assert (store.asked("long"), step_of(store, bigger)) == (asked, step)

    rest = inline_launch(load_spec(str(spec), ["repeats=1"]), tmp_path / "out", said, unfinished=True)
    assert rest.plan is not None and (rest.plan.n_resumed, rest.plan.n_trials, rest.after.missing) == (1, 2, 0)
    assert store.list_checkpoints("long") == []
    assert whole.finish() == 0, whole.said()
    assert_same(tmp_path / "out", tmp_path / "whole")


def step_of(store: Store, pack_id: str) -> int:
    about = store.checkpoint_metadata("long", pack_id)[FORMAT]
    return max(int(member["step"]) for member in json.loads(about)["members"])


def test_a_checkpoint_that_nobody_needs_goes_even_if_nothing_is_missing(tmp_path: Path, trial: Trial) -> None:
    """As after a death between a pack's commit and the end of its checkpoint."""
    inline_launch(sweep(), tmp_path)
    store, pack = Store.open(str(tmp_path)), Pack((trial(lr=0.01), trial(lr=0.1)))
    store.save_checkpoint("s", pack.pack_id, PackTrainer(pack.configs, "cpu").to_bytes(training_code()))
    assert inline_launch(sweep(), tmp_path).plan is None
    assert store.list_checkpoints("s") == []


def test_a_checkpoint_that_is_written_after_its_pack_has_ended_goes_with_the_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a worker of a launch that was superseded; those that may still be needed stay."""
    drop, late = Store.drop_checkpoint, dict[str, Pack]()
    failed, data = "failed", PackTrainer(expand(sweep(repeats=3))[4:], "cpu").to_bytes(training_code())

    def drop_and_come_late(store: Store, name: str, pack_id: str) -> None:
        drop(store, name, pack_id)
        if pack_id not in late:
            late[pack_id] = pack = Pack(tuple(expand(sweep())[:1]))
            store.save_checkpoint(name, pack_id, PackTrainer(pack.configs, "cpu").to_bytes(training_code()))
            store.save_checkpoint(name, failed, data)

    monkeypatch.setattr(Store, "drop_checkpoint", drop_and_come_late)
    inline_launch(sweep(), tmp_path)
    assert len(late) == 2
    assert Store.open(str(tmp_path)).list_checkpoints("s") == [failed]


def test_a_launch_that_was_superseded_leaves_no_checkpoint_of_what_the_other_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other ends the pack while our worker is about to checkpoint it."""
    monkeypatch.setattr(lease, "RENEW_S", 0.02)
    monkeypatch.setattr(inline, "_SLICE_S", 0.05)
    save, file, over = Store.save_checkpoint, tmp_path / "sweeps/s.lease.json", threading.Event()
    begun, advance = threading.Event(), PackTrainer.advance
    spec, saved = sweep(base={**_BASE, "n_steps": 2000}, space=[{"lr": 0.01}], repeats=1), list[str]()
    pack = Pack(tuple(expand(spec)))

    def take_over() -> None:
        begun.wait(60)
        while not over.wait(0.01):
            with suppress(FileNotFoundError):
                (beside := tmp_path / "other").write_text(json.dumps({**json.loads(file.read_text()), "holder": "0f"}))
                beside.replace(file)

    def save_late(store: Store, name: str, pack_id: str, data: bytes) -> None:
        saved.append(pack_id)
        if saved == [pack.pack_id]:
            train_pack(store, name, pack, Settings())
        save(store, name, pack_id, data)

    def advance_and_tell(trainer: PackTrainer, **options: Any) -> Any:
        begun.set()
        return advance(trainer, **options)

    monkeypatch.setattr(Store, "save_checkpoint", save_late)
    monkeypatch.setattr(PackTrainer, "advance", advance_and_tell)
    other = threading.Thread(target=take_over)
    other.start()
    try:
        with pytest.raises(LeaseError, match=r"another launch has taken over sweep 's' \(lease 0f"):
            inline_launch(spec, tmp_path)
    finally:
        over.set()
        other.join()
    assert saved == [pack.pack_id]
    assert Store.open(str(tmp_path)).list_checkpoints("s") == []


def test_of_two_checkpoints_of_a_trial_the_further_one_is_taken(tmp_path: Path, trial: Trial, rows: Rows) -> None:
    """As after a death of a launch that had cut it out of its pack."""
    a, b = trial(lr=0.01), trial(lr=0.1)
    store = Store.create(str(tmp_path / "out"))
    both, alone = PackTrainer([a, b], "cpu"), PackTrainer([a], "cpu")
    for trainer, n in ((both, 1), (alone, 3)):
        for _ in range(n):
            trainer.advance()
        store.save_checkpoint("s", Pack(trainer.configs).pack_id, trainer.to_bytes(training_code()))
    report = inline_launch(sweep(repeats=1), tmp_path / "out")
    assert report.plan is not None and (report.plan.n_resumed, report.plan.n_packs) == (2, 2)
    assert store.list_checkpoints("s") == []
    inline_launch(sweep(repeats=1), tmp_path / "whole")
    for table in TABLES:
        assert rows(tmp_path / "out", table) == rows(tmp_path / "whole", table)


class _Watched(Progress):
    """Kills or stops an inline worker as soon as it has reported."""

    number, struck = signal.SIGKILL, 0

    def update(self, progress: Any) -> None:
        super().update(progress)
        if not self.struck and progress.trained_steps and not progress.finished:
            children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text()
            spawned = [p for p in children.split() if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
            self.struck = int(spawned[0])
            os.kill(self.struck, self.number)


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, "exit code -9"), (signal.SIGSTOP, "hung: no report for ")]
)
def test_an_inline_worker_that_is_killed_or_hangs_is_replaced(
    tmp_path: Path, trial: Trial, number: signal.Signals, why: str
) -> None:
    packs = tuple(Pack((trial(seed=seed, n_steps=6000),)) for seed in range(2))
    store, said = Store.create(str(tmp_path / "out")), io.StringIO()
    work = Work(
        store=store, sweep="s", settings=Settings(), n_workers=2,
        patience_s=20.0 if number == signal.SIGSTOP else 900.0,
    )  # fmt: skip
    with _Watched(store, "s", packs, Counts(total=2), Console(file=said, width=200)) as progress:
        progress.number = number
        inline.execute(work, Given(packs), progress, lambda: False)
    assert progress.struck and gone([progress.struck])
    assert f" ({why}" in said.getvalue() and "; pack " in said.getvalue()
    assert store.index().statuses == dict.fromkeys((p.configs[0].trial_id for p in packs), "completed")
