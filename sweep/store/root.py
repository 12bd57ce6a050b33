"""The results root: every path, read and write of a sweep goes through `Store`.  Torch- and ray-free.

    worker -> Store.save_checkpoint … -> Store.commit -> trials/curves/neurons Parquet -> analysis

A root is a local folder or any URI that pyarrow.fs knows.  It looks like this:

    monosweep.json                                  marker and schema version
    trials|curves|neurons/sweep=NAME/part-PACKID-TRIALS.parquet
    asked/sweep=NAME/part-TRIALS.parquet            what the sweep was asked for (`sweep.store.asked`)
    weights/sweep=NAME/part-PACKID-step0000015872.safetensors
    checkpoints/sweep=NAME/PACKID.safetensors       removed once all its trials have rows
    sweeps/NAME.json                                the spec as launched
    sweeps/NAME.progress.json, NAME.lease.json      the driver's heartbeat; who it is (`sweep.store.lease`)

NAME is the sweep's with dots for slashes (`sweep.store.names`).

Members of a pack are committed together or one after another.  Their `trials` part is written last: it is the commit.
Each file appears whole or not at all, under a name that depends on its trials alone, so that writing again overwrites.
"""

from __future__ import annotations

import difflib
import json
import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store import lease as leases
from monosweep.sweep.store import read
from monosweep.sweep.store.asked import Asked, ask, asked, asked_configs
from monosweep.sweep.store.families import load_families, write_family
from monosweep.sweep.store.files import Storage, StoreError
from monosweep.sweep.store.lease import Held, Lease, LeaseError
from monosweep.sweep.store.names import before_version_2, from_path, in_path
from monosweep.sweep.store.parts import parquet, part_name, weights_name
from monosweep.sweep.store.schema import SCHEMA_VERSION, config_in

__all__ = ["MARKER", "Held", "Index", "Lease", "LeaseError", "Store", "StoreError", "count_by_status"]

