"""One pack: its rows, its checkpoint, and how its neighbours fare when a trial cannot be trained."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from monosweep.model.checkpoint import serialise
from monosweep.model.config import DeviceError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.kinds import networks
from monosweep.model.member import MemberState
from monosweep.model.trainer import PackTrainer
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.version import training_code
from monosweep.sweep.work import pack as train
from monosweep.sweep.work.best import best_of
from monosweep.sweep.work.contract import PackProgress, Settings
from monosweep.sweep.work.failures import split
from monosweep.sweep.work.faults import Cause, MachineError
from monosweep.sweep.work.pack import train_pack

Trial = Callable[..., TwoLayerConfig]
Rows = Callable[..., list[dict[str, Any]]]
TABLES = ("trials", "curves", "neurons")
SETTINGS = Settings(slice_s=0.01)
"""Slices so short that every pack has several."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "results"))


@contextmanager
def memory_left(n_bytes: int) -> Iterator[None]:
    """This process may take only so much more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def weights(root: str) -> list[str]:
    return sorted(path.name.split("-step")[1].split("-")[0] for path in Path(root).glob("weights/*/*"))


def test_rows_are_what_the_trainer_says(store: Store, trial: Trial, rows: Rows) -> None:
    configs = (trial(lr=0.01), trial(lr=0.1), trial(lr=1e6, n_steps=64))
    progress = train_pack(store, "s", Pack(configs), SETTINGS)
    trainer = PackTrainer(configs, "cpu")
    list(trainer)
    results = {result.config.trial_id: result for result in trainer.results()}
    assert progress.ended == {"completed": 2, "diverged": 1}
    assert progress.finished
    for row in rows(store.root):
        result = results[row["trial_id"]]
        metrics = result.metrics
        assert (row["status"], row["error"]) == (result.status, result.error)
        assert row["last_step"] == result.last_step
        assert row["loss"] == (metrics["loss"] if metrics else None)
        assert row["features_by_n_mono"] == (metrics["features_by_n_mono"] if metrics else None)
        assert row["engine"] == "packed"
        assert row["library_versions"].startswith("python 3.")
    assert len(rows(store.root, "curves")) == sum(len(r.curve["step"]) for r in results.values())
    assert len(rows(store.root, "neurons")) == 2 * 32


def test_weights_are_kept_as_asked(tmp_path: Path, trial: Trial) -> None:
    kept = {}
    for keep in ("none", "final", "log2"):
        store = Store.create(str(tmp_path / keep))
        train_pack(store, "s", Pack((trial(n_steps=8),)), Settings(save_weights=keep))  # type: ignore[arg-type]
        kept[keep] = weights(store.root)
    steps = [f"{step:010d}" for step in (1, 2, 4, 8)]
    assert kept == {"none": [], "final": steps[-1:], "log2": steps}


def test_weights_stand_under_their_own_trials_step(tmp_path: Path, trial: Trial) -> None:
    """Members of one pack end at steps of their own; one that joined later is looked at beside others at theirs."""
    store, configs = Store.create(str(tmp_path / "results")), (trial(n_steps=8, seed=1), trial(n_steps=11, seed=2))
    pack, early = Pack(configs), PackTrainer(configs[1:], "cpu", keep_weights="log2")
    while early.step < 4:
        early.advance()
    early.put(MemberState(config=configs[0]))
    store.save_checkpoint("s", pack.pack_id, early.to_bytes(training_code()))
    train_pack(store, "s", pack, Settings(save_weights="log2"))
    found: dict[str, list[int]] = {config.trial_id: [] for config in configs}
    for path in sorted(Path(store.root).glob("weights/*/*")):
        with safe_open(path, "np") as file:
            step = int(path.name.split("-step")[1].split("-")[0])
            assert file.metadata() == {"step": str(step)}
            for trial_id in {name.split("/")[0] for name in file.keys()}:  # noqa: SIM118
                alone = PackTrainer([next(c for c in configs if c.trial_id == trial_id)], "cpu", keep_weights="log2")
                theirs = next(s.weights[step][trial_id] for s in alone if step in s.weights)
                found[trial_id].append(step)
                for name, tensor in theirs.items():
                    assert file.get_tensor(f"{trial_id}/{name}").tobytes() == tensor.numpy().tobytes()
    assert list(found.values()) == [[1, 2, 4, 8], [8, 11]]


def test_progress_counts_the_steps_of_every_member(store: Store, trial: Trial) -> None:
    reports: list[PackProgress] = []
    train_pack(store, "s", Pack((trial(seed=1), trial(seed=2))), SETTINGS, reports.append)
    assert (reports[0].model_steps, reports[0].trained_steps, reports[0].finished) == (0, 0, False)
    assert [report.model_steps for report in reports] == sorted(report.model_steps for report in reports)
    assert (reports[-1].model_steps, reports[-1].trained_steps) == (128, 128)


def test_progress_has_the_best_so_far_of_this_and_earlier_workers(store: Store, trial: Trial, rows: Rows) -> None:
    """At recorded steps of any member, also of one that has left or was trained by a worker before."""
    pack, reports = Pack((trial(seed=1, n_steps=512), trial(seed=2, n_steps=8, lr=0.1))), list[PackProgress]()
    train_pack(store, "s", pack, SETTINGS, reports.append, should_stop=lambda: reports[-1].model_steps > 100)
    told = len(reports)
    train_pack(store, "s", pack, SETTINGS, reports.append)
    points = rows(store.root, "curves")
    best = {"loss": min(p["loss"] for p in points), "mono_per_feature": max(p["mono_per_feature"] for p in points)}
    assert best_of(r.best for r in reports) == best_of(r.best for r in reports[:told] + reports[-1:]) == best
    assert reports[0].best == {} and reports[told - 1].best["loss"] >= reports[told].best["loss"] > best["loss"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_pack_in_training_shows_its_points(
    store: Store, trial: Trial, rows: Rows, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """Those of members that have no row yet; nothing is left of them once nobody trains it."""
    monkeypatch.setattr(train, "_SHOW_AFTER_S", 0.0)
    pack, seen = Pack((trial(seed=1, n_steps=256), trial(seed=2, n_steps=8))), list[list[dict[str, Any]]]()

    def look(progress: PackProgress) -> None:
        shown = [pq.read_table(path, partitioning=None) for path in Path(store.root).glob("live/sweep=s/*")]
        seen.append([row for table in shown for row in table.to_pylist()])

    train_pack(store, "s", pack, SETTINGS, look, should_stop=lambda: stopped and len(seen[-1]) > 6)
    assert not seen[-1] and not list(Path(store.root).glob("live/*/*"))
    latest = [rows for rows in seen if rows][-1]
    assert [row["step"] for row in latest] == [2**i for i in range(7 if stopped else 8)]
    assert all(row["updated_at"] for row in latest)
    assert {row["trial_id"] for row in latest} == {pack.configs[0].trial_id}
    assert any(len({row["trial_id"] for row in rows}) == 2 for rows in seen)
    if not stopped:
        kept = {(row["trial_id"], row["step"]): row for row in rows(store.root, "curves")}
        for row in latest:
            del row["updated_at"], row["pack_id"]
            assert row == kept[row["trial_id"], row["step"]]


def test_watching_is_not_worth_a_pack(store: Store, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_SHOW_AFTER_S", 0.0)
    (Path(store.root) / "live").write_text("no folder")
    assert train_pack(store, "s", Pack((trial(),)), SETTINGS).finished


def test_a_stopped_pack_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, trial: Trial, rows: Rows) -> None:
    pack = Pack((trial(n_steps=40_000, lr=0.01), trial(n_steps=40_000, lr=0.1)))
    stopped, whole = Store.create(str(tmp_path / "stopped")), Store.create(str(tmp_path / "whole"))
    before: list[PackProgress] = []
    has_trained = lambda: before[-1].model_steps > 0  # noqa: E731
    first = train_pack(stopped, "s", pack, SETTINGS, before.append, should_stop=has_trained)
    assert (stopped.list_checkpoints("s"), first.finished) == ([pack.pack_id], False)
    assert stopped.index().statuses == {}
    reports: list[PackProgress] = []
    train_pack(stopped, "s", pack, SETTINGS, reports.append)
    assert reports[0].model_steps == first.model_steps > 0
    assert reports[-1].trained_steps == reports[-1].model_steps - first.model_steps
    assert stopped.list_checkpoints("s") == []
    train_pack(whole, "s", pack, Settings())
    for table in TABLES:
        assert rows(stopped.root, table) == rows(whole.root, table)


NOT_GONE_ON_FROM = {
    "rubbish": "is damaged (it is cut short)", "truncated": "is damaged (", "altered": "does not have its checksum",
    "another pack's": "holds no trial that is to go on",
    "other code's": "was written by other code (src.0123; this is src.",
    "an earlier version's": "was written by other code (format monosweep_checkpoint_2; this is src.",
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_GONE_ON_FROM)
def test_a_checkpoint_that_does_not_fit_is_named_and_left_out(store: Store, trial: Trial, what: str) -> None:
    pack = Pack((trial(),))
    good = PackTrainer(pack.configs, "cpu").to_bytes(training_code())
    spoilt = {
        "rubbish": b"rubbish" * 9, "truncated": good[:-9], "altered": good[:-1] + bytes([good[-1] ^ 1]),
        "another pack's": PackTrainer([trial(seed=5)], "cpu").to_bytes(training_code()),
        "other code's": PackTrainer(pack.configs, "cpu").to_bytes("src.0123"),
        "an earlier version's": serialise({"0/losses": torch.zeros(3)}, {"monosweep_checkpoint_2": "{}"}),
    }  # fmt: skip
    store.save_checkpoint("s", pack.pack_id, spoilt[what])
    reports: list[PackProgress] = []
    train_pack(store, "s", pack, SETTINGS, reports.append)
    (warning,) = (warning for report in reports for warning in report.warnings)
    assert warning.startswith(f"the checkpoint of pack {pack.pack_id} ") and NOT_GONE_ON_FROM[what] in warning
    assert warning.endswith("the pack starts over")
    assert store.index().statuses == {trial().trial_id: "completed"}


def test_a_member_that_gets_no_memory_is_alone_with_that(
    store: Store, trial: Trial, rows: Rows, tmp_path: Path
) -> None:
    """With every feature present its samples take a hundred times the memory of its neighbours'.  The machine has so
    much, only not now: nobody fails."""
    shape = {"n_features": 4096, "d_embed": 2, "n_neurons": 2, "batch_size": 8192, "n_steps": 1}
    good = [trial(**shape, feature_prob=1e-4, seed=seed) for seed in range(4)]
    bad = trial(**shape, feature_prob=1.0)
    alone = Store.create(str(tmp_path / "alone"))
    train_pack(alone, "s", Pack(tuple(good)), SETTINGS)
    pack = Pack((*good, bad))
    with memory_left(700 * 2**20), pytest.raises(MachineError, match="Unable to allocate") as caught:
        train_pack(store, "s", pack, SETTINGS)
    assert caught.value.cause is Cause.MEMORY
    for table in TABLES:
        assert rows(store.root, table) == rows(alone.root, table)
    assert train_pack(store, "s", pack, SETTINGS).ended == {"completed": 5}


def test_a_device_that_fails_is_no_trials_failure(
    store: Store, trial: Trial, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed stays, and whoever takes the pack up next trains the rest."""
    pack, advance = Pack((trial(n_steps=4), trial(n_steps=64))), PackTrainer.advance

    def fail_at_four(trainer: PackTrainer, max_seconds: float = 1e9) -> Any:
        if len(trainer.members) < 2:
            raise DeviceError("the GPU or its software failed (RuntimeError: CUDA error: unspecified launch failure)")
        return advance(trainer, max_seconds)

    with monkeypatch.context() as patch:
        patch.setattr(PackTrainer, "advance", fail_at_four)
        with pytest.raises(MachineError, match="unspecified launch failure"):
            train_pack(store, "s", pack, SETTINGS)
    assert [row["status"] for row in rows(store.root)] == ["completed"]
    assert train_pack(store, "s", pack, SETTINGS).ended == {"completed": 2}


