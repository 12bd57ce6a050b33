"""One driver per sweep and results root: who holds the sweep, for how long, and how it is taken over.

    launch -> Store.lease -> held(): sweeps/NAME.lease.json, renewed beside the training, removed at its end
    submit, status -> Store.read_lease

A lease ends with its holder: at once if its process has gone from this machine, else half a minute after the
last renewal (clocks of different machines are taken to agree within seconds).  On a local file system the
folder is locked while the lease is read and written.  Elsewhere nothing can be written only if nobody else
has: a launch writes its own name, waits, and reads back, so the last writer wins; two that start within that
moment may both train for some seconds, until the loser renews.  Rows never depend on it: a pack's parts have
the same names and content whoever writes them.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from monosweep.sweep.store.files import Storage, StoreError
from monosweep.sweep.store.names import in_path

EXPIRES_S = 30.0
"""A lease that is not renewed for so long has lost its holder."""
RENEW_S = 5.0
_SETTLE_S = 1.0


class LeaseError(StoreError):
    """A sweep that another driver holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Who drives a sweep."""

    sweep: str
    holder: str
    """Eight random bytes as hexadecimal digits."""
    host: str
    pid: int
    born: str
    """Names the process for good, where pids mean the same; empty where that cannot be known."""
    job_id: str | None
    """The Ray job that drives it, if it was submitted."""
    since: datetime
    """UTC."""
    expires_at: datetime
    """UTC; renewed every few seconds."""

    @property
    def live(self) -> bool:
        """Whether its holder is there, as far as this machine can know."""
        return datetime.now(UTC) < self.expires_at and not _has_ended(self)

    @property
    def who(self) -> str:
        """The holder in words."""
        job = f", Ray job {self.job_id}" if self.job_id else ""
        return f"lease {self.holder}, pid {self.pid} on {self.host}{job}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(slots=True)
class Held:
    """A lease of ours, as long as nobody takes it."""

    lease: Lease
    taken_by: Lease | None = None

    def lost(self) -> bool:
        """Whether another driver has taken the sweep."""
        return self.taken_by is not None

    def check(self) -> None:
        """LeaseError if another driver has taken the sweep."""
        if self.taken_by is not None:
            raise LeaseError(
                f"another launch has taken over sweep {self.lease.sweep!r} ({self.taken_by.who}); this one has "
                f"stopped; what is finished is kept"
            )


@contextmanager
def held(storage: Storage, sweep: str, job_id: str | None = None) -> Iterator[Held]:
    """The lease of `sweep` for the length of the block.

    Raises:
        LeaseError: if another driver holds it.
    """
    now = datetime.now(UTC)
    mine = Lease(
        sweep=sweep, holder=secrets.token_hex(8), host=socket.gethostname(), pid=os.getpid(), born=_born(os.getpid()),
        job_id=job_id, since=now, expires_at=now + timedelta(seconds=EXPIRES_S),
    )  # fmt: skip
    _take(storage, mine)
    ours, ended = Held(mine), threading.Event()
    thread = threading.Thread(target=_renew, args=(storage, ours, ended), name="monosweep-lease", daemon=True)
    thread.start()
    try:
        yield ours
    finally:
        ended.set()
        thread.join(RENEW_S)
        with suppress(StoreError):  # it expires by itself
            _release(storage, mine)


def read(storage: Storage, sweep: str) -> Lease | None:
    """The live lease of a sweep; None if nobody drives it."""
    lease = _read(storage, sweep)
    return lease if lease is not None and lease.live else None


def _take(storage: Storage, mine: Lease) -> None:
    with _locked(storage) as exclusive:
        if other := read(storage, mine.sweep):
            raise _refused(other)
        _write(storage, mine)
    if exclusive:
        return
    time.sleep(_SETTLE_S)
    winner = _read(storage, mine.sweep)
    if winner is not None and winner.holder != mine.holder:
        raise _refused(winner)


def _refused(other: Lease) -> LeaseError:
    return LeaseError(
        f"one driver at a time trains a sweep; {other.sweep!r} is being driven ({other.who}); wait for it or stop it "
        f"first; should it have died, its lease ends within {EXPIRES_S:g} s"
    )


def _renew(storage: Storage, ours: Held, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(StoreError), _locked(storage):  # a store that is away is the training's business
            current = _read(storage, ours.lease.sweep, patience_s=RENEW_S)
            if current is not None and current.holder != ours.lease.holder:
                ours.taken_by = current
                return
            if not ended.is_set():
                until = datetime.now(UTC) + timedelta(seconds=EXPIRES_S)
                _write(storage, replace(ours.lease, expires_at=until), patience_s=RENEW_S)


def _release(storage: Storage, mine: Lease) -> None:
    with _locked(storage):
        current = _read(storage, mine.sweep, patience_s=0)
        if current is not None and current.holder == mine.holder:
            storage.remove(_name(mine.sweep), patience_s=0)


@contextmanager
def _locked(storage: Storage) -> Iterator[bool]:
    """Nobody else on this file system is in this block; yields whether that could be had."""
    if not storage.local:
        yield False
        return
    folder = storage.path("sweeps")
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # whoever writes there next says why
        yield False
        return
    try:
        yield _lock(handle)
    finally:
        os.close(handle)  # and with it the lock


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:  # a mount that has no locks on folders, as NFS
        return False
    return True


def _read(storage: Storage, sweep: str, patience_s: float | None = None) -> Lease | None:
    if not storage.exists(_name(sweep), patience_s):
        return None
    try:
        values = json.loads(storage.get(_name(sweep), patience_s))
        times = {key: datetime.fromisoformat(values[key]) for key in ("since", "expires_at")}
        return Lease(**{**values, **times})
    except (ValueError, TypeError, KeyError, StoreError):  # removed just now, or no lease at all
        return None


def _write(storage: Storage, lease: Lease, patience_s: float | None = None) -> None:
    values = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(lease).items()}
    storage.put(_name(lease.sweep), json.dumps(values).encode(), patience_s)


def _name(sweep: str) -> str:
    return f"sweeps/{in_path(sweep)}.lease.json"


def _has_ended(lease: Lease) -> bool:
    """Whether the holder was a process of this machine and is no more; a pid that is used again is another's."""
    here = lease.born.rpartition("/")[0] == _pid_space()
    return bool(_pid_space()) and here and _born(lease.pid) != lease.born


def _born(pid: int) -> str:
    """Where this pid means something, and when its process began; empty if it has ended or /proc is absent."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if state in "ZX" else f"{_pid_space()}/{rest[18]}"


@cache
def _pid_space() -> str:
    """This boot of this machine and its namespace of pids: containers may share a host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
