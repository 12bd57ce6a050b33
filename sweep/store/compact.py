"""`monosweep compact`: many small parts become few large ones, while sweeps train and readers read.

    parts of settled units -> merge -> part-merged-….parquet -> wait -> remove what it shows

Protocol, for each table and sweep by itself:

1. Only *settled* units are merged (`sweep.store.parts`): committed, all rows completed or diverged.  They are never
   trained again, so nobody writes their parts any more; failed and stopped trials keep their own parts.  All that
   is there of a pack goes into one merged part, so that two of them hold nested or separate sets of it.
2. Each part is read whole and held against its seal.  A damaged one is set aside (`sweep.store.repair`).
3. The merged part is written at once, under a name made of its units, which its footer names.  In this moment,
   and no other, readers pass from the old parts to it (`sweep.store.parts.current`): a unit is shown from one part.
4. It is read back; then, after a grace time for readers that listed before 3, what no longer shows anything is
   removed.  A reader that finds a part gone lists again, and finds the merged one.

Killed anywhere, this leaves a correct root: before 3 nothing has happened, after it only files too many, which
the next compaction removes.  Nothing is removed but what a whole part shows.  One compaction works at a time (a
lease); two that overlap nevertheless may both merge a unit, and it is still shown once.

It also removes what was left behind by packs that were given up: rows of other tables and weights without a commit,
and files half written, once they are an hour old and nobody drives their sweep.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from monosweep.model.records import TrialStatus
from monosweep.sweep.store.families import known_tables
from monosweep.sweep.store.files import StoreError
from monosweep.sweep.store.local import is_temporary
from monosweep.sweep.store.marker import NO_TABLES
from monosweep.sweep.store.parts import (
    Beaten,
    Standing,
    beaten,
    damage,
    holder_of,
    is_merged,
    merged_name,
    pack_of,
    parquet,
    unit_in,
)
from monosweep.sweep.store.read import listed, read, read_part, shown_of, shown_parts, sweep_of, units_in, without
from monosweep.sweep.store.repair import alone, set_aside
from monosweep.sweep.store.root import LeaseError, Store
from monosweep.sweep.store.schema import ASKED

GRACE_S = 10.0
"""How long a replaced part stays for readers that know nothing of its replacement yet."""
LARGEST_BYTES = 64 * 2**20
"""Parts are merged up to about this size; memory peaks at some ten times as much."""
SAFE_AGE = timedelta(hours=1)
"""What nobody has committed for so long, and whose sweep nobody drives, was given up."""
_SETTLED = pa.array([str(TrialStatus.COMPLETED), str(TrialStatus.DIVERGED), str(TrialStatus.STOPPED)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Compacted:
    """What a compaction has done."""

    n_merged: int
    """Parts that were merged."""
    n_into: int
    """Parts that they became."""
    n_removed: int
    """Replaced parts that were removed; those of an interrupted compaction count too."""
    n_orphans: int
    """Files of packs that were given up, and files half written, that were removed."""
    damaged: tuple[str, ...]
    """Parts that cannot be read, now in quarantine unless their sweep is being driven."""


def compact(store: Store, grace_s: float = GRACE_S, say: Callable[[str], None] = lambda line: None) -> Compacted:
    """Merge the parts of all sweeps of a results root; `say` is told what takes long.

    Raises:
        LeaseError: if another compaction is at work.
        StoreError: if the results root fails; it is whole then, and compacting again goes on.
    """
    with alone(store):
        store.upgrade()
        tables = (*known_tables(store), ASKED)
        damaged = {name: why for table in tables for name, why in read(store, table, ["trial_id"]).damaged.items()}
        merged = list(_merge_all(store))
        n_replaced = sum(len(_replaced(store, table)) for table in tables)
        if n_replaced:
            say(f"{n_replaced:,} parts are replaced; they go in {grace_s:g} s, when readers have moved on")
            time.sleep(grace_s)
        removed = [name for table in tables for name in _replaced(store, table)]
        store.remove_many(removed)
        for sweep in {sweep_of(name) for name in damaged}:
            with _undriven(store, sweep) as free:
                if free:
                    set_aside(store, {name: why for name, why in damaged.items() if sweep_of(name) == sweep})
        known = not any(name.startswith("trials/") for name in damaged)
        orphans = list(_remove_orphans(store)) if known else []
    return Compacted(
        n_merged=sum(merged), n_into=len(merged), n_removed=len(removed), n_orphans=len(orphans),
        damaged=tuple(sorted(damaged)),
    )  # fmt: skip


def _merge_all(store: Store) -> Iterator[int]:
    """Merges group after group; yields how many parts went into each."""
    settled, lost = _settled(store), _beaten(store)
    for table in (*reversed(known_tables(store)), ASKED):  # `trials` last: they tell what overlaps in the others
        shown, _ = shown_parts(store, table)
        for group in _groups(store, table, shown, _every_unit(shown) if table == ASKED else settled):
            if len(group) > 1:
                yield from _merge(store, table, group, lost if table != ASKED else {})


def _settled(store: Store) -> dict[str, set[str]]:
    """Sweep -> its units whose trials are never trained again."""
    units = defaultdict[str, set[str]](set)
    for name, rows in read(store, "trials", ["status"]).parts.items():
        if pc.all(pc.is_in(rows["status"], value_set=_SETTLED), min_count=0).as_py():
            units[sweep_of(name)] |= units_in(store, name)
    return dict(units)


def _beaten(store: Store) -> Beaten:
    """What units do not show of their members, because others of the pack do."""
    parts = read(store, "trials", ["trial_id", "status", "finished_at"]).parts
    packs = Counter((sweep_of(name), pack) for name in parts for pack in {*map(pack_of, units_in(store, name))})
    several = pa.array(sorted({pack for (_, pack), count in packs.items() if count > 1}), pa.string())
    return beaten(
        Standing(sweep_of(name), holder_of(name), **row)
        for name, rows in parts.items()
        for row in rows.filter(pc.is_in(rows["pack_id"], value_set=several)).to_pylist()
    )


def _every_unit(parts: Iterable[str]) -> dict[str, set[str]]:
    """As `_settled`, of parts that are never written again."""
    units = defaultdict[str, set[str]](set)
    for name in parts:
        units[sweep_of(name)].add(unit_in(name))
    return dict(units)


def _groups(
    store: Store, table: str, shown: Mapping[str, frozenset[str]], settled: Mapping[str, set[str]]
) -> Iterator[dict[str, frozenset[str]]]:
    """Parts of one sweep that together have about the largest size, with the packs to leave out of each."""
    sizes = {store.name_of(info): info.size for info in store.infos(table)}
    tangled = {name for _, names in _twice(store, shown) for name in names}
    for sweep in sorted({*map(sweep_of, tangled)}):
        yield {name: shown[name] for name in sorted(tangled) if sweep_of(name) == sweep}
    group: dict[str, frozenset[str]] = {}
    for name in sorted(shown.keys() - tangled, key=lambda name: (sweep_of(name), not is_merged(name), name)):
        small = sizes.get(name, LARGEST_BYTES) < LARGEST_BYTES / 2
        if not small or not (is_merged(name) or unit_in(name) in settled.get(sweep_of(name), ())):
            continue
        full = sum(sizes[other] for other in group) + sizes[name] > LARGEST_BYTES and not _same_pack(name, group)
        if group and (full or sweep_of(name) != sweep_of(next(iter(group)))):
            yield group
            group = {}
        group[name] = shown[name]
    yield group


def _twice(store: Store, shown: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, list[str]]]:
    """Packs of which several parts show the same unit, and those parts; a compaction that lost its lease left them."""
    holders = defaultdict[tuple[str, str], list[str]](list)
    for name, elsewhere in shown.items():
        for unit in units_in(store, name):
            if pack_of(unit) not in elsewhere:
                holders[sweep_of(name), unit].append(name)
    return ((pack_of(unit), names) for (_, unit), names in holders.items() if len(names) > 1)


def _same_pack(name: str, group: dict[str, frozenset[str]]) -> bool:
    """Whether a single part is of the pack of the last one."""
    last = next(reversed(group), "")
    return pack_of(unit_in(name)) == pack_of(unit_in(last))


def _merge(store: Store, table: str, group: Mapping[str, frozenset[str]], lost: Beaten) -> Iterator[int]:
    """Write the merged parts of a group, and read them back; yields how many parts are in each.

    A pack of which a part is gone or damaged is left as it is.  Parts of families that call different things by one
    name stay apart.
    """
    read = dict(store.get_many(list(group), lambda name, data: (name, data)))
    sound = {name: data for name, data in read.items() if data is not None and damage(data) is None}
    broken = {pack_of(unit_in(name)) for name in read.keys() - sound.keys() if not is_merged(name)}
    sound = {name: data for name, data in sound.items() if is_merged(name) or pack_of(unit_in(name)) not in broken}
    rows = {name: without(read_part(store, name, data), group[name]) for name, data in sound.items()}
    rows = {name: _but(table, lost.get((sweep_of(name), holder_of(name)), frozenset())) for name, table in rows.items()}
    for alike in _alike(rows):
        if len(alike) > 1:
            units = {unit for name in alike for unit in units_in(store, name) if pack_of(unit) not in group[name]}
            twice = {pack for pack, _ in _twice(store, {name: group[name] for name in alike})}
            merged = _stacked([*_each_once((rows[name] for name in alike), twice)])
            _put(store, merged_name(table, sweep_of(alike[0]), units), parquet(_whole(table, merged), units))
            yield len(alike)


def _but(rows: pa.Table, members: frozenset[tuple[str, str]]) -> pa.Table:
    """Without those of some members (pack_id, trial_id)."""
    if not members:
        return rows
    pairs = zip(rows["pack_id"].to_pylist(), rows["trial_id"].to_pylist(), strict=True)
    return rows.filter(pa.array([pair not in members for pair in pairs], pa.bool_()))


def _each_once(tables: Iterable[pa.Table], packs: Collection[str]) -> Iterator[pa.Table]:
    """Each member of some packs in the first of the tables alone."""
    seen: frozenset[tuple[str, str]] = frozenset()
    for rows in tables:
        yield _but(rows, seen)
        if not packs:
            continue
        held = zip(rows["pack_id"].to_pylist(), rows["trial_id"].to_pylist(), strict=True)
        seen |= {member for member in held if member[0] in packs}


def _alike(rows: Mapping[str, pa.Table]) -> list[list[str]]:
    """Parts that can be one: of no name do two of them have columns of different types.  SQL takes upper and lower
    case for the same, so names that differ in nothing else are not put side by side either."""
    found: list[tuple[dict[str, pa.Field], list[str]]] = []
    for name, table in rows.items():
        columns = {field.name.lower(): field.with_nullable(True).remove_metadata() for field in table.schema}
        for known, names in found:
            if all(known.get(column, field) == field for column, field in columns.items()):
                known.update(columns)
                names.append(name)
                break
        else:
            found.append((columns, [name]))
    return [names for _, names in found]


def _whole(table: str, merged: pa.Table) -> pa.Table:
    return _once_each(merged) if table == ASKED else merged


def _put(store: Store, name: str, data: bytes) -> None:
    store.put(name, data)
    if reason := damage(store.get(name)):
        raise StoreError(f"cannot write {store.path(name)}: what was read back is not what was written ({reason})")


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows; a column that only some versions have is null in the others' rows."""
    common = set.intersection(*(set(table.column_names) for table in tables))

    def fitting(table: pa.Table) -> pa.Table:
        fields = [field if field.name in common else field.with_nullable(True) for field in table.schema]
        return table.cast(pa.schema(fields, metadata=table.schema.metadata))

    return pa.concat_tables([fitting(table) for table in tables], promote_options="default")


