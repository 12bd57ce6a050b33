"""Which results root a place is, if it is one: `monosweep.json`, with a random identity.

    launch -> made(): one root, however many begin at the same time -> its identity, with the work, to the workers
    worker -> same(): before training and before each file is written

A mount that is not there, another root at the same path and a root that was removed meanwhile all differ in it.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from monosweep.sweep.store.families import FOLDER as FAMILIES
from monosweep.sweep.store.families import known_tables
from monosweep.sweep.store.files import SETTLE_S, DamagedError, GoneError, Storage, StoreError
from monosweep.sweep.store.local import is_temporary
from monosweep.sweep.store.locks import locked
from monosweep.sweep.store.schema import ASKED, SCHEMA_VERSION

MARKER = "monosweep.json"
_FORMAT = "monosweep results"
NO_TABLES = (ASKED, "weights", "checkpoints", "live", "sweeps", FAMILIES, "quarantine")
"""Folders of a root beside its tables."""
_HARMLESS = (
    "lost+found", ".DS_Store", "._*", ".localized", ".Trash*", ".Spotlight-*", ".fseventsd", ".TemporaryItems",
    ".directory", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information", "@eaDir", ".nfs*",
    ".snapshot", ".zfs", ".gitkeep", ".gitignore", ".keep", ".fuse_hidden*",
)  # fmt: skip
"""What file systems, desktops and version control leave in folders that are empty to their users."""
_TRACES = {"sweeps": ".json", ASKED: ".parquet", "trials": ".parquet"}
"""Where every launch leaves something."""
_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What a root says of itself."""

    schema_version: int
    identity: str | None
    """Random; None in roots that were last launched into before there was one."""
    told: Mapping[str, Any]
    """All that stands there."""

    @property
    def current(self) -> bool:
        """Whether nothing is to be added."""
        return self.schema_version == SCHEMA_VERSION and self.identity is not None


def read(storage: Storage, patience_s: float | None = None) -> Marker | None:
    """The marker of a root; None if there is none.

    Raises:
        StoreError: if it is another program's or a newer version's, or cannot be read.
    """
    try:
        data = storage.get(MARKER, patience_s)
    except GoneError:
        return None
    try:
        told = json.loads(data)
        known, version, identity = told["format"] == _FORMAT, int(told["schema_version"]), told.get("identity")
    except (ValueError, KeyError, TypeError):
        known, version, identity = False, 0, None
    if not known:
        raise StoreError(
            f"{MARKER} marks a results root; the one in {storage.root} is not monosweep's; give another folder"
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{storage.root} has schema version {version}, written by a newer monosweep; "
            f"this one reads up to {SCHEMA_VERSION}; upgrade monosweep"
        )
    return Marker(schema_version=version, identity=str(identity) if identity else None, told=told)


def find(storage: Storage) -> Marker | None:
    """The marker of the root that is here; None if one can be made here.

    Raises:
        StoreError: if something else is here.
    """
    for _ in range(_TRIES):
        if marker := read(storage, patience_s=0):
            return marker
        names = _names(storage)
        if not names or _are_left(storage, names):
            return None
        if not storage.exists(MARKER):  # else it has just been made
            raise StoreError(
                f"results go into a new or empty folder or a results root; {storage.root} is neither "
                f"(it holds {names[0]}); choose another --out"
            )
    raise StoreError(f"{MARKER} in {storage.root} comes and goes; see what removes it, or choose another --out")


def made(storage: Storage) -> Marker:
    """The marker of the root that is here, made if there is none: that of whoever was first, for all who ask.

    Raises:
        StoreError: if something else is here, or nothing can be written.
    """
    marker = find(storage)
    if marker is None:
        left = bool(_names(storage))
        new = _marker({})
        storage.put_first(MARKER, _bytes(new))
        marker = read(storage)
        if left and marker and marker.told == new:
            storage.note(f"{storage.root} had lost its {MARKER}; it has a new one, and what else is there counts")
    return raised(storage, marker)


def raised(storage: Storage, marker: Marker | None) -> Marker:
    """A root's marker once it has an identity, and older versions, which would misread it from now on, refuse it.

    Raises:
        StoreError: if it cannot be written, or has gone.
    """
    if marker is not None and not marker.current:
        with locked(storage, "") as exclusive:
            marker = read(storage)
            if marker is not None and not marker.current:
                storage.put(MARKER, _bytes(_marker(marker.told)))
        if not exclusive:
            time.sleep(SETTLE_S)
        marker = read(storage)
    if marker is None:
        raise StoreError(gone(storage))
    return marker


def has_lost_it(storage: Storage) -> bool:
    """Whether a root is here that lacks nothing but its marker, as the next launch will make it."""
    names = _names(storage)
    return MARKER not in names and _are_left(storage, names)


def check_same(storage: Storage, identity: str, patience_s: float | None = None) -> None:
    """StoreError if this is not, or no longer, the root with this identity."""
    marker = read(storage, patience_s)
    if marker is None:
        raise StoreError(gone(storage))
    if marker.identity != identity:
        raise StoreError(
            f"{socket.gethostname()} sees another results root at {storage.root} than the one that was launched into "
            f"(its {MARKER} has identity {marker.identity}; {identity} was launched into); on a cluster --out is "
            f"s3://bucket/folder or a mount that all nodes share; nothing was written there"
        )


def gone(storage: Storage) -> str:
    """What to say where there is no root, and how to go on."""
    return (
        f"{socket.gethostname()} does not see the results root {storage.root} (no {MARKER} is there: it was removed, "
        f"or is not mounted); on a cluster --out is s3://bucket/folder or a mount that all nodes share; put it back, "
        f"or launch the same command again to go on with the rows that are left there"
    )


def _marker(before: Mapping[str, Any]) -> dict[str, Any]:
    new = {"identity": secrets.token_hex(16)}
    return {**new, **before, "format": _FORMAT, "schema_version": SCHEMA_VERSION}


def _bytes(marker: Mapping[str, Any]) -> bytes:
    return json.dumps(marker).encode()


def _names(storage: Storage) -> list[str]:
    """What lies in a place, without what systems leave there."""
    return [
        name for name in storage.entries()
        if not is_temporary(name) and not any(fnmatch(name, pattern) for pattern in _HARMLESS)
    ]  # fmt: skip


def _are_left(storage: Storage, names: Iterable[str]) -> bool:
    """Whether these are what a root holds that has lost its marker."""
    try:
        ours = {*known_tables(storage), *NO_TABLES}
    except DamagedError:  # somebody else's folder of that name
        return False
    if not ours.issuperset(names):
        return False
    files = ((folder, storage.names(folder, suffix)) for folder, suffix in _TRACES.items())
    return any(name.startswith((f"{folder}/sweep=", "sweeps/")) for folder, found in files for name in found)
