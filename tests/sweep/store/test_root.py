"""The results root: what it accepts, what a failed write leaves, and what the index makes of the parts."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.root import MARKER, Store, StoreError
from monosweep.sweep.store.schema import Key, Provenance, arrow_table, config_in, trial_row

Trial = Callable[..., TwoLayerConfig]
_METRICS = {
    "loss": 0.5, "min_loss": 0.25, "n_mono": 3, "mono_per_feature": 3 / 16, "mono_per_neuron": 3 / 32, "n_dead": 0,
    "n_positive_bias": 5, "mean_bias": -0.5, "capacity_sum": 4.0, "features_by_n_mono": [13, 3],
}  # fmt: skip
_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def commit(
    store: Store, configs: list[TwoLayerConfig], pack_id: str, status: str = "completed", sweep: str = "s",
    finished_at: datetime = _NOON, extra: str = "", neurons: Sequence[dict[str, Any]] = (),
) -> None:  # fmt: skip
    """Commit a pack whose rows all have the same status."""
    provenance = Provenance(
        status=TrialStatus(status), error=None if status == "completed" else "why" + extra, last_step=64,
        wall_time_s=1.0, engine="packed", device="cpu", device_name="a processor", code_version="0",
        library_versions="none", finished_at=finished_at,
    )  # fmt: skip
    metrics = _METRICS if status == "completed" else None
    rows = [trial_row(Key(trial_id=c.trial_id, pack_id=pack_id), c, metrics, provenance) for c in configs]
    points = [
        {"trial_id": c.trial_id, "pack_id": pack_id, "step": step, "loss": 1.0, "min_loss": 1.0,
         "n_mono": 0, "mean_bias": 0.0, "lr": 0.1}
        for c in configs for step in (2, 1)
    ]  # fmt: skip
    tables = {"trials": rows, "curves": points, "neurons": neurons}
    store.commit(sweep, pack_id, {name: arrow_table(name, rows) for name, rows in tables.items()})


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_new_root_has_a_marker_and_opens_again(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "results"
    Store.create(str(root))
    marker = json.loads((root / MARKER).read_text())
    assert (marker["format"], marker["schema_version"], len(marker["identity"])) == ("monosweep results", 2, 32)
    assert Store.open(str(root)).root == Store.create(str(root)).root == str(root)


def test_a_relative_root_is_the_same_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.create("results")
    monkeypatch.chdir("/")
    store.write_spec("s", "{}")
    assert Store.open(str(tmp_path / "results")).sweeps() == ["s"]


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"new or empty folder .*it holds thesis.tex"):
        Store.create(str(tmp_path))
    assert files(tmp_path) == ["thesis.tex"]


def test_opening_needs_a_results_root(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(StoreError, match=r"holds monosweep.json; .* does not"):
            Store.open(str(root))
    assert Store.find(str(tmp_path / "absent")) is None
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('{"format": "monosweep results", "schema_version": 99}', r"schema version 99, .* upgrade monosweep"),
        ('{"format": "something", "schema_version": 1}', "is not monosweep's"),
        ("[]", "is not monosweep's"),
        ("{", "is not monosweep's"),
    ],
)
def test_a_foreign_or_newer_marker_is_refused(tmp_path: Path, marker: str, message: str) -> None:
    (tmp_path / MARKER).write_text(marker)
    for act in (Store.open, Store.create):
        with pytest.raises(StoreError, match=message):
            act(str(tmp_path))


@pytest.mark.parametrize("root", ["nonsense://x/y", "s3://"])
def test_a_uri_that_is_none_is_refused(root: str) -> None:
    with pytest.raises(StoreError, match="a folder or a URI such as s3://bucket/folder"):
        Store.create(root)


def test_a_path_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(StoreError, match="another --out") as caught:
            Store.create(str(root))
        assert "\n" not in str(caught.value)


def test_a_read_only_disk_is_one_line(read_only_disk: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot write .*: Read-only file system; .* another --out"):
        Store.create(str(read_only_disk / "results"))


def test_a_full_disk_loses_nothing_that_was_committed(small_disk: Path, trial: Trial) -> None:
    store = Store.create(str(small_disk / "results"))
    commit(store, [trial(seed=1)], "first")
    before = files(small_disk)
    too_much = os.urandom(400_000).hex()
    with pytest.raises(StoreError, match=r"no space left; free some and launch again"):
        commit(store, [trial(seed=2)], "second", "failed", extra=too_much)
    with pytest.raises(StoreError, match="no space left"):
        store.save_checkpoint("s", "second", too_much.encode())
    left = files(small_disk)
    assert not [name for name in left if name.endswith(".tmp")]
    assert [n for n in left if "trials" in n] == [n for n in before if "trials" in n]
    assert store.index().statuses == {trial(seed=1).trial_id: "completed"}


def test_a_pack_whose_neurons_do_not_fit_is_not_there(small_disk: Path, trial: Trial) -> None:
    """`trials` would fit, but it comes last."""
    store = Store.create(str(small_disk / "results"))
    noise = np.random.default_rng(0).random(100_000).tolist()
    neurons = [
        {"trial_id": "t", "pack_id": "p", "step": 1, "neuron": i, "r": r, "bias": r, "feature": 0,
         "norm_in": r, "norm_out": r}
        for i, r in enumerate(noise)
    ]  # fmt: skip
    with pytest.raises(StoreError, match="no space left"):
        commit(store, [trial()], "p", neurons=neurons)
    assert (store.index().statuses, store.pack_rows("s", "p")) == ({}, {})


def test_a_pack_is_committed_by_its_trials_and_loses_its_checkpoint(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    store.save_checkpoint("s", "p", b"state")
    assert store.load_checkpoint("s", "p") == b"state"
    assert store.list_checkpoints("s") == ["p"]
    commit(store, [trial()], "p")
    assert store.list_checkpoints("s") == ["p"], "other members may still be in training"
    store.drop_checkpoint("s", "p")
    part = f"part-p-{sha256(trial().trial_id.encode()).hexdigest()[:16]}.parquet"
    assert files(tmp_path) == [f"curves/sweep=s/{part}", MARKER, f"neurons/sweep=s/{part}", f"trials/sweep=s/{part}"]
    assert store.load_checkpoint("s", "p") is None
    store.drop_checkpoint("s", "p")


def test_members_of_a_pack_are_committed_one_after_another(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    a, b, c = (trial(seed=seed) for seed in range(3))
    commit(store, [a, b], "p", "diverged")
    assert store.pack_rows("s", "p") == {a.trial_id: "diverged", b.trial_id: "diverged"}
    before = files(tmp_path)
    commit(store, [b, a], "p", "diverged")
    assert files(tmp_path) == before, "the same members have the same part in any order"
    commit(store, [c], "p")
    commit(store, [trial(seed=7)], "q")
    assert store.pack_rows("s", "p") == {a.trial_id: "diverged", b.trial_id: "diverged", c.trial_id: "completed"}
    assert store.pack_rows("s", "other") == store.pack_rows("t", "p") == {}
    assert (len(store.index().statuses), store.index().n_hidden) == (4, 0)
    for config in (a, c):
        assert [row["step"] for row in store.curve_rows(config.trial_id, "p")] == [1, 2]


def test_committing_again_overwrites(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    commit(store, [trial()], "p", "failed")
    assert store.pack_rows("s", "p") == {trial().trial_id: "failed"}
    commit(store, [trial()], "p")
    index = store.index()
    assert (index.statuses, index.n_hidden) == ({trial().trial_id: "completed"}, 0)


def test_the_shown_row_is_the_best_then_the_first(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    later = _NOON + timedelta(hours=1)
    commit(store, [trial()], "a", "failed")
    commit(store, [trial()], "b", "diverged")
    assert store.trial_row(trial().trial_id)["pack_id"] == "b"
    commit(store, [trial()], "c", finished_at=later)
    assert store.trial_row(trial().trial_id)["pack_id"] == "c"
    commit(store, [trial()], "d", sweep="other")
    commit(store, [trial()], "e", sweep="other")
    row = store.trial_row(trial().trial_id)
    assert (row["pack_id"], config_in(row), row["features_by_n_mono"]) == ("d", trial(), [13, 3])
    index = store.index()
    assert (index.statuses, index.n_hidden) == ({trial().trial_id: "completed"}, 4)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1 and then nothing that makes sense PAR1"])
def test_a_damaged_part_is_named_and_counts_as_missing(tmp_path: Path, trial: Trial, damage: bytes) -> None:
    store = Store.create(str(tmp_path))
    commit(store, [trial(seed=1)], "good")
    commit(store, [trial(seed=2)], "bad")
    (bad,) = tmp_path.glob("trials/sweep=s/part-bad-*")
    bad.write_bytes(damage)
    index = store.index()
    assert index.statuses == {trial(seed=1).trial_id: "completed"}
    assert index.unreadable == (f"trials/sweep=s/{bad.name}",)
    assert store.trial_row(trial(seed=1).trial_id)["seed"] == 1
    assert store.pack_rows("s", "bad") == {}


def test_half_written_files_are_not_seen(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    commit(store, [trial()], "p")
    (tmp_path / "trials/sweep=s/.part-q.parquet.1-00000000.tmp").write_bytes(b"half")
    assert store.index().unreadable == ()


def test_trials_are_found_by_the_beginning_of_their_id(tmp_path: Path, trial: Trial) -> None:
    store = Store.create(str(tmp_path))
    trials = [trial(seed=seed) for seed in range(8)]
    commit(store, trials, "p")
    wanted = trials[3].trial_id
    assert store.trial_row(wanted[:6])["trial_id"] == wanted
    assert [row["step"] for row in store.curve_rows(wanted, "p")] == [1, 2]
    assert store.curve_rows(wanted, "q") == []
    typo = wanted[:-1] + ("0" if wanted[-1] != "0" else "1")
    with pytest.raises(StoreError, match=f"no trial '{typo}' .* did you mean {wanted}"):
        store.trial_row(typo)
    with pytest.raises(StoreError, match=r"no trial 'zzzzzzzz' in .*; .* has 8 trials, such as"):
        store.trial_row("zzzzzzzz")
    with pytest.raises(StoreError, match="6 digits or more; got ''"):
        store.trial_row("")


def test_an_empty_root_has_no_trials(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    with pytest.raises(StoreError, match="has 0 trials"):
        store.trial_row("0123456789abcdef")
    assert store.index().statuses == {}


def test_sweeps_and_heartbeats(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.write_spec("quick", "{}")
    store.write_heartbeat("quick", {"pid": 7})
    assert store.sweeps() == ["quick"]
    assert store.read_spec("quick") == "{}"
    assert store.read_heartbeat("quick") == {"pid": 7}
    assert store.read_heartbeat("other") is None
    with pytest.raises(StoreError, match=r"no sweep 'quik' .* did you mean 'quick'"):
        store.read_spec("quik")


@pytest.mark.parametrize("data", [b"", b"short", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]"])
def test_a_checkpoint_that_is_none_has_no_metadata(tmp_path: Path, data: bytes) -> None:
    store = Store.create(str(tmp_path))
    store.save_checkpoint("s", "p", data)
    assert store.checkpoint_metadata("s", "p") == {}


@pytest.fixture(scope="module")
def s3_root() -> Iterator[str]:
    """A root on a real S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    pafs.FileSystem.from_uri(f"s3://key:secret@bucket?{options}&allow_bucket_creation=true")[0].create_dir("bucket")
    yield f"s3://key:secret@bucket/results?{options}"
    server.stop()


