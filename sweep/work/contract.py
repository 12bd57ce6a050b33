"""What an executor is given and what a worker tells: the words that both sides of a launch share.  Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.options import PATIENCE_S
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.store.root import Store

Keep = Literal["none", "final", "log2"]
MAX_RETRIES = 3
"""How often a pack is taken up again after its worker died, if it got no further meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a worker has to know besides its pack."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    save_weights: Keep = "none"
    """Which recorded steps' weights to keep."""
    record_neurons: Literal["final", "log2"] = "final"
    """Which recorded steps go into `neurons`."""
    rungs: Rungs | None = None
    """Where members wait for orders; None if nobody gives any."""
    tells_ends: bool = True
    """Whether reports say with what metrics members left; where nobody searches or judges, nobody listens."""
    slice_s: float = 10.0
    """Seconds of training between two progress reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What workers have to know of a launch."""

    store: Store
    sweep: str
    settings: Settings
    n_workers: int
    """Packs in training at a time."""
    patience_s: float = PATIENCE_S
    """Silence of a pack after which its worker counts as hung."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A member at a rung."""

    trial_id: str
    step: int
    values: Mapping[str, Any]
    """Columns of `curves`."""
    judged: bool = False
    """It has been decided, in this launch or an earlier one, that it goes on from here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """A member that has its row."""

    trial_id: str
    status: TrialStatus
    last_step: int
    metrics: Mapping[str, Any] | None
    """Losses and metrics, as in `trials`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A member whose row says `failed`."""

    trial_id: str
    error: str
    """Why, in one line."""

    def __str__(self) -> str:
        return f"trial {self.trial_id} failed: {self.error}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What a worker is to do before it trains on."""

    stop: Mapping[str, str] = field(default_factory=dict)
    """Members who leave, by trial_id, and why."""
    hold: frozenset[str] = frozenset()
    """Members of whom it is not decided yet; they come with `release`."""
    release: bool = False
    """Checkpoint the pack and train it no further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackProgress:
    """How far a pack is.  Everything counts its members, over all halves it may have been split into."""

    pack_id: str
    n_trials: int
    model_steps: int
    """Steps of single trials done, those from a checkpoint included; n_trials·n_steps at the end."""
    trained_steps: int
    """The same without those from a checkpoint: what this worker has done since it took the pack."""
    ended: Mapping[TrialStatus, int] = field(default_factory=dict)
    """Trials whose rows are committed."""
    finished: bool = False
    """Every member has its row."""
    stopped: bool = False
    """It is checkpointed, and this worker trains it no further."""
    released: bool = False
    """The same, as it was ordered to: its members are packed anew, and all else counts only those that have rows."""
    seen: tuple[Seen, ...] = ()
    """Members that have reached a rung; where a pack goes on, also those that had before."""
    left: tuple[Left, ...] = ()
    """Members that have got their rows since the last report, if that is told (`Settings.tells_ends`)."""
    best: Mapping[str, float] = field(default_factory=dict)
    """The best that its members have shown at recorded steps (`sweep.work.best`)."""
    failures: tuple[Failure, ...] = ()
    """Members that have failed since the last report."""
    warnings: tuple[str, ...] = ()
    """What the user should hear about since the last report."""