def _once_each(rows: pa.Table) -> pa.Table:
    """The first row of each trial."""
    ids = rows["trial_id"].to_pylist()
    first = dict(zip(reversed(ids), range(len(ids) - 1, -1, -1), strict=True))
    return rows.take(sorted(first.values()))


def _replaced(store: Store, table: str) -> list[str]:
    """The parts that show nothing any more, as far as what shows their packs is whole."""
    # One listing for both: a part that is committed in between would seem to be replaced.
    names = listed(store, table)
    shown, nameless = shown_of(store, names)
    if len(shown) + len(nameless) == len(names):
        return []
    broken = {name for name in shown if is_merged(name) and damage(store.get(name))}
    whole, _ = shown_of(store, [name for name in names if name not in broken])
    return [name for name in names if name not in {*whole, *shown, *nameless}]


def _remove_orphans(store: Store) -> Iterator[str]:
    """Removes what packs left that were given up, and files half written; yields their names."""
    half_written = list(_half_written(store))
    store.remove_many(half_written)
    yield from half_written
    for sweep in sorted({sweep_of(name) for name in _uncommitted(store)}):
        with _undriven(store, sweep) as free:
            # Looked up again: only now nobody can commit.
            orphans = [name for name in _uncommitted(store) if free and sweep_of(name) == sweep]
            store.remove_many(orphans)
        yield from orphans