def test_everything_on_s3(s3_root: str, trial: Trial) -> None:
    store: Any = pickle.loads(pickle.dumps(Store.create(s3_root)))
    store.save_checkpoint("s", "p", b"state")
    assert store.list_checkpoints("s") == ["p"]
    commit(store, [trial(seed=1), trial(seed=2)], "p")
    commit(store, [trial(seed=1)], "q", "failed")
    store.write_spec("s", "{}")
    opened = Store.open(s3_root)
    index = opened.index()
    assert (len(index.statuses), index.n_hidden, opened.sweeps()) == (2, 1, ["s"])
    opened.drop_checkpoint("s", "p")
    opened.drop_checkpoint("s", "p")
    assert opened.list_checkpoints("s") == []
    assert set(opened.pack_rows("s", "p")) == {trial(seed=1).trial_id, trial(seed=2).trial_id}
    assert opened.trial_row(trial(seed=1).trial_id)["pack_id"] == "p"
    assert len(opened.curve_rows(trial(seed=2).trial_id, "p")) == 2


def test_a_bucket_that_is_not_there_is_one_line(s3_root: str) -> None:
    with pytest.raises(StoreError, match="cannot write") as caught:
        Store.create(s3_root.replace("bucket/", "absent/"))
    assert "\n" not in str(caught.value)
