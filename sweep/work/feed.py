"""Where a launch's packs come from: they are given, or made while it goes on (`search.feed`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.contract import Orders, PackProgress


class Feed(Protocol):
    """Gives an executor's queue its packs, and its workers their orders."""

    @property
    def over(self) -> bool:
        """Whether no pack will come any more, unless one in training brings it."""

    def next(self) -> Pack | None:
        """The next pack to train; None if there is none now."""

    def heard(self, progress: PackProgress) -> Orders:
        """A worker reports; what it is to do."""

    def replaced(self, pack_id: str, parts: Sequence[Pack]) -> None:
        """A pack is trained no more; these are in its stead."""


class Given:
    """Packs that are known from the start, each trained to its end."""

    def __init__(self, packs: Sequence[Pack]) -> None:
        self._rest = deque(packs)

    @property
    def over(self) -> bool:
        return not self._rest

    def next(self) -> Pack | None:
        return self._rest.popleft() if self._rest else None

    def heard(self, progress: PackProgress) -> Orders:
        return Orders()

    def replaced(self, pack_id: str, parts: Sequence[Pack]) -> None:
        """It makes no difference here."""
