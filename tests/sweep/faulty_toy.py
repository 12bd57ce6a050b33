"""A family of a user's whose trials or machines fail: the environment says which, so that the digest stays."""

from __future__ import annotations

import fcntl
import os
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosweep.model import Family, Loss, TrialConfig, generator

_HELD: list[Any] = []
"""What this process has locked, if it is the bad one of several; None if it is not."""


def _is_bad_process() -> bool:
    """Of all processes that ask, one at a time is bad: who has the lock, or whoever, if there is no lock to have."""
    lock = os.environ.get("TOY_BAD_PROCESS")
    if lock is None or lock == "all" or _HELD:
        return lock == "all" or (lock is not None and _HELD[0] is not None)
    file = open(lock, "a")  # noqa: SIM115, kept for the life of the process
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        _HELD.append(None)
        return False
    _HELD.append(file)
    return True


class Toy(Family):
    """One number that is learnt."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TrialConfig):
        """What is swept."""

        kills: float = 0.0
        "Above 0: the trial ends its process."

    @classmethod
    def start(cls, config: Any) -> dict[str, torch.Tensor]:
        return {"w": torch.zeros(1)}

    @classmethod
    def sample(cls, config: Any, step: int) -> dict[str, torch.Tensor]:
        if config.kills and step > 1:  # the first is drawn by the driver too, to see how large it is
            os.kill(os.getpid(), signal.SIGSEGV)
        if step > 1 and _is_bad_process():
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nfor debugging consider …")
        drawn = np.random.Generator(generator(config.seed, "x", block=step)).standard_normal(config.samples_per_step)
        return {"x": torch.from_numpy(drawn)}

    @classmethod
    def loss(cls, config: Any, params: Any, fixed: Any, batch: Any, knobs: Any) -> Loss:
        loss = (batch["x"] - params["w"]).square().mean()
        return Loss(loss, loss)
