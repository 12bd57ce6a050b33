"""Places that train: what a fault there costs, and for how long."""

from __future__ import annotations

from monosweep.sweep.work.blame import Loss, Places
from monosweep.sweep.work.faults import Cause

FAULT = Loss(Cause.MEMORY, "out of memory")


def cost(places: Places, name: str, now: float) -> float:
    """Seconds for which one fault takes a slot."""
    places.failed(name, FAULT, now)
    return next(s for s in range(1, 1000) if places.slots(now + s) == places.n_workers)


def test_a_slot_is_lost_for_longer_each_time_until_something_succeeds_there() -> None:
    places = Places(4, lambda: 2)
    places.began("a", "CPU", 0)
    places.began("b", "CPU", 0)
    assert [cost(places, "a", 1000.0 * k) for k in range(4)] == [1, 2, 4, 8]
    assert cost(places, "b", 10_000.0) == 1  # another place's faults are its own
    places.succeeded("a")
    assert cost(places, "a", 20_000.0) == 1
