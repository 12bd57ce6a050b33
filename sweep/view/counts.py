"""How many trials of a sweep have come how far, and how fast: what `launch` shows and `status` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from monosweep.model.records import TrialStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """A sweep's trials by what has become of them."""

    total: int
    """Trials of the sweep."""
    completed: int = 0
    """Trained to the end, now or before."""
    diverged: int = 0
    """Ended because numbers became non-finite."""
    stopped: int = 0
    """Ended early on purpose."""
    failed: int = 0
    """Ended by an error."""
    running: int = 0
    """In a pack that a worker is training."""

    @classmethod
    def of(cls, total: int, ended: Mapping[TrialStatus, int], running: int = 0) -> Counts:
        """From the number of rows by status."""
        return cls(total=total, running=running, **{str(status): n for status, n in ended.items()})

    def by_status(self) -> Counter[TrialStatus]:
        """The number of rows by status."""
        return Counter({status: getattr(self, status) for status in TrialStatus})

    @property
    def ended(self) -> int:
        """Trials that have a row."""
        return self.completed + self.diverged + self.stopped + self.failed

    @property
    def missing(self) -> int:
        """Trials without a row."""
        return self.total - self.ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a sweep trains; None where nothing is known yet."""

    steps_per_s: float | None = None
    """Optimiser steps of single trials per second, over the last minute."""
    trials_per_hour: float | None = None
    """The same in trials of this sweep's mean length."""
    seconds_left: float | None = None
    """Estimated from the steps that are left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """How a driver is getting on: what it leaves in the root every few seconds."""

    state: Literal["running", "finished", "stopped"]
    pid: int
    host: str
    updated_at: datetime
    """UTC."""
    running: int
    """Trials in training."""
    speed: Speed
    best: Mapping[str, float] = field(default_factory=dict)
    """The best that trials of this launch have shown so far (`sweep.work.best`)."""

    def to_json(self) -> dict[str, Any]:
        """For `Store.write_heartbeat`."""
        return {**asdict(self), "updated_at": self.updated_at.isoformat()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Heartbeat:
        """What `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        return cls(
            state=values["state"], pid=int(values["pid"]), host=values["host"], running=int(values["running"]),
            updated_at=datetime.fromisoformat(values["updated_at"]).astimezone(UTC),
            speed=Speed(**{name: None if value is None else float(value) for name, value in values["speed"].items()}),
            best={str(name): float(value) for name, value in values.get("best", {}).items()},
        )  # fmt: skip