def _uncommitted(store: Store) -> list[str]:
    """Rows of units but for `trials`, and weights of packs, without a commit or checkpoint, an hour old."""
    saved = {sweep: set(store.list_checkpoints(sweep)) for sweep in store.sweeps()}
    units = defaultdict[str, set[str]](set)
    for name in shown_parts(store, "trials")[0]:
        units[sweep_of(name)] |= units_in(store, name)
    packs = {sweep: {pack_of(unit) for unit in of_sweep} for sweep, of_sweep in units.items()}
    owned = {**dict.fromkeys(known_tables(store)[1:], units), "weights": packs}
    return [
        name
        for folder, owners in owned.items()
        for name in _aged(store, folder)
        if (sweep := sweep_of(name)) in saved.keys() | units.keys() and _is_single(name)
        and not {_owner(name), pack_of(_owner(name))} & saved.get(sweep, set())
        and _owner(name) not in owners.get(sweep, ())
    ]  # fmt: skip


def _owner(name: str) -> str:
    """The unit of a single part, or the pack of a file of weights."""
    return unit_in(name).split("-step")[0]


def _is_single(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith("part-") and not is_merged(name)


@contextmanager
def _undriven(store: Store, sweep: str) -> Iterator[bool]:
    """Nobody drives the sweep while this block lasts; False if somebody does already."""
    try:
        with store.lease(sweep):
            yield True
    except LeaseError:
        yield False


def _half_written(store: Store) -> Iterator[str]:
    for folder in (*known_tables(store), *NO_TABLES):
        yield from (name for name in _aged(store, folder) if is_temporary(name))


def _aged(store: Store, folder: str) -> list[str]:
    before = datetime.now(UTC) - SAFE_AGE
    return [store.name_of(info) for info in store.infos(folder) if info.mtime < before]
