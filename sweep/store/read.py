"""Reading the parts of a results root, single and merged, whatever happens to them meanwhile.

    Store.index, trial_row, curve_rows -> read() / holding() -> Storage + sweep.parts

A part may be merged away between listing and reading: then the listing is taken again.  A part is damaged if its
checksums say so, and then named and left out.  One that cannot be read says nothing, and ends the reading.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monosweep.sweep.store.files import DamagedError, GoneError, Storage, one_line
from monosweep.sweep.store.names import from_path, in_path
from monosweep.sweep.store.parts import (
    columns_in,
    current,
    damage,
    damaged_tail,
    is_merged,
    pack_of,
    tail_bytes,
    unit_in,
    units_of,
)
from monosweep.sweep.store.retrying import pauses
from monosweep.sweep.store.schema import ASKED

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the parts of one table hold, each unit once."""

    parts: dict[str, pa.Table]
    """Rows by part."""
    damaged: dict[str, str]
    """Why, by part that cannot be read."""


def steady(storage: Storage, action: Callable[[], T]) -> T:
    """`action()`, again while parts go under it, with patience.

    Raises:
        StoreError: of the first part that cannot be read, or that keeps being listed and is not there.
    """
    deadline = time.monotonic() + storage.patience_s
    for pause_s in pauses():
        try:
            return action()
        except GoneError:
            if time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
    raise AssertionError("pauses never end")


def read(storage: Storage, table: str, columns: Sequence[str] | None = None, sweep: str | None = None) -> Reading:
    """These columns and `pack_id` (or all) of the parts of `table`, of one sweep or the whole root.

    `asked` has no packs; its rows may repeat while parts of it are merged.

    Raises:
        StoreError: if a part cannot be read.
    """
    key = [] if table == ASKED else ["pack_id"]
    wanted = None if columns is None else [*dict.fromkeys([*columns, *key])]
    return steady(storage, lambda: _read(storage, table, wanted, sweep))


def _read(storage: Storage, table: str, columns: Sequence[str] | None, sweep: str | None) -> Reading:
    damaged: dict[str, str] = {}
    while True:
        shown, nameless = shown_parts(storage, table, sweep, damaged)
        rows = dict(storage.get_many(list(shown), lambda name, data: (name, _there(storage, name, data, columns))))
        bad = {name: reason for name, reason in rows.items() if isinstance(reason, str)}
        damaged |= nameless | bad
        if not any(is_merged(name) for name in bad):  # else what it replaced may still be there
            parts = {name: without(t, shown[name]) for name, t in rows.items() if not isinstance(t, str)}
            return Reading(parts=parts, damaged=damaged)


def _there(storage: Storage, name: str, data: bytes | None, columns: Sequence[str] | None) -> pa.Table | str:
    if data is None:
        raise GoneError(f"cannot read {storage.path(name)}: it is not there")
    return _rows(data, columns)


def read_part(storage: Storage, name: str, data: bytes | None = None) -> pa.Table:
    """All rows of one part, whose bytes may be at hand; DamagedError if it is damaged."""
    rows = _rows(storage.get(name) if data is None else data, None)
    if isinstance(rows, str):
        raise DamagedError(f"cannot read {storage.path(name)}: {rows}; launch again to replace it")
    return rows


def shown_parts(
    storage: Storage, table: str, sweep: str | None = None, spoilt: Collection[str] = ()
) -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """The parts that show anything with the packs that others show, and the merged parts that name none.

    `spoilt` parts are taken to be absent.
    """
    return shown_of(storage, [name for name in listed(storage, table, sweep) if name not in spoilt])


def shown_of(storage: Storage, names: Sequence[str]) -> tuple[dict[str, frozenset[str]], dict[str, str]]:
    """As `shown_parts`, of these parts alone."""
    named = {name: _units(storage, name) for name in names if is_merged(name)}
    damaged = {name: units for name, units in named.items() if isinstance(units, str)}
    folders: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
    for name in names:
        units = named.get(name, frozenset([unit_in(name)]))
        if not isinstance(units, str):
            folders[name.rsplit("/", 1)[0]][name] = units
    return {name: packs for folder in folders.values() for name, packs in current(folder).items()}, damaged


def listed(storage: Storage, table: str, sweep: str | None = None) -> list[str]:
    """Names of the parts of `table`.

    A single part that the listing has missed was merged before it went: a second look finds the merged one.
    """
    folder = table if sweep is None else f"{table}/sweep={in_path(sweep)}"
    found = _listed(storage, folder)
    if storage.local:  # an object store lists in order, and `merged` comes after any pack's digits
        found |= {name for name in _listed(storage, folder) if is_merged(name)}
    return sorted(found)


def holding(storage: Storage, table: str, pack_id: str, sweep: str | None = None) -> list[str]:
    """The parts of `table` that show something of a pack, and whose trials are committed."""
    found = _holding(storage, table, pack_id, sweep)
    if table == "trials":
        return found
    committed = {
        (sweep_of(name), unit)
        for name in _holding(storage, "trials", pack_id, sweep)
        for unit in units_in(storage, name)
    }
    return [name for name in found if not committed.isdisjoint((sweep_of(name), u) for u in units_in(storage, name))]


def _holding(storage: Storage, table: str, pack_id: str, sweep: str | None) -> list[str]:
    names = listed(storage, table, sweep)
    shown, _ = shown_of(storage, [n for n in names if is_merged(n) or pack_of(unit_in(n)) == pack_id])
    return [n for n, elsewhere in shown.items() if pack_id in packs_in(storage, n) - elsewhere]


def units_in(storage: Storage, name: str) -> frozenset[str]:
    """The units in a part; none if it cannot say."""
    units = _units(storage, name) if is_merged(name) else frozenset([unit_in(name)])
    return frozenset() if isinstance(units, str) else units


def packs_in(storage: Storage, name: str) -> frozenset[str]:
    """The packs in a part; none if it cannot say."""
    return frozenset(map(pack_of, units_in(storage, name)))


def sweep_of(name: str) -> str:
    """The sweep of a part, a file of weights or a checkpoint, from its name."""
    return from_path(name.split("/")[-2].removeprefix("sweep="))


def without(rows: pa.Table, packs: frozenset[str]) -> pa.Table:
    """The rows of other packs than these; all of rows that have no pack."""
    if not packs or "pack_id" not in rows.column_names:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["pack_id"], value_set=pa.array(sorted(packs)))))


def _listed(storage: Storage, folder: str) -> set[str]:
    names = storage.names(folder, ".parquet")
    return {name for name in names if name.rsplit("/", 1)[-1].startswith("part-")}


def _units(storage: Storage, name: str) -> frozenset[str] | str:
    """The units in a merged part, or how it is damaged."""
    return storage.use(name, lambda file: _named(name, file))


def _named(name: str, file: pa.NativeFile) -> frozenset[str] | str:
    size = file.size()
    if size < 32:
        return f"it has {size} bytes"
    length = tail_bytes(file.read_at(8, size - 8))
    if length > size:
        return "its end is damaged"
    if reason := damaged_tail(file.read_at(length, size - length)):
        return reason
    return units_of(name, pq.read_metadata(file).metadata)


def _rows(data: bytes, columns: Sequence[str] | None) -> pa.Table | str:
    """The rows in a part's bytes, or why there are none."""
    if columns_in(data) is not None and (reason := damage(data)):
        return reason
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as part:
            return part.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return one_line(error)
