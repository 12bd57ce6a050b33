"""Compaction: what is merged, what is shown meanwhile and after a SIGKILL anywhere, and what is cleared away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from made_packs import N_NEURONS, STEPS, commit, config

from monosweep.analysis.tables.arrow import ArrowFiles
from monosweep.analysis.tables.local import LocalFiles
from monosweep.analysis.tables.root import Root, open_root
from monosweep.analysis.tables.storage import Files
from monosweep.sweep.__main__ import main
from monosweep.sweep.store import compact as compaction
from monosweep.sweep.store import read
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.read import shown_parts
from monosweep.sweep.store.root import LeaseError, Store
from monosweep.sweep.store.schema import TABLES

Tables = dict[str, list[dict[str, Any]]]


def shown(root: str) -> Tables:
    """Every view, in order."""
    said: list[str] = []
    views = open_root(root, said.append)
    tables = {table: views.sql(f"select * from {table} order by all").to_pylist() for table in TABLES}
    assert said == []
    return tables


def parts(root: Path, table: str = "trials") -> list[str]:
    return sorted(path.name for path in root.glob(f"{table}/sweep=s/*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A root of five settled packs of two trials, and one that has failed."""
    store = Store.create(str(tmp_path / "out"))
    for i in range(5):
        commit(store, f"{i}", [2 * i, 2 * i + 1], "diverged" if i == 3 else "completed")
    commit(store, "bad", [99], "failed")
    return store


@pytest.mark.parametrize(("alone", "together"), [("completed", "stopped"), ("stopped", "completed")])
@pytest.mark.parametrize("files", [LocalFiles, partial(ArrowFiles, pafs.LocalFileSystem())], ids=["local", "arrow"])
def test_units_that_overlap_show_each_member_once(
    tmp_path: Path, alone: str, together: str, files: Callable[[str], Files]
) -> None:
    """A worker that was given up has ended 0 alone, its successor 0 and 1: what stands is of the better row."""
    store = Store.create(str(tmp_path / "out"))
    commit(store, "p0", [0], alone, loss=2.0)
    commit(store, "p0", [0, 1], together, loss=1.0)
    commit(store, "p1", [2, 3])
    first, second = (config(seed).trial_id for seed in (0, 1))
    query = "select trial_id, loss, count(*) n from curves where pack_id = 'p0' group by all"
    right = {first: 2.0 if alone == "completed" else 1.0, second: 1.0}

    def check() -> None:
        views = Root(store.root, files(store.root))
        curves = {(row["trial_id"], row["loss"], row["n"]) for row in views.sql(query).to_pylist()}
        assert curves == {(trial_id, loss, len(STEPS)) for trial_id, loss in right.items()}
        neurons = views.sql("select count(*) n, count(distinct (trial_id, neuron)) m from neurons").to_pylist()
        assert neurons == [{"n": 4 * N_NEURONS, "m": 4 * N_NEURONS}]
        statuses = {row["trial_id"]: row["status"] for row in views.sql("from trials").to_pylist()}
        assert (statuses[first], statuses[second]) == ("completed", together)
        assert views.hidden_rows()["curves"] in (len(STEPS), 0)
        assert [row["loss"] for row in store.curve_rows(first, "p0")] == [right[first]] * len(STEPS)
        assert [row["loss"] for row in store.rows_of("curves", "s", [first])] == [right[first]] * len(STEPS)
        assert [row["status"] for row in store.rows_of("trials", None, [first])] == ["completed"]

    check()
    assert compact(store, grace_s=0).n_merged == 9
    check()
    assert len(read.read(store, "curves").parts) == 1


def test_settled_packs_become_one_part_and_nothing_else_changes(store: Store, tmp_path: Path) -> None:
    before, index = shown(store.root), store.index()
    done = compact(store, grace_s=0)
    assert (done.n_merged, done.n_into, done.n_removed, done.damaged) == (15, 3, 15, ())
    for table in TABLES:
        merged, rest = sorted(parts(tmp_path / "out", table), reverse=True)
        assert (merged.startswith("part-merged-"), rest.startswith("part-bad-")) == (True, True)
    assert (shown(store.root), store.index()) == (before, index)
    trial_id = config(3).trial_id
    assert store.trial_row(trial_id)["pack_id"] == "1"
    assert [row["step"] for row in store.curve_rows(trial_id, "1")] == [1, 2]
    assert store.pack_rows("s", "3") == {config(6).trial_id: "diverged", config(7).trial_id: "diverged"}
    assert store.pack_rows("s", "bad") == {config(99).trial_id: "failed"}
    assert compact(store, grace_s=0).n_into == 0


