"""The faults: each does its harm to a sweep in training and returns once that is over.

Disturbed, a Random -> FAULTS[kind] -> what was training and is gone, what has come late
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from disturbed import PATIENCE_S, Disturbed
from memory import starve
from monosweep.sweep.store.lease import EXPIRES_S
from outcomes import Event
from processes import Driver, gone

_DIES_S, _SOON_S, _LONG_S = 180.0, 60.0, 600.0
_LONGEST_OUTAGE_S = 6.0
_CUDA, _HUNG = "CUDA error", "hung: no report for"
Fault = Callable[[Disturbed, Event, Sequence[int], Random], None]


def worker(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """SIGKILL of a worker."""
    _end(random.choice(training))


def driver(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """SIGKILL of the driver."""
    sweep.driver.process.kill()
    _all_ended(sweep, training)


def raylet(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """SIGKILL of the raylet."""
    _send(_raylets(sweep.driver), signal.SIGKILL)
    _all_ended(sweep, training)


def node(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """SIGTERM to all workers and the raylet together, as of a machine that stops."""
    _send([*training, *_raylets(sweep.driver)], signal.SIGTERM)
    _all_ended(sweep, training)


def memory(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """A neighbour takes all memory, and the kernel kills a worker for it."""
    victim = random.choice(training)
    starved = starve(victim)
    event.note = "killed by the kernel, in a group" if starved else "SIGKILL stood in for the kernel"
    if not starved:
        _end(victim)


def device(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """The GPU of this machine is broken for some seconds, for every process."""
    broken, before = sweep.folder / "broken", sweep.driver.said().count(_CUDA)
    broken.touch()
    sweep.until(lambda: sweep.driver.said().count(_CUDA) > before, _SOON_S)
    sweep.until(lambda: False, random.uniform(0, _LONGEST_OUTAGE_S))
    broken.unlink()


def root(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """The results root cannot be read for some seconds: ESTALE, before the C library."""
    stale = sweep.folder / "stale"
    stale.touch()
    sweep.until(lambda: False, random.uniform(1, _LONGEST_OUTAGE_S))
    stale.unlink()


def paused(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """The driver stops past its lease, another takes over, and the first goes on."""
    first = sweep.driver
    first.process.send_signal(signal.SIGSTOP)
    sweep.until(lambda: _state(first.process.pid) == "T", _SOON_S)
    event.note = _end_lease(sweep)
    second = sweep.launch()
    sweep.replace(second)
    sweep.training()
    first.process.send_signal(signal.SIGCONT)
    assert first.finish(_DIES_S) != 0, first.said()
    assert "has taken over" in first.said() and "Traceback" not in first.said(), first.said()
    assert gone(training, _DIES_S)
    event.launches += 1


def late(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    """A worker stops as it is about to commit, is given up as hung, and goes on."""
    hold = sweep.folder / "hold"
    hold.touch()
    while not sweep.until(lambda: bool(_stopped(sweep)), _LONG_S):
        sweep.training()
    (pid,) = _stopped(sweep)
    before = sweep.driver.said().count(_HUNG)
    assert sweep.until(lambda: sweep.driver.said().count(_HUNG) > before, PATIENCE_S + _LONG_S), sweep.driver.said()
    kept = sweep.writes.last(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    sweep.until(lambda: gone([pid], 0.1) or sweep.writes.last(pid) > kept, _SOON_S)
    event.late = sweep.writes.last(pid) > kept


FAULTS: dict[str, Fault] = {
    "worker": worker, "driver": driver, "raylet": raylet, "node": node, "memory": memory, "device": device,
    "root": root, "paused": paused, "late": late,
}  # fmt: skip


def _end(pid: int) -> None:
    _send([pid], signal.SIGKILL)
    assert gone([pid], _DIES_S)


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _all_ended(sweep: Disturbed, training: Sequence[int]) -> None:
    assert sweep.driver.finish(_DIES_S) != 0
    assert gone(training, _DIES_S)


def _raylets(driver: Driver) -> list[int]:
    return [pid for pid, command in driver.family().items() if "/raylet/raylet " in command]


def _end_lease(sweep: Disturbed) -> str:
    """Past the lease's end: wait for it as often as is wanted, else write what it will be then."""
    if sweep.real_leases > 0:
        sweep.real_leases -= 1
        time.sleep(EXPIRES_S + 1)
        return "the lease ended by itself"
    path = sweep.out / "sweeps" / f"{sweep.spec.stem}.lease.json"
    lease = json.loads(path.read_text())
    lease["expires_at"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    beside = path.with_name(".ended")
    beside.write_text(json.dumps(lease))
    beside.replace(path)
    return "the lease's end was written into it, in place of waiting"


def _stopped(sweep: Disturbed) -> list[int]:
    return [pid for pid in sweep.driver.family() if _state(pid) == "T"]


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return ""
