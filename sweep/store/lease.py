"""One driver per sweep and results root: who holds the sweep, for how long, and how it is taken over.

    launch -> Store.lease -> held(): sweeps/NAME.lease.json, renewed beside the training, removed at its end
    submit, status -> Store.read_lease

A lease ends with its holder: at once if its process has gone from this machine, else a while after the last renewal,
which is longer than a storage that is away is waited for.  Whose clock it is must not matter: a lease of another
machine that has ended by our clock, or ends later than any can, is taken over only if it is not renewed while we
look.  On a local file system the folder is locked while the lease is read and written.  Elsewhere nothing can be
written only if nobody else has: a launch writes its own name, waits, and reads back, so the last writer wins; two
that start within that moment may both train for some seconds, until the loser renews.  Rows never depend on it: a
pack's parts have the same names and content whoever writes them.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from monosweep.sweep.store.files import SETTLE_S, GoneError, Storage, StoreError
from monosweep.sweep.store.locks import locked
from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.processes import born, pid_space
from monosweep.sweep.store.retrying import PATIENCE_S

EXPIRES_S = PATIENCE_S + 30.0
"""A lease that is not renewed for so long has lost its holder; a storage that was away that long has not cost it."""
RENEW_S = 5.0
LOOK_S = 3 * RENEW_S
"""How long an ended lease of another machine is watched, whose clock may be behind."""
_POLL_S = 0.5
_FOLDER = "sweeps"


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
        """Whether its holder is there, as far as one look on this machine can tell."""
        return self.left_s > 0 and not _has_ended(self)

    @property
    def left_s(self) -> float:
        """Seconds until it ends, by this machine's clock."""
        return (self.expires_at - datetime.now(UTC)).total_seconds()

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
def held(
    storage: Storage, sweep: str, job_id: str | None = None, say: Callable[[str], None] = lambda line: None
) -> Iterator[Held]:
    """The lease of `sweep` for the length of the block; `say` is told what takes long.

    Raises:
        LeaseError: if another driver holds it.
    """
    now, pid = datetime.now(UTC), os.getpid()
    mine = Lease(
        sweep=sweep, holder=secrets.token_hex(8), host=socket.gethostname(), pid=pid, born=born(pid),
        job_id=job_id, since=now, expires_at=now + timedelta(seconds=EXPIRES_S),
    )  # fmt: skip
    _take(storage, mine, say)
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


def _take(storage: Storage, mine: Lease, say: Callable[[str], None]) -> None:
    dead: Lease | None = None
    while True:
        with locked(storage, _FOLDER) as exclusive:
            other = _read(storage, mine.sweep)
            watch_s = 0.0 if other is None or other == dead else _doubtful_s(other)
            if not watch_s:
                _write(storage, replace(mine, expires_at=_until()))
                break
        assert other is not None
        dead = _unrenewed(storage, other, watch_s, say)
    if exclusive:
        return
    time.sleep(SETTLE_S)
    winner = _read(storage, mine.sweep)
    if winner is not None and winner.holder != mine.holder:
        raise _refused(winner)


def _doubtful_s(lease: Lease) -> float:
    """How long somebody's lease has to be watched until it is known that he is no more.

    Raises:
        LeaseError: if it is his.
    """
    if _has_ended(lease):
        return 0.0
    if 0 < lease.left_s <= EXPIRES_S:
        raise _refused(lease)
    if lease.left_s > 0:
        return EXPIRES_S
    return 0.0 if _is_here(lease) else LOOK_S


def _unrenewed(storage: Storage, lease: Lease, seconds: float, say: Callable[[str], None]) -> Lease:
    """`lease`, once it was not renewed for so long, or was given back.

    Raises:
        LeaseError: if it is renewed, or somebody else's then.
    """
    say(f"{lease.sweep!r} was being driven ({lease.who}); looking for up to {seconds:g} s whether it still is")
    deadline = time.monotonic() + seconds
    while (left_s := deadline - time.monotonic()) > 0:
        time.sleep(min(_POLL_S, left_s))
        current = _read(storage, lease.sweep)
        if current is None:
            break
        if current != lease:
            raise _refused(current)
    return lease


def _refused(other: Lease) -> LeaseError:
    return LeaseError(
        f"one driver at a time trains a sweep; {other.sweep!r} is being driven ({other.who}); wait for it or stop it "
        f"first; should it have died, its lease ends within {EXPIRES_S:g} s"
    )


def _renew(storage: Storage, ours: Held, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(StoreError), locked(storage, _FOLDER):  # a store that is away is the training's business
            current = _read(storage, ours.lease.sweep, patience_s=RENEW_S)
            if current is not None and current.holder != ours.lease.holder:
                ours.taken_by = current
                return
            if not ended.is_set():
                _write(storage, replace(ours.lease, expires_at=_until()), patience_s=RENEW_S)


def _release(storage: Storage, mine: Lease) -> None:
    with locked(storage, _FOLDER):
        current = _read(storage, mine.sweep, patience_s=0)
        if current is not None and current.holder == mine.holder:
            storage.remove(_name(mine.sweep), patience_s=0)


def _until() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=EXPIRES_S)


def _read(storage: Storage, sweep: str, patience_s: float | None = None) -> Lease | None:
    """What stands there, if it is a lease; StoreError if it cannot be read."""
    try:
        values = json.loads(storage.get(_name(sweep), patience_s))
        times = {key: datetime.fromisoformat(values[key]).astimezone(UTC) for key in ("since", "expires_at")}
        return Lease(**{**values, **times})
    except (ValueError, TypeError, KeyError, GoneError):
        return None


def _write(storage: Storage, lease: Lease, patience_s: float | None = None) -> None:
    values = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(lease).items()}
    storage.put(_name(lease.sweep), json.dumps(values).encode(), patience_s)


def _name(sweep: str) -> str:
    return f"{_FOLDER}/{in_path(sweep)}.lease.json"


def _has_ended(lease: Lease) -> bool:
    """Whether the holder was a process of this machine and is no more; a pid that is used again is another's."""
    return _is_here(lease) and born(lease.pid) != lease.born


def _is_here(lease: Lease) -> bool:
    """Whether the holder is or was a process of this machine."""
    return bool(pid_space()) and lease.born.rpartition("/")[0] == pid_space()