def test_a_config_that_the_model_refuses_is_a_failed_row(store: Store, trial: Trial, rows: Rows) -> None:
    (failure,) = train_pack(store, "s", Pack((trial(optimizer="Nope"),)), SETTINGS).failures
    (row,) = rows(store.root)
    assert (failure.trial_id, failure.error) == (row["trial_id"], row["error"])
    assert (row["status"], row["engine"], row["last_step"]) == ("failed", "solo", 0)
    assert row["error"].startswith("unknown optimizer 'Nope'")


def test_a_full_disk_is_no_failure_of_the_trial(small_disk: Path, trial: Trial) -> None:
    store = Store.create(str(small_disk / "results"))
    (small_disk / "filler").write_bytes(bytes(240 * 1024))
    with pytest.raises(StoreError, match="no space left"):
        train_pack(store, "s", Pack(tuple(trial(seed=seed) for seed in range(8))), SETTINGS)
    (small_disk / "filler").unlink()
    assert store.index().statuses == {}


def test_halves_go_on_from_the_checkpoint_of_their_pack(tmp_path: Path, trial: Trial, rows: Rows) -> None:
    """Nothing is trained twice, and the rows are those of a pack that nothing happened to."""
    pack = Pack(tuple(trial(seed=seed, lr=lr, n_steps=256) for seed in (1, 2) for lr in (0.01, 1e6)))
    undisturbed, store = (Store.create(str(tmp_path / name)) for name in ("undisturbed", "halved"))
    train_pack(undisturbed, "s", pack, SETTINGS)
    assert not train_pack(store, "s", pack, SETTINGS, should_stop=lambda: True).finished
    left, right = split(store, "s", pack, pack.configs)
    assert set(store.list_checkpoints("s")) == {left.pack_id, right.pack_id}
    for half in (left, right):
        progress = train_pack(store, "s", half, SETTINGS)
        assert (progress.finished, progress.warnings) == (True, ())
        assert progress.trained_steps < progress.model_steps
    for table in TABLES:
        assert unpacked(rows(store.root, table)) == unpacked(rows(undisturbed.root, table))


