"""The packs of a launch that wait for a worker, and whose fault it is when one is lost.  Both executors ask it.

    take() -> Order -> worker -> began, heard -> finished, or
                              -> lost -> again later | its halves | a `failed` row | nobody's row (`problem`)

A trial is deterministic: what kills its worker does so again at the same step.  So deaths count against a pack only
while it gets no further; after some it is halved, until who is alone has killed its workers again and again.  What
comes of memory, of a machine or before a worker has begun counts against no trial: the pack waits, longer each time,
and a place where nothing succeeds any more is left out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monosweep.model.config import TrialConfig, UserError
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.blame import Loss, Places
from monosweep.sweep.work.contract import MAX_RETRIES, Failure, Orders, PackProgress, Work
from monosweep.sweep.work.failures import fail, missing, settled_progress, split
from monosweep.sweep.work.faults import Cause
from monosweep.sweep.work.feed import Feed
from monosweep.sweep.work.progress import Listener

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
PATIENCE = 8
"""How often a pack is lost through no fault of its own, and gets no further, before this launch does without it: in
all two minutes of waiting."""
SOUND_S = 30.0
"""A place where a pack has trained so long is sound."""
_KEPT = "what is finished is kept"
_WORDS = {
    Cause.GONE: "a worker has gone", Cause.DIED: "a worker died", Cause.MEMORY: "a worker died",
    Cause.MACHINE: "a worker cannot train",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """A pack for a worker."""

    pack: Pack
    left_out: tuple[str, ...] = ()
    """Places that can train nothing: who finds itself there keeps the place, so that no other pack comes to it."""
    avoid: tuple[str, ...] = ()
    """Places where this pack has killed its worker: if possible, it is tried elsewhere."""


@dataclass(slots=True)
class _Case:
    """A pack that waits or trains, and what has become of it so far."""

    pack: Pack
    suspect: bool = False
    """It is half of a pack that killed its workers."""
    place: str = ""
    """Where its present worker is; empty until that has begun."""
    kills_then: int = 0
    """What the kernel there had killed when it began."""
    reached: int = -1
    """Model steps with which an attempt at it began: those that are kept."""
    deaths: list[tuple[str, int]] = field(default_factory=list)
    """Since it last got further: where, and `kills_then`."""
    faults: int = 0
    """Of machines and memory, since it last got further."""
    not_before: float = 0.0
    refusals: int = 0
    began_at: float = 0.0
    heard: bool = False
    """Whether its present worker has reported what it has trained."""


class Queue:
    """What is left of a launch.

    Args:
        work: what it is about.
        feed: its packs.
        listener: who hears of them.
        n_places: how many places there are to train on; asked when one is left out.
    """

    def __init__(
        self, work: Work, feed: Feed, listener: Listener, n_places: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._work, self._feed, self._listener, self._clock = work, feed, listener, clock
        self._waiting: deque[_Case] = deque()
        self._later: list[_Case] = []
        self._training: dict[str, _Case] = {}
        self._places = Places(work.n_workers, n_places)
        self._aside: list[tuple[_Case, str]] = []

    # -- what is to be done

    @property
    def over(self) -> bool:
        """Whether nothing is in training, and nothing else can be."""
        if self._places.none_left:
            return not any(case.place for case in self._training.values())
        return not (self._training or self._waiting or self._later) and self._feed.over

    @property
    def left_out(self) -> tuple[str, ...]:
        """Places that can train nothing."""
        return self._places.left_out

    @property
    def problem(self) -> UserError | None:
        """Why trials are left without a row, once it is over."""
        if self._places.none_left:
            told = self._places.told()
            return UserError(f"no machine is left that can train ({told}); {_KEPT}; put it right and launch again")
        if not self._aside:
            return None
        n_trials = sum(len(case.pack.configs) for case, _ in self._aside)
        reason = self._aside[-1][1]
        return UserError(
            f"{n_trials} trials could not be trained, through no fault of theirs that is known ({reason}); {_KEPT}; "
            f"put it right, or use fewer --workers if it is memory, and launch again"
        )

    def take(self) -> Order | None:
        """The next pack; None if there is none now."""
        now = self._clock()
        if len(self._training) >= self._places.slots(now) or self._places.none_left:
            return None
        case = self._next(now)
        if case is None:
            return None
        case.place, case.heard = "", False
        self._training[case.pack.pack_id] = case
        return Order(case.pack, self._places.left_out, self._avoided(case))

    def _next(self, now: float) -> _Case | None:
        """Who was interrupted goes on first, who met with a fault last."""
        due = [case for case in self._later if case.not_before <= now]
        case = next((case for case in due if not case.faults), None)
        if case is None and self._waiting:
            return self._waiting.popleft()
        if case is None and (pack := self._feed.next()):
            return _Case(pack)
        if case is None and due:
            case = due[0]
        if case is not None:
            self._later.remove(case)
        return case

    def _avoided(self, case: _Case) -> tuple[str, ...]:
        died_at = {place for place, _ in case.deaths}
        others = self._places.usable - died_at
        return tuple(sorted(died_at)) if others and case.refusals <= MAX_RETRIES else ()

    # -- what becomes of it

    def began(self, pack_id: str, place: str, device_name: str, kills: int) -> None:
        """A worker has begun with a pack: it sees the root, and its device answers."""
        case = self._training[pack_id]
        case.place, case.kills_then, case.began_at = place, kills, self._clock()
        self._places.began(place, device_name, kills)
        self._listener.started(case.pack)

    def heard(self, progress: PackProgress) -> Orders:
        """A worker reports; what it is to do."""
        case = self._training[progress.pack_id]
        if not case.heard and progress.model_steps > case.reached:
            case.reached, case.faults = progress.model_steps, 0
            case.deaths.clear()
        case.heard = True
        if progress.finished or (progress.trained_steps and self._clock() - case.began_at >= SOUND_S):
            self._places.succeeded(case.place, case.began_at)
        if progress.finished or progress.released:
            del self._training[progress.pack_id]
        self._listener.update(progress)
        if progress.released:
            self._listener.waits(case.pack)
        return self._feed.heard(progress)

    def refused(self, pack_id: str) -> None:
        """A worker finds itself where the pack should not be trained."""
        case = self._training.pop(pack_id)
        case.refusals += 1
        self._later.append(case)
        case.not_before = self._clock() + FIRST_PAUSE_S

    def lost(self, pack_id: str, loss: Loss) -> None:
        """A pack's worker is gone.

        Raises:
            StoreError: if a `failed` row cannot be written.
        """
        case = self._training.pop(pack_id)
        place = loss.place or case.place
        if loss.cause is Cause.GONE:
            self._again(case, loss, 0.0)
        elif loss.cause is Cause.DIED and case.place:
            case.deaths.append((place, case.kills_then))
            self._judge(case, loss)
        else:
            case.faults += 1
            self._bear(case, loss, place)

    def _judge(self, case: _Case, loss: Loss) -> None:
        """After a death that may be the pack's doing."""
        own = [death for death in case.deaths if not self._places.killed_for_memory(*death)]
        rest = self._rest(case)
        allowed = 0 if case.suspect and len(rest) > 1 else MAX_RETRIES
        if len(own) > allowed or not rest:
            self._give_up(case, rest, loss)
        elif len(case.deaths) - len(own) >= PATIENCE:
            self._put_aside(case, loss)
        else:
            self._again(case, loss, _pause(len(case.deaths) - 1))

    def _bear(self, case: _Case, loss: Loss, place: str) -> None:
        """After what is nobody's fault."""
        if line := self._places.failed(place, loss, self._clock()):
            self._listener.note(line)
        if loss.cause is Cause.MEMORY and case.faults > 1 and len(rest := self._rest(case)) > 1:
            self._halve(case, rest, suspect=False)
        elif case.faults >= PATIENCE:
            self._put_aside(case, loss)
        else:
            self._again(case, loss, _pause(case.faults))

    def _rest(self, case: _Case) -> list[TrialConfig]:
        return missing(self._work.store.pack_rows(self._work.sweep, case.pack.pack_id), case.pack)

    def _again(self, case: _Case, loss: Loss, pause_s: float) -> None:
        when = f" in {pause_s:.0f} s" if pause_s else ""
        self._listener.note(f"{_WORDS[loss.cause]} ({loss.reason}); pack {case.pack.pack_id} is taken up again{when}")
        self._listener.waits(case.pack)
        case.not_before = self._clock() + pause_s
        self._later.append(case)

    def _give_up(self, case: _Case, rest: list[TrialConfig], loss: Loss) -> None:
        """Halves of what a pack lacks are trained; a single trial gets a `failed` row."""
        if len(rest) > 1:
            self._halve(case, rest, suspect=True)
            return
        if rest:
            error = f"its worker died {len(case.deaths)} times ({loss.reason})"
            name = self._places.device_name(case.deaths[-1][0])
            fail(self._work.store, self._work.sweep, case.pack, rest, error, self._work.settings.device, name)
            self._listener.note(str(Failure(trial_id=rest[0].trial_id, error=error)))
        self._close(case)

    def _halve(self, case: _Case, rest: list[TrialConfig], suspect: bool) -> None:
        self._listener.note(f"pack {case.pack.pack_id} cannot be trained as it is; its halves are")
        halves = split(self._work.store, self._work.sweep, case.pack, rest)
        self._close(case, halves)
        self._waiting.extendleft(_Case(half, suspect) for half in reversed(halves))

    def _put_aside(self, case: _Case, loss: Loss) -> None:
        self._aside.append((case, loss.reason))
        self._close(case)

    def _close(self, case: _Case, parts: Sequence[Pack] = ()) -> None:
        self._feed.replaced(case.pack.pack_id, parts)
        self._listener.forget(case.pack)
        self._listener.update(settled_progress(self._work, case.pack))


def _pause(n: int) -> float:
    """Seconds to wait after the n-th trouble."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (n - 1)) if n > 0 else 0.0
