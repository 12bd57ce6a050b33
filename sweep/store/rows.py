"""What the rows of a root say of its trials: how each stands, and one trial's row and curve.  Reads only.

Store.index, pack_rows, trial_row, curve_rows -> sweep.store.read -> parts
"""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store import read
from monosweep.sweep.store.files import DamagedError, Storage, StoreError
from monosweep.sweep.store.parts import PREFERENCE, holder_of
from monosweep.sweep.store.schema import config_in

_SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What the `trials` parts of a root hold."""

    statuses: dict[str, TrialStatus]
    """The shown status of each trial_id."""
    n_hidden: int
    """Rows that the views hide because their trial is shown from another pack."""
    unreadable: tuple[str, ...]
    """Damaged parts, as paths below the root; their trials count as missing."""


def index(storage: Storage) -> Index:
    """Every trial of the root and its shown status; reads two columns of the `trials` parts."""
    found = read.read(storage, "trials", ["trial_id", "status"])
    bad = tuple(sorted(found.damaged))
    if not found.parts:
        return Index(statuses={}, n_hidden=0, unreadable=bad)
    tables = [table.select(["trial_id", "status"]) for table in found.parts.values()]
    rows = pa.concat_tables(tables, promote_options="default")
    statuses = _shown_statuses(rows)
    return Index(statuses=statuses, n_hidden=rows.num_rows - len(statuses), unreadable=bad)


def trained_configs(storage: Storage, sweep: str) -> list[TrialConfig]:
    """The configs of the rows that `sweep` has trained."""
    parts = read.read(storage, "trials", None, sweep).parts.values()
    return [config_in(row) for rows in parts for row in rows.to_pylist()]


def rows_of(storage: Storage, table: str, sweep: str | None, trial_ids: Collection[str]) -> list[dict[str, Any]]:
    """The shown rows of some trials in `trials` or `curves`, of those that a sweep has trained or of the whole root;
    each with the `sweep` that has trained it."""
    best: dict[str, tuple[tuple[Any, ...], str, dict[str, Any]]] = {}
    for name, row in _of_trials(storage, "trials", sweep, trial_ids):
        found = (*_rank(row), name), holder_of(name), row
        best[row["trial_id"]] = min(best.get(row["trial_id"], found), found, key=lambda each: each[0])
    if table == "trials":
        return [row for _, _, row in best.values()]
    held = defaultdict[str, dict[str, list[dict[str, Any]]]](lambda: defaultdict(list))
    for name, row in _of_trials(storage, table, sweep, trial_ids):
        if row["trial_id"] in best and row["pack_id"] == best[row["trial_id"]][2]["pack_id"]:
            held[row["trial_id"]][holder_of(name)].append(row)
    return [row for trial_id, of in held.items() for row in _of_holder(of, best[trial_id][1])]


def _of_trials(
    storage: Storage, table: str, sweep: str | None, trial_ids: Collection[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with the parts that they are in."""
    wanted = pa.array(list(trial_ids), pa.string())
    for name, rows in read.read(storage, table, None, sweep).parts.items():
        found = rows.filter(pc.is_in(rows["trial_id"], value_set=wanted)).to_pylist()
        yield from ((name, {**row, "sweep": read.sweep_of(name)}) for row in found)


def _of_holder(held: Mapping[str, list[dict[str, Any]]], holder: str) -> list[dict[str, Any]]:
    """The rows of the unit that has a trial's row, where several hold it: else of the one, or merged, that there is."""
    return held.get(holder) or next(iter(held.values()))


def pack_rows(storage: Storage, sweep: str, pack_id: str) -> dict[str, TrialStatus]:
    """trial_id -> status of the members of a pack that are committed."""
    columns = ["trial_id", "pack_id", "status"]
    rows = list(read.steady(storage, lambda: _of_pack(storage, "trials", pack_id, sweep, columns)).values())
    return _shown_statuses(pa.concat_tables(rows, promote_options="default")) if rows else {}


def trial_row(storage: Storage, trial_id: str) -> dict[str, Any]:
    """The shown row of a trial by its id or a unique beginning of it (six digits or more), with the `sweep` that has
    trained it.

    Raises:
        StoreError: if no trial, or more than one, begins so.
    """
    return read.steady(storage, lambda: _trial_row(storage, trial_id))