def unpacked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the pack or the clock, in an order of their own."""
    clocks = ("pack_id", "wall_time_s", "finished_at")
    kept = [{name: value for name, value in row.items() if name not in clocks} for row in rows]
    return sorted(kept, key=lambda row: [str(row.get(name)) for name in ("trial_id", "step", "neuron")])


def test_rows_name_every_process_that_trained_them(
    store: Store, trial: Trial, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on two machines: one began, another ended; who has left before is the first one's alone."""
    pack = Pack((trial(n_steps=4), trial(n_steps=256)))
    monkeypatch.setattr(networks, "device_name", lambda device: "one")
    stops = iter([False, False, False, True])
    assert not train_pack(store, "s", pack, SETTINGS, should_stop=lambda: next(stops)).finished
    monkeypatch.setattr(networks, "device_name", lambda device: "another")
    assert train_pack(store, "s", pack, SETTINGS).finished
    found = {row["n_steps"]: row for row in rows(store.root)}
    assert (found[4]["device_name"], found[256]["device_name"]) == ("one", "one + another")
    assert found[256]["code_version"] == found[4]["code_version"] and " + " not in found[4]["library_versions"]


@pytest.mark.parametrize("asked", [{"record_neurons": "log2"}, {"save_weights": "log2"}, {}, {"save_weights": "final"}])
def test_a_resumed_pack_is_what_was_asked_for(tmp_path: Path, trial: Trial, rows: Rows, asked: dict[str, Any]) -> None:
    """Whatever it was recorded with before: a launch with other settings has the rows and weights of a whole one."""
    pack, wanted = Pack((trial(n_steps=64),)), Settings(slice_s=0.01, **asked)
    before = SETTINGS if asked else Settings(slice_s=0.01, record_neurons="log2", save_weights="log2")
    resumed, whole = (Store.create(str(tmp_path / name)) for name in ("resumed", "whole"))
    stops = iter([False, False, False, True])
    assert not train_pack(resumed, "s", pack, before, should_stop=lambda: next(stops)).finished
    for path in Path(resumed.root).glob("weights/*/*"):
        path.unlink()
    train_pack(resumed, "s", pack, wanted)
    train_pack(whole, "s", pack, wanted)
    for table in TABLES:
        assert rows(resumed.root, table) == rows(whole.root, table)
    assert weights(resumed.root) == weights(whole.root)
