"""JAX in a process of its own: its threads and its compiled programs stay out of the driver, which forks.

JaxPeer.turn(seed) --pipe--> contenders.jax_pack.JaxPack, one per case
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from contenders.sample import CHECKED_RATES, Case, Losses, Sample, Turn, windowed
from monosweep.model.families.two_layer.config import TwoLayerConfig

if TYPE_CHECKING:
    from contenders.jax_pack import JaxPack


class JaxPeer:
    """JAX in a process of its own, which keeps what it has compiled from turn to turn."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        ours, theirs = mp.get_context("spawn").Pipe()
        self._pipe = ours
        self._process = mp.get_context("spawn").Process(target=_serve, args=(theirs, cases), daemon=True)
        start = time.perf_counter()
        self._process.start()
        theirs.close()
        self.compile_s: list[float] = ours.recv()
        self.startup_s = time.perf_counter() - start
        """Starting, importing and compiling every case, once."""

    def turn(self, seed: int) -> Turn:
        """All cases, one after another, each on all cores."""
        self._pipe.send(seed)
        return Turn(samples=self._pipe.recv(), startup_s=self.startup_s)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        self._process.kill()


def _serve(pipe: Connection, cases: Sequence[Case]) -> None:
    from contenders.jax_pack import JaxPack

    packs = [JaxPack(_trials(case, 0), case.jax_steps) for case in cases]
    pipe.send([pack.compile_s for pack in packs])
    with suppress(EOFError):
        while True:
            seed = pipe.recv()
            pipe.send(tuple(_sample(c, p, seed) for c, p in zip(cases, packs, strict=True)))


def _trials(case: Case, seed: int) -> tuple[TwoLayerConfig, ...]:
    return case.shape.trials(case.n_jax, case.n_steps, seed=seed)


def _sample(case: Case, pack: JaxPack, seed: int) -> Sample:
    trials = _trials(case, seed)
    pack.restart(trials)
    traces, seconds, steps = [], 0.0, 0
    for _ in range(case.n_steps // case.jax_steps):
        start = time.perf_counter()
        traces.append(pack.advance())
        seconds += time.perf_counter() - start
        steps += case.jax_steps * case.n_jax
    return Sample(
        contender="jax", shape=case.shape.name, step_ms=1e3 * seconds / steps,
        losses=_losses(case, trials, np.concatenate(traces)),
    )  # fmt: skip


def _losses(case: Case, trials: Sequence[TwoLayerConfig], trace: ndarray) -> Losses:
    losses: dict[tuple[float, int], list[float]] = {}
    for i, trial in enumerate(trials):
        if trial.lr in CHECKED_RATES:
            for step in case.loss_steps:
                losses.setdefault((trial.lr, step), []).append(windowed(trial, trace[:, i], step))
    return losses
