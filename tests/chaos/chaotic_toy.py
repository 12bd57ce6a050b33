"""A family of a user's on a machine whose GPU is broken while the file CHAOS_BROKEN is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosweep.model import Family, Loss, TrialConfig, generator


class Toy(Family):
    """A line that is learnt; the driver draws the first batch only, to see how large it is."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TrialConfig):
        """Nothing of its own."""

    @classmethod
    def start(cls, config: Any) -> dict[str, torch.Tensor]:
        return {"w": torch.zeros(8)}

    @classmethod
    def sample(cls, config: Any, step: int) -> dict[str, torch.Tensor]:
        if step > 1 and os.path.exists(os.environ.get("CHAOS_BROKEN", "")):
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")
        drawn = np.random.Generator(generator(config.seed, "x", block=step)).standard_normal((2, 8))
        return {"x": torch.from_numpy(drawn).float()}

    @classmethod
    def loss(cls, config: Any, params: Any, fixed: Any, batch: Any, knobs: Any) -> Loss:
        loss = (batch["x"] - params["w"]).square().mean()
        return Loss(loss, loss)
