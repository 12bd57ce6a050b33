"""What an executor tells of its packs while they train, and to whom: the live display is one who listens."""

from __future__ import annotations

from typing import Protocol

from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.contract import PackProgress


class Listener(Protocol):
    """Who hears of the packs of a launch."""

    def started(self, pack: Pack) -> None:
        """A worker has taken `pack`."""

    def update(self, progress: PackProgress) -> None:
        """A worker reports."""

    def waits(self, pack: Pack) -> None:
        """No worker trains `pack` for the time being; it is going to be taken up again."""

    def forget(self, pack: Pack) -> None:
        """No worker trains `pack` any longer, and what it had reached is lost."""

    def note(self, line: str) -> None:
        """Something that people should read."""