MARKER = "monosweep.json"
_FORMAT = "monosweep results"
_PREFERENCE = ("completed", "diverged", "stopped", "failed")
"""Which of a trial's rows is shown: the first of these, then the earliest, then the least pack_id."""
_SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What the `trials` parts of a root hold."""

    statuses: dict[str, TrialStatus]
    """The shown status of each trial_id."""
    n_hidden: int
    """Rows that the views hide because their trial is shown from another pack."""
    unreadable: tuple[str, ...]
    """Parts that could not be read, as paths below the root; their trials count as missing."""


class Store(Storage):
    """One results root.  Cheap to pickle; holds no connection of its own.

    Use `Store.create` to launch into a place and `Store.open` to read one.
    """

    @classmethod
    def create(cls, root: str) -> Store:
        """The results root at `root` to be written into, made if there is nothing there yet.

        Raises:
            StoreError: if something else is there, or nothing can be written.
        """
        if found := cls.find(root):
            found.upgrade()
            return found
        store = cls.at(root)
        store._mark({})
        return store

    def upgrade(self) -> None:
        """Have older versions refuse this root: they would misread what is written from now on."""
        marker = json.loads(self.get(MARKER))
        if marker["schema_version"] < SCHEMA_VERSION:
            self._mark(marker)

    def _mark(self, before: Mapping[str, Any]) -> None:
        marker = {**before, "format": _FORMAT, "schema_version": SCHEMA_VERSION}
        self.put(MARKER, json.dumps(marker).encode())

    @classmethod
    def find(cls, root: str) -> Store | None:
        """The results root at `root`; None if there is nothing there yet.  Writes nothing.

        Raises:
            StoreError: if something else is there.
        """
        store = cls.at(root)
        if store.exists(MARKER, patience_s=0):
            return cls.open(root)
        if first := store.first_entry():
            raise StoreError(
                f"results go into a new or empty folder or a results root; {store.root} is neither "
                f"(it holds {first}); choose another --out"
            )
        return None

    @classmethod
    def open(cls, root: str) -> Store:
        """The results root at `root`.

        Raises:
            StoreError: if there is none, or a newer monosweep has written it.
        """
        store = cls.at(root)
        if not store.exists(MARKER, patience_s=0):
            raise StoreError(
                f"a results root holds {MARKER}; {store.root} does not; "
                f"give the folder that a sweep was launched into"
            )
        store._check_marker()
        return store

    def check_reachable(self) -> None:
        """StoreError if the root is not to be seen from here: a worker may run on another machine."""
        if not self.exists(MARKER):
            raise StoreError(
                f"{socket.gethostname()} does not see the results root {self.root}; on a cluster --out is "
                f"s3://bucket/folder or a mount that all nodes share"
            )

    # -- sweeps

    def write_spec(self, sweep: str, spec: str) -> None:
        """Keep the resolved spec (JSON) of a sweep as launched."""
        self.put(f"sweeps/{in_path(sweep)}.json", spec.encode())

    def read_spec(self, sweep: str) -> str:
        """The spec of `sweep` as last launched, as JSON; StoreError if there is no such sweep."""
        return self.get(f"sweeps/{in_path(self.known(sweep))}.json").decode()

    def known(self, sweep: str) -> str:
        """What this root calls `sweep`: until version 2 of the schema, paper/LR1 was called paper-LR1.

        Raises:
            StoreError: if there is no such sweep.
        """
        known = self.sweeps()
        if found := next((name for name in (sweep, before_version_2(sweep)) if name in known), None):
            return found
        near = difflib.get_close_matches(sweep, known, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none yet'}"
        raise StoreError(f"no sweep {sweep!r} in {self.root}; {fix}")

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were launched into this root."""
        names = [name.removeprefix("sweeps/").removesuffix(".json") for name in self.names("sweeps", ".json")]
        return sorted(from_path(name) for name in names if not name.endswith((".progress", ".lease")))

    def write_heartbeat(self, sweep: str, heartbeat: Mapping[str, Any]) -> None:
        """Say how the driver of `sweep` is getting on."""
        self.put(f"sweeps/{in_path(sweep)}.progress.json", json.dumps(heartbeat).encode(), patience_s=0)

    def read_heartbeat(self, sweep: str) -> dict[str, Any] | None:
        """The last heartbeat of `sweep`; None if there is none."""
        name = f"sweeps/{in_path(sweep)}.progress.json"
        return dict(json.loads(self.get(name))) if self.exists(name) else None

    def lease(self, sweep: str, job_id: str | None = None) -> AbstractContextManager[Held]:
        """The right to drive `sweep`, for the length of a block; `job_id` names its Ray job, if it has one.

        Raises:
            LeaseError: if another driver has it.
        """
        return leases.held(self, sweep, job_id)

    def read_lease(self, sweep: str) -> Lease | None:
        """Who drives `sweep` now; None if nobody does."""
        return leases.read(self, sweep)

    # -- what was asked for

    def ask(self, sweep: str, configs: Collection[TrialConfig]) -> None:
        """Say that `sweep` was asked for these trials, as far as that is not said yet."""
        ask(self, sweep, configs)

    def asked(self, sweep: str) -> Asked:
        """The trials that `sweep` was asked for; none in a root of schema version 1."""
        return asked(self, sweep)

    def asked_configs(self, sweep: str) -> dict[str, TrialConfig]:
        """The same with their configs, in the order in which they were asked for."""
        return asked_configs(self, sweep)

    # -- packs

    def commit(self, sweep: str, pack_id: str, tables: Mapping[str, pa.Table]) -> None:
        """Write the rows of members of a pack: `trials` last.  Its checkpoint stays.

        Raises:
            StoreError: if a file cannot be written; nothing of these members is visible then.
        """
        trial_ids = tables["trials"]["trial_id"].to_pylist()
        for table in (*(name for name in tables if name != "trials"), "trials"):
            self.put(part_name(table, sweep, pack_id, trial_ids), parquet(tables[table]))

    def save_weights(self, sweep: str, pack_id: str, step: int, trial_ids: Iterable[str], data: bytes) -> None:
        """Keep the weights of members of a pack that were looked at together, after so many steps (safetensors)."""
        self.put(weights_name(sweep, pack_id, step, trial_ids), data)

    def write_family(self, name: str) -> None:
        """Say in the root what a family is."""
        write_family(self, name)

    def load_families(self) -> None:
        """Make the users' families of this root known to this process, by running their text."""
        load_families(self)

    def save_checkpoint(self, sweep: str, pack_id: str, data: bytes) -> None:
        """Keep a pack's training state, over the previous one."""
        self.put(_checkpoint(sweep, pack_id), data)

    def load_checkpoint(self, sweep: str, pack_id: str) -> bytes | None:
        """A pack's last training state; None if there is none."""
        name = _checkpoint(sweep, pack_id)
        return self.get(name) if self.exists(name) else None

    def list_checkpoints(self, sweep: str) -> list[str]:
        """The pack_ids that have a checkpoint."""
        folder = f"checkpoints/sweep={in_path(sweep)}"
        names = self.names(folder, ".safetensors")
        return [name.removeprefix(f"{folder}/").removesuffix(".safetensors") for name in names]

    def checkpoint_metadata(self, sweep: str, pack_id: str) -> dict[str, str]:
        """The metadata in a checkpoint's header, without reading its tensors; empty if it is not readable."""
        return self.use(_checkpoint(sweep, pack_id), _safetensors_metadata)

    def drop_checkpoint(self, sweep: str, pack_id: str) -> None:
        """Remove a pack's checkpoint, if there is one."""
        self.remove(_checkpoint(sweep, pack_id))

    # -- rows

    def index(self) -> Index:
        """Every trial of the root and its shown status; reads two columns of the `trials` parts.

        A part that cannot be read is named and counts as absent: its pack is trained again and overwrites it.
        """
        found = read.read(self, "trials", ["trial_id", "status"])
        bad = tuple(sorted(found.damaged))
        if not found.parts:
            return Index(statuses={}, n_hidden=0, unreadable=bad)
        tables = [table.select(["trial_id", "status"]) for table in found.parts.values()]
        rows = pa.concat_tables(tables, promote_options="default")
        statuses = _shown_statuses(rows)
        return Index(statuses=statuses, n_hidden=rows.num_rows - len(statuses), unreadable=bad)

    def trained_configs(self, sweep: str) -> list[TrialConfig]:
        """The configs of the rows that `sweep` has trained."""
        parts = read.read(self, "trials", None, sweep).parts.values()
        return [config_in(row) for rows in parts for row in rows.to_pylist()]

    def pack_rows(self, sweep: str, pack_id: str) -> dict[str, TrialStatus]:
        """trial_id -> status of the members of a pack that are committed, in single and merged parts.

        A part that cannot be read counts as absent.  Lists the sweep's parts: nothing to do for every pack.
        """
        rows = self._pack_rows("trials", pack_id, sweep, ["trial_id", "pack_id", "status"])
        return _shown_statuses(pa.concat_tables(rows, promote_options="default")) if rows else {}

    def trial_row(self, trial_id: str) -> dict[str, Any]:
        """The shown row of a trial by its id or a unique beginning of it (six digits or more).

        Raises:
            StoreError: if no trial, or more than one, begins so.
        """
        columns = ["trial_id", "pack_id", "status", "finished_at"]
        found: list[tuple[str, dict[str, Any]]] = []
        known: set[str] = set()
        for name, table in read.read(self, "trials", columns).parts.items():
            known.update(table["trial_id"].to_pylist())
            matching = table.filter(pc.starts_with(table["trial_id"], pattern=trial_id))
            found += [(name, row) for row in matching.to_pylist()]
        full_id = self._the_one(trial_id, {row["trial_id"] for _, row in found}, known)
        best, part = min((_rank(row), name) for name, row in found if row["trial_id"] == full_id)
        table = read.read_part(self, part)
        rows = table.filter(pc.equal(table["trial_id"], full_id)).to_pylist()
        return next(dict(row) for row in rows if _rank(row) == best)

    def curve_rows(self, trial_id: str, pack_id: str) -> list[dict[str, Any]]:
        """The rows of `curves` of one trial in one pack, by step."""
        for rows in self._pack_rows("curves", pack_id):
            if found := rows.filter(pc.equal(rows["trial_id"], trial_id)).to_pylist():
                return sorted(map(dict, found), key=lambda row: int(row["step"]))
        return []

    def _pack_rows(
        self, table: str, pack_id: str, sweep: str | None = None, columns: Sequence[str] | None = None
    ) -> list[pa.Table]:
        """A pack's rows in each part that shows some and can be read."""
        found = []
        for part in read.holding(self, table, pack_id, sweep):
            with suppress(StoreError):
                rows = read.read_part(self, part)
                rows = rows.filter(pc.equal(rows["pack_id"], pack_id))
                found.append(rows if columns is None else rows.select(columns))
        return found

    def _the_one(self, prefix: str, found: set[str], known: set[str]) -> str:
        if prefix in found:
            return prefix
        if len(found) == 1 and len(prefix) >= _SHORTEST_PREFIX:
            return found.pop()
        if len(prefix) < _SHORTEST_PREFIX:
            rule = f"a trial id is given with {_SHORTEST_PREFIX} digits or more"
            raise StoreError(f"{rule}; got {prefix!r}; {self._has(known)}")
        if found:
            rule = f"{len(found)} trials begin with {prefix!r}"
            raise StoreError(f"{rule}, such as {min(found)}; give more digits")
        near = difflib.get_close_matches(prefix, known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else self._has(known)
        raise StoreError(f"no trial {prefix!r} in {self.root}; {fix}")

    def _has(self, known: set[str]) -> str:
        example = f", such as {min(known)}" if known else ""
        return f"{self.root} has {len(known)} trials{example}"

    # -- files

    def _check_marker(self) -> None:
        try:
            marker = json.loads(self.get(MARKER))
            known, version = marker["format"] == _FORMAT, int(marker["schema_version"])
        except (ValueError, KeyError, TypeError):
            known, version = False, 0
        if not known:
            raise StoreError(
                f"{MARKER} marks a results root; the one in {self.root} is not monosweep's; "
                f"give another folder"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.root} has schema version {version}, written by a newer monosweep; "
                f"this one reads up to {SCHEMA_VERSION}; upgrade monosweep"
            )


