"""What was asked for: one row per sweep and trial, in parts like any other."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from made_packs import config

from monosweep.sweep.store import compact as compaction
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.read import listed
from monosweep.sweep.store.repair import set_aside_damaged
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import arrow_schema
from monosweep.sweep.view.lines import status_lines
from monosweep.sweep.view.status import read_status


def ids(*seeds: int) -> set[str]:
    return {config(seed).trial_id for seed in seeds}


def test_a_trial_is_asked_for_once_in_each_sweep(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    assert store.asked("a/b").trial_ids == ids()
    store.ask("a/b", [config(0), config(1)])
    store.ask("a/b", [config(1), config(2)])
    store.ask("a/b", [config(0)])
    store.ask("a-b", [config(0)])
    assert store.asked("a/b").trial_ids == ids(0, 1, 2)
    assert store.asked("a-b").trial_ids == ids(0)
    assert sorted(store.asked_configs("a/b").values(), key=lambda c: c.seed) == [config(i) for i in range(3)]
    tables = [pq.read_table(path) for path in tmp_path.glob("asked/sweep=a.b/part-*.parquet")]
    assert sorted(table.num_rows for table in tables) == [1, 2]
    for path in tmp_path.glob("asked/sweep=a.b/part-*.parquet"):
        assert pq.read_schema(path).names == arrow_schema("asked").names == ["trial_id", "config", "asked_at"]
    assert store.index().statuses == {}


def test_its_parts_are_merged(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    for seed in range(4):
        store.ask("s", [config(seed)])
    before = store.asked_configs("s")
    done = compact(store, grace_s=0)
    assert (done.n_merged, done.n_into, done.n_removed) == (4, 1, 4)
    assert store.asked_configs("s") == before
    store.ask("s", [config(0), config(4)])
    assert compact(store, grace_s=0).n_merged == 2
    assert store.asked("s").trial_ids == ids(*range(5))


def test_compactions_that_overlap_leave_each_trial_once(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    for seed in range(4):
        store.ask("s", [config(seed)])
    names = listed(store, "asked")
    for some in (names[:3], names[1:]):
        assert list(compaction._merge(store, "asked", dict.fromkeys(some, frozenset()), {})) == [len(some)]
    compact(store, grace_s=0)
    (part,) = tmp_path.glob("asked/sweep=s/part-*.parquet")
    assert sorted(pq.ParquetFile(part).read()["trial_id"].to_pylist()) == sorted(ids(*range(4)))


def test_a_damaged_part_is_named_and_takes_no_rows_along(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    store.ask("s", [config(0)])
    store.ask("s", [config(1)])
    victim = tmp_path / listed(store, "asked")[0]
    victim.write_bytes(victim.read_bytes()[:50])
    assert store.asked("s").unreadable == (f"asked/sweep=s/{victim.name}",)
    assert len(store.asked("s").trial_ids) == 1
    store.write_spec("s", "{}")
    assert list(status_lines(read_status(store.root)))[-1].startswith(f"asked/sweep=s/{victim.name} cannot be read")
    assert list(set_aside_damaged(store, "s")) == [f"asked/sweep=s/{victim.name}"]
    assert store.asked("s").unreadable == ()
