"""How fast the GPU's engine trains, against what the device at hand could do; `sweep.bench.gpu` says of what."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from monosweep.model.bench.shapes import Shape
from monosweep.model.config import Precision
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.pack_size import steady_step_s
from monosweep.model.engines.gpu.products import matmul_settings
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer

PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
Pack = Sequence[TwoLayerConfig]
"""Trials that are trained together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What the GPU does when it does nothing else."""

    flops: dict[str, float]
    """Operations per second of a large square matrix product, by precision."""
    bytes_per_s: float
    """Read and written by a large copy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One case in one precision."""

    case: str
    precision: str
    n_trials: int
    n_packs: int
    pack_size: int
    seconds: float
    """Of all trials; measured where `whole`, else extrapolated from a stretch of one pack."""
    whole: bool
    how: str
    """As rows say."""
    step_ms: float
    """Of one pack."""
    operations_s: float
    """The floor by operations, for all trials."""
    bytes_s: float
    """The floor by bytes, for all trials."""
    others_s: Mapping[str, float]
    """All trials by others (`plain`, `solo`, `jax`), extrapolated."""

    @property
    def trials_per_hour(self) -> float:
        """At this pace."""
        return 3600 * self.n_trials / self.seconds

    @property
    def bytes_share(self) -> float:
        """Of the measured rate of copies."""
        return self.bytes_s / self.seconds

    @property
    def share(self) -> float:
        """Of the measured rate of matrix products."""
        return self.operations_s / self.seconds


def device_rates(device: str, size: int = 8192, seconds: float = 1.0) -> Device:
    """Measure products of `size`² matrices and copies as large as one of them in double precision."""
    flops = dict[str, float]()
    for precision in PRECISIONS:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        with matmul_settings(precision):
            flops[precision] = 2.0 * size**3 / seconds_per_call(partial(torch.mm, a, b, out=out), seconds)
    source = torch.zeros(size, size, device=device, dtype=torch.float64)
    target = torch.empty_like(source)
    copy_s = seconds_per_call(lambda: target.copy_(source), seconds)
    return Device(flops=flops, bytes_per_s=2 * source.nbytes / copy_s)


def seconds_per_call(call: Callable[[], object], seconds: float) -> float:
    """Mean over about `seconds`, after a warm-up."""
    for _ in range(3):
        call()
    _wait()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(10):
            call()
        _wait()
        calls += 10
    return (time.perf_counter() - start) / calls


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(
    case: str, shape: Shape, packs: Sequence[Pack], rates: Device, *, device: str, stretch: int, whole: bool,
    others: Mapping[str, float],
) -> Found:  # fmt: skip
    """Train the packs, or a stretch of the first; `others` make so many steps a second."""
    config, n_trials = packs[0][0], sum(map(len, packs))
    start_s, step_s, engine = _stretch(packs[0], device, stretch)
    seconds = _train(packs, device) if whole else len(packs) * (start_s + step_s * config.n_steps)
    steps = n_trials * config.n_steps
    return Found(
        case=case, precision=config.precision, n_trials=n_trials, n_packs=len(packs), whole=whole,
        how=engine.how, pack_size=len(packs[0]), seconds=seconds, step_ms=1e3 * step_s,
        others_s={name: steps / rate for name, rate in others.items()},
        operations_s=steps * shape.operations / rates.flops[config.precision],
        bytes_s=steps * shape.traffic / rates.bytes_per_s,
    )  # fmt: skip


def _stretch(pack: Pack, device: str, n_steps: int) -> tuple[float, float, StackedEngine]:
    """Seconds until a pack is trained steadily, seconds of a step then, and what trained it."""
    start = time.perf_counter()
    engine = StackedEngine(pack, device)
    first = len(engine.advance(engine.chunk))
    ready_s = time.perf_counter() - start
    step_s = steady_step_s(engine, n_steps)
    return max(0.0, ready_s - first * step_s), step_s, engine


def _train(packs: Sequence[Pack], device: str) -> float:
    start = time.perf_counter()
    for pack in packs:
        trainer = PackTrainer(tuple(pack), device, engine="packed")
        for _ in trainer:
            pass
        trainer.results()
    return time.perf_counter() - start


def solo_rate(shape: Shape, device: str, seconds: float) -> float:
    """Steps per second of the engine that trains one trial at a time."""
    solo = SoloEngine(shape.trials(1), device)
    return 1.0 / seconds_per_call(partial(solo.advance, 1), seconds)
