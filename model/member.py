"""A member: a trial while it is in a pack, as something that can be taken out of it and put into another.

Checkpoints, halving a pack, leaving, joining, resuming and moving between engines are all `take` and `put` of these.
Torch-free to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from monosweep.model.config import TrialConfig

if TYPE_CHECKING:
    from torch import Tensor

Rows = dict[str, dict[str, list[ndarray]]]
"""What was recorded for a family's tables: by table and column, one array for each recorded step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """All that one member is, and nothing of its neighbours."""

    config: TrialConfig
    step: int = 0
    """Optimiser steps done."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """On the host: trained tensors by name, an optimizer's moments as `exp_avg.NAME` and `exp_avg_sq.NAME` (other
    optimizers' state as they have it); empty before the first step."""
    latest: Float64[ndarray, " kept"] = field(default_factory=lambda: np.empty(0))
    """The latest losses, as many as are averaged over at any later step."""
    least: float = float("inf")
    """The least mean loss so far."""
    curve: tuple[Mapping[str, Any], ...] = ()
    """Points so far: columns of `curves`."""
    rows: Rows = field(default_factory=dict)
    seconds: float = 0.0
    """Its share of training time so far."""
    judged: int = 0
    """The latest step of which it has been decided that it goes on from there; 0 if none."""
    trained_by: tuple[str, ...] = ()
    """The processes that have trained it, in order, as each calls itself."""
