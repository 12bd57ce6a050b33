"""How to launch: what the command line and `launch` are told besides the spec."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from monosweep.model.config import ConfigError
from monosweep.sweep.plan.budget import Budget

PATIENCE_S = 900.0
"""An honest pack reports every few seconds; what may hold it up is one step of a large model, a first compilation (a
minute) and storage that is away (a minute for each file of a commit)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """How to launch; none of it changes a row."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` on this machine or a cluster; `inline` in this process."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    workers: int | None = None
    """Packs in training at a time; left out, one per core or GPU with Ray, and one inline.  More than this machine has
    GPUs share them."""
    address: str | None = None
    """A running Ray cluster; left out, Ray starts here and ends with the launch."""
    retry_failed: bool = False
    """Train failed trials again."""
    unfinished: bool = False
    """Train also what the sweep was asked for before and lacks."""
    patience_s: float = PATIENCE_S
    """Seconds without a report after which a pack's worker counts as hung: it is ended, and another goes on."""
    budget: Budget = field(default_factory=Budget)
    """What it may spend."""
    dry_run: bool = False
    """Only say what would be trained."""

    def __post_init__(self) -> None:
        if not 0 < self.patience_s < math.inf:
            raise ConfigError(f"--patience-s must be a number of seconds above 0; got {self.patience_s:g}")
