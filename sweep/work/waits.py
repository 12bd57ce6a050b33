"""What a launch waits for, in a line as soon as it takes long; and packs that are silent for too long.

a phase of a launch -> told_if_long          workers' reports -> Silences -> the executor ends who has hung
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from monosweep.sweep.text import duration

Say = Callable[[str], None]
LONG_S = 30.0
"""A wait that lasts longer is told; and again after twice, four times, eight times as long."""
_TOLD_S = 60.0
_AWAKE_S = 5.0
"""At most so much of the time between two looks counts: a driver that was asleep has heard nothing, whoever spoke."""
_TICK_S = 0.5


class Wait:
    """A wait that a loop looks at again and again; a line once it is long.

    Args:
        what: says what is waited for, such as "waiting for Ray to start".
    """

    def __init__(self, what: Callable[[], str], say: Say) -> None:
        self._what, self._say = what, say
        self.over()

    def over(self) -> None:
        """It has ended, or is still to begin."""
        self._since: float | None = None
        self._next_s = LONG_S

    def look(self) -> None:
        """It goes on."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._next_s:
            self._next_s = 2 * (now - self._since)
            self._say(f"{self._what()}, for {duration(now - self._since)} now")


@contextmanager
def told_if_long(what: str, say: Say, notes: Callable[[], Iterable[str]] = tuple) -> Iterator[None]:
    """A line about what is waited for, once the block has taken long.

    Args:
        what: such as "waiting for Ray to start".
        notes: what else is to be said meanwhile, such as `Store.notes`.
    """
    over = threading.Event()

    def tell() -> None:
        wait = Wait(lambda: what, say)
        while not over.wait(_TICK_S):
            for line in notes():
                say(line)
            wait.look()

    thread = threading.Thread(target=tell, name="monosweep-waits", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for line in notes():
            say(line)


@dataclass(slots=True)
class Silences:
    """For how long each pack in training has said nothing.

    A pack whose worker has hung once is given twice the patience by the next one, in case it was an honest step.
    """

    patience_s: float
    say: Say
    clock: Callable[[], float] = time.monotonic
    _silent_s: dict[str, float] = field(default_factory=dict)
    _next_told_s: dict[str, float] = field(default_factory=dict)
    _n_hung: dict[str, int] = field(default_factory=dict)
    _looked_at: float | None = None

    def heard(self, pack_id: str) -> None:
        """It has reported, or begins anew."""
        self._silent_s.pop(pack_id, None)
        self._next_told_s.pop(pack_id, None)

    def patience_with(self, pack_id: str) -> float:
        """Seconds that this pack may be silent."""
        return float(self.patience_s * 2 ** self._n_hung.get(pack_id, 0))

    def hung(self, in_training: Collection[str]) -> dict[str, str]:
        """The packs in training that have been silent for too long, once each, with a reason; a line about others that
        have been for long."""
        now = self.clock()
        passed_s = min(_AWAKE_S, now - self._looked_at) if self._looked_at is not None else 0.0
        self._looked_at, before = now, self._silent_s
        self._silent_s = {pack_id: before.get(pack_id, -passed_s) + passed_s for pack_id in in_training}
        found = {
            pack_id: f"hung: no report for {duration(silent_s)}"
            for pack_id, silent_s in self._silent_s.items() if silent_s >= self.patience_with(pack_id)
        }  # fmt: skip
        for pack_id in found:
            self._n_hung[pack_id] = self._n_hung.get(pack_id, 0) + 1
            self.heard(pack_id)
        for pack_id, silent_s in self._silent_s.items():
            self._tell(pack_id, silent_s)
        return found

    def _tell(self, pack_id: str, silent_s: float) -> None:
        if silent_s < self._next_told_s.get(pack_id, _TOLD_S):
            return
        self._next_told_s[pack_id] = 2 * silent_s
        self.say(
            f"pack {pack_id} has not reported for {duration(silent_s)}: a long step or compilation, storage that does "
            f"not answer, or a worker that hangs; after {duration(self.patience_with(pack_id))} it is taken up by "
            f"another (--patience-s)"
        )