def test_merging_goes_on_where_it_left_off(store: Store, tmp_path: Path) -> None:
    compact(store, grace_s=0)
    commit(store, "5", [50, 51])
    before = shown(store.root)
    assert compact(store, grace_s=0).n_merged == 6
    assert len(parts(tmp_path / "out")) == 2
    assert shown(store.root) == before


def test_a_failed_pack_is_retried_under_its_own_name(store: Store) -> None:
    compact(store, grace_s=0)
    commit(store, "bad", [99])
    assert store.trial_row(config(99).trial_id)["status"] == "completed"
    before = shown(store.root)
    compact(store, grace_s=0)
    assert store.pack_rows("s", "bad") == {config(99).trial_id: "completed"}
    assert shown(store.root) == before


def test_a_worker_that_comes_late_with_a_merged_pack_changes_nothing(store: Store, tmp_path: Path) -> None:
    compact(store, grace_s=0)
    before = shown(store.root)
    commit(store, "1", [2, 3])
    assert shown(store.root) == before
    assert store.index().n_hidden == 0
    assert compact(store, grace_s=0).n_removed == 3
    assert not [name for name in parts(tmp_path / "out") if name.startswith("part-1")]


def test_members_that_left_their_pack_at_different_times_are_merged_together(store: Store, tmp_path: Path) -> None:
    commit(store, "long", [50, 51])
    commit(store, "long", [52])
    before = shown(store.root)
    assert len(before["trials"]) == 14
    compact(store, grace_s=0)
    assert shown(store.root) == before
    commit(store, "long", [53], "failed")
    commit(store, "long", [54])
    before = shown(store.root)
    assert len(store.pack_rows("s", "long")) == 5
    compact(store, grace_s=0)
    assert (shown(store.root), store.index().n_hidden) == (before, 0)
    assert len(parts(tmp_path / "out")) == 3, "merged, and two that have failed"
    assert len(store.pack_rows("s", "long")) == 5


def merge(store: Store, table: str, group: dict[str, frozenset[str]]) -> None:
    """As a compaction does that takes others for absent."""
    assert sum(compaction._merge(store, table, group, {})) == len(group)


def test_compactions_that_overlap_show_all_members_of_a_pack_once(store: Store) -> None:
    """One has seen less of it than the other, and merged it into what has more packs; then two members more."""
    commit(store, "long", [50, 51])
    names = list(shown_parts(store, "trials")[0])
    commit(store, "long", [52])
    long = [name for name in shown_parts(store, "trials")[0] if "part-long-" in name]
    for some in ([name for name in names if "bad" not in name], long):
        for table in TABLES:
            merge(store, table, {name.replace("trials", table): frozenset() for name in some})
    commit(store, "long", [53])
    assert [len(shown(store.root)[table]) for table in TABLES] == [15 * n for n in (1, 2, 3)]
    assert len(store.pack_rows("s", "long")) == 4
    compact(store, grace_s=0)
    assert [len(shown(store.root)[table]) for table in TABLES] == [15 * n for n in (1, 2, 3)]


def test_a_part_that_is_named_by_its_pack_alone_gives_way_to_newer_ones(store: Store, tmp_path: Path) -> None:
    """As version 1 of the schema named them: its curves were written, and then its worker died."""
    for table in TABLES:
        (part,) = (tmp_path / "out" / table / "sweep=s").glob("part-1-*")
        part.rename(part.with_name("part-1.parquet"))
    before = shown(store.root)
    assert set(store.pack_rows("s", "1")) == {config(2).trial_id, config(3).trial_id}
    commit(store, "1", [2])
    commit(store, "1", [3])
    assert [len(shown(store.root)[table]) for table in TABLES] == [len(before[table]) for table in TABLES]
    compact(store, grace_s=0)
    assert shown(store.root) == before


