"""What a search asks and is told: the words that sources, judges and `feed` share.  Torch- and Ray-free.

Source.ask -> configs -> packs -> points -> Judge.see -> verdicts -> leavers -> rows -> Source.tell
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from monosweep.model.config import TrialConfig
from monosweep.sweep.plan.rungs import Rungs

Mode = Literal["min", "max"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What a search wants much or little of."""

    expression: str
    """A column of `curves` and `trials`, or SQL of such columns."""
    mode: Mode

    @property
    def sign(self) -> int:
        """By which its values are multiplied so that less is better."""
        return 1 if self.mode == "min" else -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A member at a recorded step."""

    config: TrialConfig
    step: int
    """Optimiser steps done."""
    values: Mapping[str, Any]
    """Columns of `curves`."""

    @property
    def trial_id(self) -> str:
        return self.config.trial_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a member goes on."""

    stop: str | None = None
    """Why it does not: what its row says."""


GO_ON = Verdict()


class Judge(Protocol):
    """Says who goes on.  The order in which members are told to it in one call does not matter to it, or it makes it
    one that does not go with any knob (`in_order`)."""

    @property
    def rungs(self) -> Rungs:
        """At which steps it has something to say."""

    def see(self, points: Sequence[Point]) -> Mapping[str, Verdict]:
        """Verdicts by trial_id, on these members or on others that had to wait; who has none waits."""

    def remember(self, points: Sequence[Point]) -> None:
        """Points on which a verdict was given before, by this judge or by one before it."""

    def left(self, config: TrialConfig) -> Mapping[str, Verdict]:
        """Someone has left who was not told to: it has completed, diverged or failed.  Verdicts on who had to wait."""


class Source(Protocol):
    """Says which trials come next."""

    @property
    def is_over(self) -> bool:
        """Whether it has no more to ask for, whatever it is told."""

    def ask(self, n: int) -> list[TrialConfig]:
        """At most so many trials that it has not asked for before; none while it has to be told first."""

    def tell(self, config: TrialConfig, row: Mapping[str, Any]) -> None:
        """How a trial that was asked for has ended: its row of `trials`."""


def in_order(points: Sequence[Point]) -> list[Point]:
    """By trial_id, which is a hash.

    A pack's members stand in an order of their knobs, and asynchronous halving depends on the order in which it is
    told: fed from the best to the worst it loses nobody, from the worst to the best it stops nobody.
    """
    return sorted(points, key=lambda point: point.trial_id)
