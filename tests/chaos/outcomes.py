"""What faults have cost a sweep: a line for each event, a table of kinds × outcomes for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

_COLUMNS = (
    "kind", "events", "launches", "packs taken up", "s not kept", "worst", "came late", "false failed", "lost"
)  # fmt: skip


@dataclass(slots=True)
class Event:
    """One fault."""

    kind: str
    lost_s: list[float] = field(default_factory=list)
    """For each process that was training and ended with it, the seconds that it had not kept."""
    launches: int = 0
    """How often the sweep had to be launched again until it trained."""
    taken_up: int = 0
    """Packs that a running driver gave to another worker."""
    late: bool = False
    """A worker committed after it was given up."""
    failed: int = 0
    """Parts with `failed` rows that appeared, whatever became of them."""
    lost: int = 0
    """Rows that were there before."""
    note: str = ""
    """How it was done, where that depends on the machine."""


@dataclass(slots=True)
class Outcome:
    """What has happened to a sweep."""

    events: list[Event] = field(default_factory=list)
    n_checkpoints: int = 0
    extended: int = 0
    """How often the sweep was done before the faults were."""

    def table(self) -> str:
        """Kinds × outcomes."""
        by_kind = defaultdict[str, list[Event]](list)
        for event in self.events:
            by_kind[event.kind].append(event)
        rows = [_COLUMNS, *(_row(kind, events) for kind, events in sorted(by_kind.items())), _row("all", self.events)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        notes = sorted({f"{event.kind}: {event.note}" for event in self.events if event.note})
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([*lines, f"checkpoints: {self.n_checkpoints}", *notes])


def _row(kind: str, events: Sequence[Event]) -> tuple[str, ...]:
    lost_s = [seconds for event in events for seconds in event.lost_s]
    mean, worst = sum(lost_s) / len(events) if events else 0.0, max(lost_s, default=0.0)
    return (
        kind, str(len(events)), str(sum(event.launches for event in events)), str(sum(e.taken_up for e in events)),
        f"{mean:.1f}", f"{worst:.1f}", str(sum(event.late for event in events)), str(sum(e.failed for e in events)),
        str(sum(event.lost for event in events)),
    )  # fmt: skip