def test_a_root_is_right_after_a_sigkill_between_any_two_operations(tmp_path: Path) -> None:
    """A real process, killed before its nth change to the root, for every n; then compaction finishes."""
    store, n = Store.create(str(tmp_path / "small")), 0
    for i in range(2):
        commit(store, f"{i}", [2 * i, 2 * i + 1])
    before = shown(store.root)
    while killed(store, n):
        assert shown(store.root) == before
        assert Store.open(store.root).index().n_hidden == 0
        n += 1
    assert n >= 5, "each try gets further: a lease, three merged parts, six that they replace"
    assert shown(store.root) == before
    assert [len(parts(tmp_path / "small", table)) for table in TABLES] == [1, 1, 1]


def killed(store: Store, n: int) -> bool:
    """Whether a compaction in a process of its own is killed before its (n+1)th change."""
    if (pid := os.fork()) == 0:
        left = n
        for name in ("put", "remove"):
            act = getattr(store, name)

            def counted(*args: Any, act: Any = act, **options: Any) -> None:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                act(*args, **options)

            setattr(store, name, counted)
        compact(store, grace_s=0)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def test_a_pack_that_is_committed_while_parts_are_removed_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the parts have been listed, another is there."""
    seeds, look = iter(range(100, 200)), compaction.listed

    def meanwhile(*args: Any) -> list[str]:
        names = look(*args)
        commit(store, f"late-{(seed := next(seeds))}", [seed])
        return names

    with monkeypatch.context() as patch:
        for module in (compaction, read):
            patch.setattr(module, "listed", meanwhile)
        compact(store, grace_s=0)
    n_late = next(seeds) - 100
    assert n_late >= 3
    assert len(store.index().statuses) == 11 + n_late
    assert [len(shown(store.root)[table]) for table in TABLES] == [(11 + n_late) * n for n in (1, 2, 3)]


@pytest.mark.parametrize("largest", [compaction.LARGEST_BYTES, 1], ids=["small", "too large to grow"])
def test_merged_parts_that_hold_a_unit_twice_become_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    """Neither of two compactions that overlapped has seen all of a pack, and both have seen one of its units."""
    store = Store.create(str(tmp_path / "out"))
    for seed in (0, 1, 2):
        commit(store, "long", [seed])
    commit(store, "one", [10])
    commit(store, "other", [11])
    before, names = shown(store.root), sorted(shown_parts(store, "trials")[0])
    long, (one,), (other,) = ([n for n in names if f"part-{pack}-" in n] for pack in ("long", "one", "other"))
    for table in TABLES:
        for some in ([*long[:2], one], [*long[1:], other]):
            merge(store, table, {name.replace("trials", table): frozenset() for name in some})
    monkeypatch.setattr(compaction, "LARGEST_BYTES", largest)
    compact(store, grace_s=0)
    assert shown(store.root) == before
    assert (store.index().n_hidden, [len(parts(tmp_path / "out", table)) for table in TABLES]) == (0, [1, 1, 1])


def test_two_compactions_that_overlap_show_every_pack_once(store: Store) -> None:
    """As if one had been stopped for longer than its lease: each has merged what the other has."""
    before = shown(store.root)
    for table in TABLES:
        names = {name: packs for name, packs in shown_parts(store, table)[0].items() if "bad" not in name}
        for some in (slice(0, 3), slice(2, 5)):
            merge(store, table, dict(list(names.items())[some]))
    assert shown(store.root) == before
    assert store.index().n_hidden == 0
    compact(store, grace_s=0)
    assert shown(store.root) == before


def test_a_query_whose_parts_go_meanwhile_is_asked_again(store: Store) -> None:
    """Everything is merged and removed after the parts were listed, and before they are read."""
    root = open_root(store.root)
    prepared = root.files.prepare

    class Slow(type(root.files)):  # type: ignore[misc]
        def scan(self, *args: Any) -> Any:
            scans = super().scan(*args)
            compact(store, grace_s=0)
            return scans

    before = shown(store.root)
    root.files.__class__ = Slow
    assert prepared is not None
    assert root.sql("select * from neurons order by all").to_pylist() == before["neurons"]


def test_one_compaction_at_a_time(store: Store) -> None:
    waiting = threading.Event()
    first = threading.Thread(target=lambda: compact(store, grace_s=1, say=lambda line: waiting.set()))
    first.start()
    assert waiting.wait(10)
    with pytest.raises(LeaseError, match=r"^one compaction at a time; one is at work in .*; wait for it") as refused:
        compact(store)
    assert "\n" not in str(refused.value)
    first.join()


def test_what_interrupted_packs_left_behind_goes_once_it_is_old(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    store.save_weights("s", "0", 64, [config(0).trial_id], b"kept: committed")
    orphans = [f"weights/sweep=s/part-gone-step{64:010d}.safetensors", "curves/sweep=s/part-gone.parquet",
               "neurons/sweep=s/.part-gone.parquet.7-0000.tmp"]  # fmt: skip
    store.write_spec("s", "{}")
    store.save_checkpoint("s", "later", b"state")
    store.save_checkpoint("s", "soon", b"state")
    soon = f"curves/sweep=s/part-soon-{'0' * 16}.parquet"
    kept = ["curves/sweep=s/part-later.parquet", soon, "curves/sweep=s/part-young.parquet"]
    sound = next((out / "curves" / "sweep=s").glob("part-0-*")).read_bytes()
    for name in (*orphans, *kept):
        store.put(name, sound)
        if "young" not in name:
            os.utime(out / name, (time.time() - 4000,) * 2)
    with store.lease("s"):
        assert compact(store, grace_s=0).n_orphans == 1, "somebody drives the sweep: only half a file goes"
    assert compact(store, grace_s=0).n_orphans == 2
    assert not any((out / name).exists() for name in orphans)
    assert all((out / name).exists() for name in kept)
    assert len(list(out.glob("weights/*/*"))) == 1
    assert timedelta(hours=1) <= compaction.SAFE_AGE


def test_a_damaged_part_is_set_aside_and_the_rest_is_merged(store: Store, tmp_path: Path) -> None:
    (victim,) = (tmp_path / "out" / "curves" / "sweep=s").glob("part-2-*")
    victim.write_bytes(victim.read_bytes()[:-20])
    done = compact(store, grace_s=0)
    assert done.damaged == (f"curves/sweep=s/{victim.name}",)
    assert (tmp_path / "out" / "quarantine" / "curves" / "sweep=s" / victim.name).exists()
    assert set(store.index().statuses) == {config(seed).trial_id for seed in (0, 1, 2, 3, 6, 7, 8, 9, 99)}
    assert {row["pack_id"] for row in shown(store.root)["curves"]} == {"0", "1", "3", "4", "bad"}
    commit(store, "2", [4, 5])
    assert len(store.index().statuses) == 11
    assert len(shown(store.root)["curves"]) == 22


def test_the_verb(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", store.root, "--grace-s", "0"]) == 0
    said = capsys.readouterr()
    assert said.out == "15 parts merged into 3\n15 replaced parts removed\n"
    assert said.err == "15 parts are replaced; they go in 0 s, when readers have moved on\n"
    assert main(["compact", store.root]) == 0
    assert capsys.readouterr().out == "nothing to merge\n"
    assert main(["compact", f"{store.root}/trials"]) == 2


@pytest.fixture
def s3_store() -> Iterator[Store]:
    """A root on a real S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.get_host_and_port()[1]}"
    pafs.FileSystem.from_uri(f"s3://key:secret@compact?{options}&allow_bucket_creation=true")[0].create_dir("compact")
    yield Store.create(f"s3://key:secret@compact/results?{options}")
    server.stop()


def test_on_s3(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3_store.root.replace("***", "key:secret")
    for i in range(3):
        commit(s3_store, f"{i}", [i])
    before = shown(uri)
    n_before = len(s3_store.names("trials", ".parquet"))
    assert compact(s3_store, grace_s=0).n_removed == 9
    assert (n_before, len(s3_store.names("trials", ".parquet"))) == (3, 1)
    assert shown(uri) == before
    assert len(s3_store.index().statuses) == 3