def _checkpoint(sweep: str, pack_id: str) -> str:
    return f"checkpoints/sweep={in_path(sweep)}/{pack_id}.safetensors"


def _safetensors_metadata(file: pa.NativeFile) -> dict[str, str]:
    """`__metadata__` of a safetensors file: eight bytes of length, then a JSON header."""
    size = file.size()
    if size < 8:
        return {}
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size - 8:
        return {}
    try:
        header = json.loads(file.read(length))
        return {str(k): str(v) for k, v in header["__metadata__"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _shown_statuses(rows: pa.Table) -> dict[str, TrialStatus]:
    statuses: dict[str, TrialStatus] = {}
    for status in reversed(_PREFERENCE):
        ids = rows.filter(pc.equal(rows["status"], status))["trial_id"].to_pylist()
        statuses.update(dict.fromkeys(ids, TrialStatus(status)))
    return statuses


def _rank(row: Mapping[str, Any]) -> tuple[int, datetime, str]:
    return _PREFERENCE.index(row["status"]), row["finished_at"], row["pack_id"]


def count_by_status(statuses: Mapping[str, TrialStatus], trial_ids: Iterable[str]) -> Counter[TrialStatus]:
    """How many of `trial_ids` have each status; the others are missing."""
    return Counter(statuses[trial_id] for trial_id in trial_ids if trial_id in statuses)
