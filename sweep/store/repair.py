"""Damaged parts are set aside below quarantine/, not deleted, and their trials count as missing.

    launch -> set_aside_damaged -> Store.index -> trained again
           -> clear_half_written: what writers left that were killed

Only a checksum says damaged, twice: a part that cannot be read ends the launch and stays where it is.

Without its curves or neurons a unit (`sweep.store.parts`) is not whole: its rows of `trials` go too, before the damaged
part does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from monosweep.sweep.store import lease as leases
from monosweep.sweep.store.families import FOLDER as FAMILIES
from monosweep.sweep.store.families import known_tables
from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.lease import LeaseError
from monosweep.sweep.store.local import is_orphan
from monosweep.sweep.store.marker import NO_TABLES
from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.parts import columns_in, damage, is_merged, merged_name, pack_of, parquet
from monosweep.sweep.store.read import listed, read_part, shown_parts, sweep_of, units_in, without
from monosweep.sweep.store.schema import ASKED

FOLDER = "quarantine"
_LEAST_BYTES = 12
_LEASE = ".compact"


@contextmanager
def alone(storage: Storage) -> Iterator[None]:
    """Nobody else merges, removes or sets aside parts of this root.

    Raises:
        LeaseError: if somebody does.
    """
    try:
        with leases.held(storage, _LEASE):
            yield
    except LeaseError as error:
        was = f"one driver at a time trains a sweep; {_LEASE!r} is being driven"
        now = f"one compaction at a time; one is at work in {storage.root}"
        raise LeaseError(str(error).replace(was, now)) from None


def set_aside_damaged(storage: Storage, sweep: str) -> dict[str, str]:
    """Set aside every damaged part of a sweep; returns why, by name.

    On this machine each part is read whole.  Elsewhere the storage keeps its own checksums: `trials` is read,
    and of the others only their sizes; what a reader or `monosweep compact` finds there, the latter sets aside.

    Raises:
        LeaseError: if there is damage while a compaction is at work.
    """
    tables = (*known_tables(storage), ASKED)
    damaged = {name: reason for table in tables for name, reason in _damaged(storage, table, sweep)}
    if not damaged:
        return {}
    with alone(storage):
        return set_aside(storage, damaged)


def set_aside(storage: Storage, damaged: Collection[str]) -> dict[str, str]:
    """Move damaged parts away, and with them the commits of the units that are not whole without them; returns why,
    by name.  Each is read once more: a storage that has given wrong bytes once is not believed."""
    again = dict(storage.get_many(list(damaged), lambda name, data: (name, None if data is None else _why(name, data))))
    still = {name: str(why) for name, why in again.items() if why}
    for sweep, units in _lost(storage, still).items():
        _uncommit(storage, sweep, units)
    for name in still:
        storage.move(name, f"{FOLDER}/{name}")
    return still


def _why(name: str, data: bytes) -> str | None:
    return damage(data) or ("it has no seal" if is_merged(name) and columns_in(data) is None else None)


def clear_half_written(storage: Storage, sweep: str) -> None:
    """Remove the files of a sweep that processes of this machine were writing when they were killed."""
    if not storage.local:  # an upload that is not ended is no file
        return
    found = [name for name in storage.entries() if is_orphan(name)]
    of_sweep = (f"{table}/sweep={in_path(sweep)}" for table in (*known_tables(storage), *NO_TABLES))
    for folder in ("sweeps", FAMILIES, *of_sweep):
        found += [name for info in storage.infos(folder) if is_orphan(name := storage.name_of(info))]
    storage.remove_many(found)


def _damaged(storage: Storage, table: str, sweep: str) -> Iterator[tuple[str, str]]:
    names = listed(storage, table, sweep)
    if storage.local or table == "trials":
        reasons = storage.get_many(names, lambda name, data: None if data is None else damage(data))
        yield from ((name, why) for name, why in zip(names, reasons, strict=True) if why)
        return
    for info in storage.infos(f"{table}/sweep={in_path(sweep)}"):
        if info.size < _LEAST_BYTES and storage.name_of(info) in names:
            yield storage.name_of(info), f"it has {info.size} bytes"


def _lost(storage: Storage, damaged: Collection[str]) -> dict[str, set[str]]:
    """Sweep -> the units whose curves or neurons stand in no sound part."""
    lost = defaultdict[str, set[str]](set)
    for name in damaged:
        table, sweep = name.split("/")[0], sweep_of(name)
        if table not in ("trials", ASKED):
            sound = _held(storage, table, sweep, damaged)
            # A merged part that does not even name its units held all that nobody else holds.
            held = units_in(storage, name) or _held(storage, "trials", sweep, damaged)
            lost[sweep] |= held - sound
    return lost


def _held(storage: Storage, table: str, sweep: str, damaged: Collection[str]) -> set[str]:
    shown, _ = shown_parts(storage, table, sweep, damaged)
    return {unit for name in shown for unit in units_in(storage, name)}


def _uncommit(storage: Storage, sweep: str, units: set[str]) -> None:
    """Move what commits these units; other packs of a merged part stay, in a part that shows them from then on."""
    for name in listed(storage, "trials", sweep):
        held = units_in(storage, name)
        if not held & units:
            continue
        packs = frozenset(map(pack_of, held & units))
        if is_merged(name) and (rest := {unit for unit in held if pack_of(unit) not in packs}):
            rows = without(read_part(storage, name), packs)
            storage.put(merged_name("trials", sweep, rest), parquet(rows, rest))
        storage.move(name, f"{FOLDER}/{name}")