def curve_rows(storage: Storage, trial_id: str, pack_id: str) -> list[dict[str, Any]]:
    """The rows of `curves` of one trial in one pack, by step."""
    return read.steady(storage, lambda: _curve_rows(storage, trial_id, pack_id))


def _curve_rows(storage: Storage, trial_id: str, pack_id: str) -> list[dict[str, Any]]:
    trials, curves = (
        {name: found for name, rows in _of_pack(storage, table, pack_id).items()
         if (found := rows.filter(pc.equal(rows["trial_id"], trial_id)).to_pylist())}
        for table in ("trials", "curves")
    )  # fmt: skip
    if not (trials and curves):
        return []
    best = min(trials, key=lambda name: (_rank(trials[name][0]), name))
    rows = _of_holder({holder_of(name): list(map(dict, found)) for name, found in curves.items()}, holder_of(best))
    return sorted(rows, key=lambda row: int(row["step"]))


def count_by_status(statuses: Mapping[str, TrialStatus], trial_ids: Iterable[str]) -> Counter[TrialStatus]:
    """How many of `trial_ids` have each status; the others are missing."""
    return Counter(statuses[trial_id] for trial_id in trial_ids if trial_id in statuses)


def _of_pack(
    storage: Storage, table: str, pack_id: str, sweep: str | None = None, columns: Sequence[str] | None = None
) -> dict[str, pa.Table]:
    """A pack's rows in each part that shows some and is not damaged."""
    found = {}
    for part in read.holding(storage, table, pack_id, sweep):
        with suppress(DamagedError):
            rows = read.read_part(storage, part)
            rows = rows.filter(pc.equal(rows["pack_id"], pack_id))
            found[part] = rows if columns is None else rows.select(columns)
    return found


def _trial_row(storage: Storage, trial_id: str) -> dict[str, Any]:
    columns = ["trial_id", "pack_id", "status", "finished_at"]
    found: list[tuple[str, dict[str, Any]]] = []
    known: set[str] = set()
    for name, table in read.read(storage, "trials", columns).parts.items():
        known.update(table["trial_id"].to_pylist())
        matching = table.filter(pc.starts_with(table["trial_id"], pattern=trial_id))
        found += [(name, row) for row in matching.to_pylist()]
    full_id = _the_one(storage, trial_id, {row["trial_id"] for _, row in found}, known)
    best, part = min((_rank(row), name) for name, row in found if row["trial_id"] == full_id)
    table = read.read_part(storage, part)
    rows = table.filter(pc.equal(table["trial_id"], full_id)).to_pylist()
    return next({**row, "sweep": read.sweep_of(part)} for row in rows if _rank(row) == best)


def _the_one(storage: Storage, prefix: str, found: set[str], known: set[str]) -> str:
    if prefix in found:
        return prefix
    if len(found) == 1 and len(prefix) >= _SHORTEST_PREFIX:
        return found.pop()
    example = f", such as {min(known)}" if known else ""
    there = f"{storage.root} has {len(known)} trials{example}"
    if len(prefix) < _SHORTEST_PREFIX:
        rule = f"a trial id is given with {_SHORTEST_PREFIX} digits or more"
        raise StoreError(f"{rule}; got {prefix!r}; {there}")
    if found:
        rule = f"{len(found)} trials begin with {prefix!r}"
        raise StoreError(f"{rule}, such as {min(found)}; give more digits")
    near = difflib.get_close_matches(prefix, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]}?" if near else there
    raise StoreError(f"no trial {prefix!r} in {storage.root}; {fix}")


def _shown_statuses(rows: pa.Table) -> dict[str, TrialStatus]:
    statuses: dict[str, TrialStatus] = {}
    for status in reversed(PREFERENCE):
        ids = rows.filter(pc.equal(rows["status"], status))["trial_id"].to_pylist()
        statuses.update(dict.fromkeys(ids, TrialStatus(status)))
    return statuses


def _rank(row: Mapping[str, Any]) -> tuple[int, datetime, str]:
    return PREFERENCE.index(row["status"]), row["finished_at"], row["pack_id"]
