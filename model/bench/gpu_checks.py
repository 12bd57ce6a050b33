"""What must hold where the GPU's engine trains: `sweep.bench.gpu` asks it of the device at hand, tests of a CPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy import ndarray
from torch.profiler import ProfilerActivity, profile

from monosweep.model.bench.shapes import LARGE_OPERATIONS, SHAPES, Shape, shape_named
from monosweep.model.config import Precision
from monosweep.model.engines.gpu.engine import CHUNK_STEPS, StackedEngine
from monosweep.model.engines.gpu.memory import gpu_bytes
from monosweep.model.engines.gpu.products import group_size
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer

APART: dict[Precision, float] = {"fp64": 1e-9, "fp32": 1e-4, "tf32": 1e-2, "bf16": 3e-2}
"""Mean relative difference of losses between engines, at most."""
LAUNCHES, MORE_LAUNCHES = 36, 8
"""Of a step of one group, at most, and of each group more."""
SIZES = (1, 3, 9)
"""Packs that are held against a large one."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold, and what was found."""

    name: str
    holds: bool
    found: str


def all_checks(device: str, shapes: Sequence[Shape] = SHAPES, large: int = 512, largest: int = 9) -> Iterator[Check]:
    """One after another; packs of `large`, or of `largest` where a step is large."""
    yield from engines(device)
    yield from checkpoints(device)
    yield from slots_change_hands(device)
    for shape in shapes:
        most = large if shape.operations < LARGE_OPERATIONS else largest
        yield from budgets(shape, most, device)
        for precision in APART:
            yield same_in_any_pack(shape, precision, most, device)


def engines(device: str, n_steps: int = 30) -> Iterator[Check]:
    """Both engines that train packs against the one that defines what is trained."""
    for precision, tolerance in APART.items():
        configs = _mixed(precision)
        solo = np.concatenate([SoloEngine((c,), device).advance(n_steps) for c in configs], axis=1)
        for engine in (StackedEngine(configs, device), VmappedEngine(configs, device)):
            apart = float(np.abs(engine.advance(n_steps) / solo - 1).mean())
            yield Check(f"{engine.name} as solo, {precision}", apart <= tolerance, f"{apart:.1e} apart")


def same_in_any_pack(shape: Shape, precision: Precision, most: int, device: str, n_steps: int = 64) -> Check:
    """Losses of small packs against those of the same trials among `most`, bit for bit."""
    configs = shape.trials(most, n_steps=256, precision=precision)
    whole = StackedEngine(configs, device).advance(n_steps)
    other = [
        size for size in SIZES
        if size < most
        and not np.array_equal(StackedEngine(configs[1 : 1 + size], device).advance(n_steps), whole[:, 1 : 1 + size])
    ]  # fmt: skip
    found = f"packs of {', '.join(map(str, other))} differ" if other else "equal bits"
    return Check(f"{shape.name}, {precision}: small packs as one of {most}", not other, found)


def checkpoints(device: str, other: str = "cpu") -> Iterator[Check]:
    """Continued where it was taken, and after a while elsewhere."""
    configs = _mixed("fp64")
    stopped, through = PackTrainer(configs, device), _curves(PackTrainer(configs, device))
    _go(stopped, 5)
    apart = _apart(_curves(PackTrainer.from_bytes(stopped.to_bytes(), device)), through)
    yield Check("a checkpoint continued", apart == 0, f"{apart:.1e} apart")
    guest = PackTrainer.from_bytes(stopped.to_bytes(), other)
    _go(guest, 2)
    apart = _apart(_curves(PackTrainer.from_bytes(guest.to_bytes(), device)), through)
    yield Check(f"a checkpoint continued on the {other} and back", apart <= 1e-6, f"{apart:.1e} apart")


def slots_change_hands(device: str) -> Iterator[Check]:
    """Two leave and one comes back: nobody's bits change, and nothing is recorded anew."""
    configs = _mixed("fp32", n_steps=400)
    engine, alone = StackedEngine(configs, device), StackedEngine(configs, device)
    losses, recorded, taken = [engine.advance(20)], engine._train_step, engine.take(3)
    for slot in (1, 3):
        engine.put(slot, None)
    losses.append(engine.advance(10))
    engine.put(3, taken)
    losses.append(engine.advance(15))
    expected, stayed = alone.advance(45), [0, 2, 4]
    same = np.array_equal(np.concatenate(losses)[:, stayed], expected[:, stayed])
    back = np.array_equal(np.concatenate(losses[::2])[:, 3], expected[:35, 3])
    yield Check("who leaves or joins changes nobody's bits", same and back, "equal bits" if same and back else "not so")
    kept = engine._train_step is recorded
    yield Check("nothing is recorded anew for who joins", kept, engine.how)


def budgets(shape: Shape, n: int, device: str) -> Iterator[Check]:
    """Launches of a step, and memory, against what is planned."""
    configs = shape.trials(n, n_steps=4096, precision="bf16")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    engine = StackedEngine(configs, device)
    engine._go_on = lambda: None  # type: ignore[method-assign]
    engine.advance(CHUNK_STEPS)
    found, planned = launches(engine, device), LAUNCHES + MORE_LAUNCHES * (math.ceil(n / group_size(configs[0])) - 1)
    yield Check(f"{shape.name}, {n} members: launches a step", found <= planned, f"{found:.0f} of {planned} planned")
    fixed, member = gpu_bytes(configs[0])
    held = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    yield Check(
        f"{shape.name}, {n} members: memory", held <= fixed + n * member,
        f"{held / 1e9:.2f} of {(fixed + n * member) / 1e9:.2f} GB planned",
    )  # fmt: skip


def launches(engine: StackedEngine, device: str) -> float:
    """Kernels of a step; on a CPU, operations."""
    activities = [ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some releases of torch warn of what is kept of the events
        with profile(activities=activities) as watched:
            engine.advance(CHUNK_STEPS)
            if device == "cuda":
                torch.cuda.synchronize()
    return float(sum(row.count for row in watched.key_averages())) / CHUNK_STEPS


def starts(device: str) -> dict[str, float]:
    """Seconds of an engine's making and first chunk, in processes of their own: without compiled kernels, and with."""
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", __spec__.name, device]
        environment = os.environ | {"TRITON_CACHE_DIR": empty}
        return {
            name: float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for name in ("cold", "warm")
        }


def _first_chunk_s(device: str) -> float:
    start = time.perf_counter()
    StackedEngine(shape_named("tiny").trials(8), device).advance(CHUNK_STEPS)
    return time.perf_counter() - start


def _mixed(precision: Precision, n_steps: int = 200) -> tuple[TwoLayerConfig, ...]:
    """Five trials of two data streams that differ in rate, decay, L1 and bias."""
    shape = replace(shape_named("tiny"), batch_size=64, n_steps=n_steps)
    return tuple(
        replace(trial, bias_decay=3.0 * (i % 2), l1=0.001 * (i % 3), bias_offset=-0.25 * (i % 2), seed=i % 2)
        for i, trial in enumerate(shape.trials(5, precision=precision))
    )


def _curves(trainer: PackTrainer) -> ndarray:
    """Every trial's recorded losses."""
    for _ in trainer:
        pass
    return np.array([result.curve["loss"] for result in trainer.results()])


def _go(trainer: PackTrainer, times: int) -> None:
    for _ in range(times):
        trainer.advance(0.0)


def _apart(ours: ndarray, theirs: ndarray) -> float:
    return float(np.max(np.abs(ours / theirs - 1)))


if __name__ == "__main__":
    print(_first_chunk_s(sys.argv[1]))
