"""The places that train, a machine or a GPU of one, and how each has done so far: which cannot be used any more.

A fault costs a slot for a while, twice as long each time at the same place: a worker that fails at once would otherwise
take one pack after another, while its neighbours are busy with theirs.  That is over once something succeeds there
which began after the fault: who has trained all along says nothing of who comes new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from monosweep.sweep.work.faults import Cause

BAD_AFTER, BAD_AFTER_DEATHS = 3, 8
"""Faults, and deaths of workers that had not begun, in a row after which a place is left out: who dies may have been
killed from outside."""
_FIRST_PENALTY_S, _LONGEST_PENALTY_S = 1.0, 300.0


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a pack has no worker any more."""

    cause: Cause
    reason: str
    """For people, short."""
    place: str = ""
    """Where that was; empty where nobody knows."""


@dataclass(slots=True)
class _Place:
    device_name: str = ""
    kills: int = 0
    """What its kernel has killed for want of memory, as far as is known."""
    faults: int = 0
    """Since something last succeeded there."""
    deaths: int = 0
    """Of workers that had not begun, likewise."""
    last_fault: str = ""
    failed_at: float = 0.0
    penalties: list[float] = field(default_factory=list)
    """Until when slots stay empty for its faults."""
    n_penalties: int = 0
    """Faults in a row that have cost a slot."""


@dataclass(slots=True)
class Places:
    """All places that have been heard of.

    Args:
        n_workers: packs in training at a time, if all is well.
        n_places: how many places there are.
    """

    n_workers: int
    n_places: Callable[[], int]
    _known: dict[str, _Place] = field(default_factory=dict)
    _out: list[str] = field(default_factory=list)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Where nothing is trained any more."""
        return tuple(self._out)

    @property
    def usable(self) -> set[str]:
        """Where something was trained, and may be again."""
        return set(self._known) - set(self._out)

    @property
    def none_left(self) -> bool:
        """Whether all places are left out."""
        return bool(self._out) and len(self._out) >= self.n_places()

    def slots(self, now: float) -> int:
        """How many packs may be in training."""
        return self.n_workers - sum(until > now for place in self._known.values() for until in place.penalties)

    def began(self, name: str, device_name: str, kills: int) -> None:
        """A worker there says what it is."""
        place = self._known.setdefault(name, _Place())
        place.device_name, place.kills = device_name, max(kills, place.kills)

    def succeeded(self, name: str, began_at: float) -> None:
        """A worker there trains, with a pack that it began then."""
        place = self._known[name]
        place.faults = place.deaths = 0
        if began_at > place.failed_at:
            place.penalties, place.n_penalties = [], 0
        if name in self._out:
            self._out.remove(name)

    def failed(self, name: str, loss: Loss, now: float) -> str | None:
        """What is nobody's fault has happened there; returns what to say if it is left out from now on."""
        place = self._known.setdefault(name, _Place())
        place.faults += loss.cause is Cause.MACHINE
        place.deaths += loss.cause is Cause.DIED
        place.last_fault = loss.reason
        if loss.cause is not Cause.DIED:
            self._slow(place, now)
        if (place.faults < BAD_AFTER and place.deaths < BAD_AFTER_DEATHS) or name in self._out:
            return None
        self._out.append(name)
        n_packs = BAD_AFTER if place.faults >= BAD_AFTER else BAD_AFTER_DEATHS
        what = f"{n_packs} packs in a row could not be trained there ({loss.reason})"
        return f"{name or 'a machine'} is left out: {what}"

    def _slow(self, place: _Place, now: float) -> None:
        penalty = _FIRST_PENALTY_S * 2 ** min(place.n_penalties, 12)
        place.penalties = [until for until in place.penalties if until > now]
        place.penalties.append(now + min(_LONGEST_PENALTY_S, penalty))
        place.n_penalties, place.failed_at = place.n_penalties + 1, now

    def killed_for_memory(self, name: str, kills_then: int) -> bool:
        """Whether the kernel has killed there since it was at `kills_then`."""
        return name in self._known and self._known[name].kills > kills_then

    def device_name(self, name: str) -> str:
        """The GPU's or processor's own name."""
        return self._known[name].device_name if name in self._known else "unknown"

    def told(self) -> str:
        """Who is left out and why."""
        return "; ".join(f"{name or 'somewhere'}: {self._known[name].last_fault}" for name in self._out)
