"""Places that train: what a fault there costs, and for how long."""

from __future__ import annotations

from monosweep.sweep.work.blame import Loss, Places
from monosweep.sweep.work.faults import Cause

FAULT = Loss(Cause.MEMORY, "out of memory")


def places() -> Places:
    """Two, of four workers in all."""
    found = Places(4, lambda: 2)
    found.began("a", "CPU", 0)
    found.began("b", "CPU", 0)
    return found


def cost(there: Places, name: str, now: float) -> float:
    """Seconds for which one fault takes a slot."""
    there.failed(name, FAULT, now)
    assert there.slots(now) == there.n_workers - 1
    return next(s for s in range(1, 1000) if there.slots(now + s) == there.n_workers)


def test_a_slot_is_lost_for_longer_each_time_until_something_that_began_later_succeeds_there() -> None:
    there = places()
    assert [cost(there, "a", 1000.0 * k) for k in range(1, 5)] == [1, 2, 4, 8]
    assert cost(there, "b", 5000.0) == 1, "another place's faults are its own"
    there.succeeded("a", 3999.0)  # it has trained all along
    assert cost(there, "a", 6000.0) == 16
    there.succeeded("a", 6001.0)
    assert cost(there, "a", 7000.0) == 1


def test_a_success_gives_the_slot_back_at_once() -> None:
    there = places()
    for _ in range(5):
        there.failed("a", FAULT, 100.0)
    there.failed("b", FAULT, 100.0)
    assert there.slots(100.5) == 4 - 6
    there.succeeded("a", 101.0)
    assert there.slots(100.5) == 4 - 1


def test_it_is_never_longer_than_some_minutes() -> None:
    assert [cost(there, "a", 1000.0 * k) for there in [places()] for k in range(1, 21)][-1] == 300
