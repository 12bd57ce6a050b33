"""Faults in a random order over a sweep: a seed decides the kinds and pauses, the moment what they hit.

disturb(): train for a while -> a fault -> what it has cost -> ... -> the sweep's end
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from disturbed import Disturbed
from faults import FAULTS
from outcomes import Event
from processes import command_line


def disturb(sweep: Disturbed, kinds: Sequence[str], pause_s: float, random: Random) -> None:
    """Do these faults to a sweep, each after at most so many seconds of training, then let it end."""
    began, settled = time.monotonic(), 0
    for kind in random.sample(list(kinds), len(kinds)):
        sweep.train(random.uniform(0, pause_s))
        training = sweep.training()
        settled = _settle(sweep, settled)
        event = Event(kind)
        sweep.outcome.events.append(event)
        _strike(sweep, event, training, random)
        print(f"{time.monotonic() - began:6.0f} s  {len(sweep.outcome.events):3d}  {event}", flush=True)
    sweep.end()
    _settle(sweep, settled)


def _strike(sweep: Disturbed, event: Event, training: Sequence[int], random: Random) -> None:
    before, n_failed, now = set(sweep.store.index().statuses), len(sweep.writes.failed), time.monotonic()
    FAULTS[event.kind](sweep, event, training, random)
    event.lost_s = [max(0.0, now - sweep.kept(pid, now)) for pid in training if not command_line(pid)]
    event.failed = len(sweep.writes.failed) - n_failed
    event.lost = len(before - set(sweep.store.index().statuses))


def _settle(sweep: Disturbed, before: int) -> int:
    """Packs that were taken up since the last event are its doing."""
    now = sweep.taken_up()
    if sweep.outcome.events:
        sweep.outcome.events[-1].taken_up += now - before
    return now
