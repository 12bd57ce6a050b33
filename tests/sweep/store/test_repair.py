"""Parts that are damaged in every way are found, set aside with their pack's commit, and trained again."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_packs import commit, config
from rich.console import Console

from monosweep.analysis.tables.root import open_root
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.repair import set_aside_damaged
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import TABLES

Rows = Callable[..., list[dict[str, Any]]]
_BASE = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 0.125, "batch_size": 64, "n_steps": 64}


def flipped(place: float) -> Callable[[bytes], bytes]:
    """One bit is the other way round, at this share of the file."""

    def flip(data: bytes) -> bytes:
        at = int(place * len(data))
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    return flip


def in_a_page(data: bytes) -> bytes:
    """One bit of the first column's values is the other way round; a page's header has bits that nobody reads."""
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    return flipped((start + column.total_compressed_size - 1) / len(data))(data)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "stump": lambda data: data[:7],
    "half": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "a bit of a page": in_a_page,
    "a bit of the footer": flipped(0.9),
    "nulls": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("table", TABLES)
def test_damage_is_found_left_out_and_set_aside(tmp_path: Path, table: str, damage: str) -> None:
    store, said = Store.create(str(tmp_path)), list[str]()
    for i in range(2):
        commit(store, f"{i}", [i])
    (victim,) = (tmp_path / table / "sweep=s").glob("part-1-*")
    victim.write_bytes(DAMAGE[damage](victim.read_bytes()))
    root = open_root(str(tmp_path), said.append)
    assert root.sql(f"select distinct pack_id from {table}").to_pylist() == [{"pack_id": "0"}]
    assert [line.split(",")[0] for line in said] == [f"left out {table}/sweep=s/{victim.name}"]
    assert list(set_aside_damaged(store, "s")) == [f"{table}/sweep=s/{victim.name}"]
    assert set(store.index().statuses) == {config(0).trial_id}
    assert (tmp_path / "quarantine" / table / "sweep=s" / victim.name).exists()
    assert set_aside_damaged(store, "s") == {}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_merged_part_takes_its_own_packs_along_only(tmp_path: Path, table: str, damage: str) -> None:
    store = Store.create(str(tmp_path))
    for i in range(2):
        commit(store, f"{i}", [i])
    compact(store, grace_s=0)
    (victim,) = (tmp_path / table).glob("*/part-merged-*")
    commit(store, "2", [2])
    victim.write_bytes(DAMAGE[damage](victim.read_bytes()))
    said: list[str] = []
    root = open_root(str(tmp_path), said.append)
    # Of a merged part those pages are checked that a query needs.
    assert {row["pack_id"] for row in root.sql(f"select * from {table}").to_pylist()} == {"2"}
    assert len(said) == 1
    assert len(set_aside_damaged(store, "s")) == 1
    assert set(store.index().statuses) == {config(2).trial_id}
    for i in range(2):
        commit(store, f"{i}", [i])
    for name, rows in (("trials", 3), ("curves", 6), ("neurons", 9)):
        assert root.sql(f"select * from {name}").num_rows == rows


def test_the_other_packs_of_a_merged_part_keep_their_rows(tmp_path: Path) -> None:
    """All trials are merged; then one pack's curves are damaged."""
    store = Store.create(str(tmp_path))
    for i in range(3):
        commit(store, f"{i}", [i])
    curves = {path: path.read_bytes() for path in (tmp_path / "curves" / "sweep=s").iterdir()}
    compact(store, grace_s=0)
    for path in (tmp_path / "curves" / "sweep=s").iterdir():
        path.unlink()
    for path, data in curves.items():
        path.write_bytes(flipped(0.02)(data) if path.name.startswith("part-1-") else data)
    set_aside_damaged(store, "s")
    assert set(store.index().statuses) == {config(0).trial_id, config(2).trial_id}
    assert store.index().n_hidden == 0


def test_only_the_members_without_their_curves_are_lost(tmp_path: Path) -> None:
    """Two of a pack were committed first, one later; the latter's curves are damaged."""
    store = Store.create(str(tmp_path))
    commit(store, "p", [0, 1])
    commit(store, "p", [2])
    victim = max((tmp_path / "curves" / "sweep=s").iterdir(), key=lambda path: -path.stat().st_size)
    victim.write_bytes(flipped(0.02)(victim.read_bytes()))
    set_aside_damaged(store, "s")
    assert set(store.pack_rows("s", "p")) == {config(0).trial_id, config(1).trial_id}


def test_a_launch_says_so_and_trains_again(tmp_path: Path, rows: Rows) -> None:
    spec = SweepSpec(name="s", base=_BASE, space=[{"lr": {"grid": [0.01, 0.1]}}], repeats=2, pack_size=2)

    def launched() -> tuple[int, str]:
        said = io.StringIO()
        options = LaunchOptions(executor="inline", device="cpu")
        return launch(spec, str(tmp_path), options, Console(file=said, width=300)).trained, said.getvalue()

    launched()
    before = [rows(tmp_path, table) for table in TABLES]
    victim = sorted(tmp_path.glob("neurons/*/*"))[0]
    victim.write_bytes(flipped(0.02)(victim.read_bytes()))
    trained, said = launched()
    assert trained == 2
    assert f"neurons/sweep=s/{victim.name} cannot be read; its trials count as missing (its pages do not have" in said
    assert [rows(tmp_path, table) for table in TABLES] == before
