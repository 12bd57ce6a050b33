"""The results root: every path, read and write of a sweep goes through `Store`.  Torch- and ray-free.

    worker -> Store.save_checkpoint … -> Store.commit -> trials/curves/neurons Parquet -> analysis

A root is a local folder or any URI that pyarrow.fs knows.  It looks like this:

    monosweep.json                                  schema version, and the root's identity (`sweep.store.marker`)
    trials|curves|neurons/sweep=NAME/part-PACKID-TRIALS.parquet
    asked/sweep=NAME/part-TRIALS.parquet            what the sweep was asked for (`sweep.store.asked`)
    weights/sweep=NAME/part-PACKID-step0000015872.safetensors
    FILE/sweep=NAME/part-merged-….parquet           what a user's FILE.py measured afterwards (`sweep.store.measured`)
    checkpoints/sweep=NAME/PACKID.safetensors       removed once all its trials have rows
    live/sweep=NAME/PACKID.parquet                  what a pack has recorded so far (`sweep.store.live`)
    sweeps/NAME.json                                the spec as launched
    sweeps/NAME.progress.json, NAME.lease.json      the driver's heartbeat; who it is (`sweep.store.lease`)

NAME is the sweep's with dots for slashes (`sweep.store.names`).

Members of a pack are committed together or one after another.  Their `trials` part is written last: it is the commit.
Each file appears whole or not at all, under a name that depends on its trials alone, so that writing again overwrites.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store import checkpoints, live, rows
from monosweep.sweep.store import lease as leases
from monosweep.sweep.store import marker as markers
from monosweep.sweep.store.asked import Asked, ask, asked, asked_configs
from monosweep.sweep.store.commit import commit
from monosweep.sweep.store.families import load_families, write_family
from monosweep.sweep.store.files import GoneError, Storage, StoreError
from monosweep.sweep.store.lease import Held, Lease, LeaseError
from monosweep.sweep.store.marker import MARKER
from monosweep.sweep.store.names import before_version_2, from_path, in_path
from monosweep.sweep.store.parts import weights_name
from monosweep.sweep.store.rows import Index, count_by_status

__all__ = ["MARKER", "Held", "Index", "Lease", "LeaseError", "Store", "StoreError", "count_by_status"]


class Store(Storage):
    """One results root.  Cheap to pickle; holds no connection of its own.

    Use `Store.create` to launch into a place and `Store.open` to read one.
    """

    identity: str | None = None
    """Which root it is, wherever else its path leads; None for one that nothing is to be written into, or that has
    none yet."""

    @classmethod
    def create(cls, root: str) -> Store:
        """The results root at `root` to be written into, made if there is nothing there yet.

        Raises:
            StoreError: if something else is there, or nothing can be written.
        """
        store = cls.at(root)
        store.identity = markers.made(store).identity
        return store

    def upgrade(self) -> None:
        """Give this root an identity, and have older versions refuse it: they would misread what is written now."""
        self.identity = markers.raised(self, markers.read(self)).identity

    @classmethod
    def find(cls, root: str) -> Store | None:
        """The results root at `root`; None if there is nothing there yet.  Writes nothing.

        Raises:
            StoreError: if something else is there.
        """
        store = cls.at(root)
        marker = markers.find(store)
        if marker is not None:
            store.identity = marker.identity
        elif not markers.has_lost_it(store):
            return None
        return store

    @classmethod
    def open(cls, root: str) -> Store:
        """The results root at `root`.

        Raises:
            StoreError: if there is none, or a newer monosweep has written it.
        """
        store = cls.at(root)
        marker = markers.read(store, patience_s=0)
        if marker is None:
            raise StoreError(
                f"a results root holds {MARKER}; {store.root} does not; give the folder that a sweep was launched into"
            )
        store.identity = marker.identity
        return store

    def check_reachable(self, patience_s: float | None = None) -> None:
        """StoreError if this very root is not to be seen from here and now: a worker may run on another machine, and
        a mount come and go."""
        if self.identity is not None:
            markers.check_same(self, self.identity, patience_s)

    def put(self, name: str, data: bytes | memoryview, patience_s: float | None = None) -> None:
        """As `Storage.put`, and never into another root that has come in the place of this one."""
        self.check_reachable(patience_s)
        try:
            super().put(name, data, patience_s)
        except GoneError:
            self.check_reachable(patience_s)  # says more, if the root went in between
            raise

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
        try:
            return dict(json.loads(self.get(f"sweeps/{in_path(sweep)}.progress.json")))
        except GoneError:
            return None

    def lease(
        self, sweep: str, job_id: str | None = None, say: Callable[[str], None] = lambda line: None
    ) -> AbstractContextManager[Held]:
        """The right to drive `sweep`, for the length of a block.

        Args:
            job_id: of the Ray job that drives it, if one does.
            say: is told what takes long.

        Raises:
            LeaseError: if another driver has it.
        """
        return leases.held(self, sweep, job_id, say)

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
        commit(self, sweep, pack_id, tables)

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
        checkpoints.save(self, sweep, pack_id, data)

    def load_checkpoint(self, sweep: str, pack_id: str) -> bytes | None:
        """A pack's last training state; None if there is none, or a damaged one, which is noted."""
        return checkpoints.load(self, sweep, pack_id)

    def list_checkpoints(self, sweep: str) -> list[str]:
        """The pack_ids that have a checkpoint."""
        return checkpoints.of_sweep(self, sweep)

    def checkpoint_metadata(self, sweep: str, pack_id: str) -> dict[str, str] | None:
        """The metadata in a checkpoint's header: empty if it is none; None if the checkpoint has gone."""
        return checkpoints.metadata(self, sweep, pack_id)

    def write_live(self, sweep: str, pack_id: str, points: pa.Table) -> None:
        """Show what the members of a pack in training have recorded so far."""
        self.put(live.name_of(sweep, pack_id), live.written(points), patience_s=0)

    def drop_live(self, sweep: str, pack_id: str) -> None:
        """Show it no longer."""
        self.remove(live.name_of(sweep, pack_id), patience_s=0)

    def drop_checkpoint(self, sweep: str, pack_id: str) -> None:
        """Remove a pack's checkpoint, if there is one."""
        checkpoints.drop(self, sweep, pack_id)

    # -- rows

    def index(self) -> Index:
        """Every trial of the root and its shown status.

        A damaged part is named and counts as absent: its pack is trained again.

        Raises:
            StoreError: if a part cannot be read, which says nothing about what is in it.
        """
        self.check_reachable()
        return rows.index(self)

    def trained_configs(self, sweep: str) -> list[TrialConfig]:
        """The configs of the rows that `sweep` has trained."""
        return rows.trained_configs(self, sweep)

    def rows_of(self, table: str, sweep: str | None, trial_ids: Collection[str]) -> list[dict[str, Any]]:
        """The rows of some trials in `trials` or `curves`, of those that a sweep has trained or of the whole root."""
        return rows.rows_of(self, table, sweep, trial_ids)

    def pack_rows(self, sweep: str, pack_id: str) -> dict[str, TrialStatus]:
        """trial_id -> status of the members of a pack that are committed, in single and merged parts.

        A damaged part counts as absent.  Lists the sweep's parts: nothing to do for every pack.
        """
        return rows.pack_rows(self, sweep, pack_id)

    def trial_row(self, trial_id: str) -> dict[str, Any]:
        """The shown row of a trial by its id or a unique beginning of it (six digits or more).

        Raises:
            StoreError: if no trial, or more than one, begins so.
        """
        return rows.trial_row(self, trial_id)

    def curve_rows(self, trial_id: str, pack_id: str) -> list[dict[str, Any]]:
        """The rows of `curves` of one trial in one pack, by step."""
        return rows.curve_rows(self, trial_id, pack_id)
