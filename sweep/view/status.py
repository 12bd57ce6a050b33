"""How the sweeps of a results root stand, whoever drives them: what `monosweep status` reads.  Torch- and ray-free.

asked + trials parts + heartbeat + lease -> read_status -> SweepStatus
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from monosweep.sweep.plan.members import asked_for
from monosweep.sweep.store.root import Index, Lease, Store, count_by_status
from monosweep.sweep.view.counts import Counts, Heartbeat, Speed

FRESH_S = 30.0
"""A heartbeat older than this is a dead driver's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """One sweep of a results root, as `monosweep status` shows it."""

    sweep: str
    counts: Counts
    speed: Speed
    best: Mapping[str, float]
    """The best that trials of the launch at work have shown so far; empty if there is none."""
    live: bool
    """Whether a driver is at work: its heartbeat is fresh."""
    updated_at: datetime | None
    """The last heartbeat; UTC."""
    n_hidden: int
    """Rows of the whole root that the views hide as duplicates."""
    unreadable: tuple[str, ...]
    """Parts that cannot be read: of the whole root's rows, and of what this sweep was asked for."""
    lease: Lease | None = None
    """Who drives it now."""


def read_status(root: str, sweep: str | None = None) -> list[SweepStatus]:
    """How the sweeps of a results root stand; one of them, or all.

    Raises:
        StoreError: if `root` is not a results root or has no such sweep.
    """
    store = Store.open(root)
    index = store.index()
    names = store.sweeps() if sweep is None else [store.known(sweep)]
    return [_status(store, name, index) for name in names]


def _status(store: Store, sweep: str, index: Index) -> SweepStatus:
    asked = asked_for(store, sweep)
    beat = _heartbeat(store, sweep)
    live = beat is not None and _is_live(beat)
    return SweepStatus(
        sweep=sweep,
        counts=Counts.of(
            len(asked.trial_ids), count_by_status(index.statuses, asked.trial_ids), beat.running if beat and live else 0
        ),
        speed=beat.speed if beat and live else Speed(),
        best=beat.best if beat and live else {},
        live=live,
        updated_at=beat.updated_at if beat else None,
        n_hidden=index.n_hidden,
        unreadable=(*index.unreadable, *asked.unreadable),
        lease=store.read_lease(sweep),
    )


def _heartbeat(store: Store, sweep: str) -> Heartbeat | None:
    """The last one; None if there is none, or none that we have written."""
    try:
        return Heartbeat.from_json(store.read_heartbeat(sweep) or {})
    except (ValueError, TypeError, KeyError):
        return None


def _is_live(beat: Heartbeat) -> bool:
    if beat.state != "running" or (datetime.now(UTC) - beat.updated_at).total_seconds() > FRESH_S:
        return False
    return beat.host != socket.gethostname() or _exists(beat.pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's process is a process
        return True
    return True
