"""`monosweep bench --device cuda`: is all as it should be on this NVIDIA GPU, and how fast?

    checks (model.bench.gpu_checks), one line each -> rates of the device -> cases in every precision -> report

A case is a set of trials as one launch on this GPU would pack them:

    tiny, small, quick, paper    512 trials of each shape (8 of the paper's)
    lr3     the six trials of the preset paper/LR3, together, 2^17 steps each
    many    10,000 trials of 4,096 steps: 64 features in 16 dimensions, 128 neurons, 256 samples a step

A stretch of steps is timed and extrapolated to the whole, unless all of it is to be trained, snapshots included.  The
floors are what the same steps could not be faster than: operations over the measured rate of matrix products in that
precision, bytes over the measured bandwidth.  Needs neither Ray nor a network.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from monosweep.model.bench import gpu_checks
from monosweep.model.bench.gpu_checks import Check
from monosweep.model.bench.gpu_rates import PRECISIONS, Device, Found, device_rates, measure, solo_rate
from monosweep.model.bench.shapes import LARGE_OPERATIONS, SHAPES, Shape, shape_named
from monosweep.model.config import Precision, UserError
from monosweep.model.device import device_name
from monosweep.model.engines.gpu.pack_size import useful_pack_size
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.kinds import kind_of
from monosweep.sweep.plan.machine import gpu_memory
from monosweep.sweep.plan.packs import make_packs
from monosweep.sweep.text import duration, table

LR3_RATES = (0.001, 0.003, 0.005, 0.007, 0.01, 0.03)
MANY = Shape(
    name="many", n_features=64, d_embed=16, n_neurons=128, batch_size=256, feature_prob=1 / 64, n_steps=4096
)  # fmt: skip
_STRETCHES = (1024, 256, 2048, 1024)
"""Steps that are timed: of a shape, of a large one, of lr3, of many."""
_SOLO_S = 2.0
Others = Callable[[Shape], Mapping[str, float]]
"""Steps per second of whoever else trains this shape on the device, by name."""


@dataclass(kw_only=True, slots=True)
class GpuReport:
    """What has been found until now."""

    device: str
    versions: str
    checks: list[Check] = field(default_factory=list)
    rates: Device | None = None
    starts: Mapping[str, float] = field(default_factory=dict)
    """Seconds of an engine's making and first steps, without compiled kernels and with."""
    found: list[Found] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)
    """Seconds of every check and case, the making of trials and engines included."""

    @property
    def holds(self) -> bool:
        """Whether all that was checked does."""
        return all(check.holds for check in self.checks)

    def as_plain(self) -> dict[str, Any]:
        """Everything, for JSON."""
        derived = ("share", "bytes_share", "trials_per_hour")
        found = [asdict(f) | {name: getattr(f, name) for name in derived} for f in self.found]
        return asdict(self) | {"found": found}

    def lines(self) -> list[str]:
        """All but the table, in Markdown."""
        lines = [f"{self.device}; {self.versions}.", ""]
        if self.rates:
            measured = ", ".join(f"{name} {rate / 1e12:.0f} Tflop/s" for name, rate in self.rates.flops.items())
            starts = ", ".join(f"{s:.1f} s {name}" for name, s in self.starts.items())
            lines += [f"Measured: {measured}, {self.rates.bytes_per_s / 1e9:.0f} GB/s. Starts: {starts}.", ""]
        return lines + [f"- {'holds' if c.holds else 'DOES NOT HOLD'}: {c.name} ({c.found})" for c in self.checks]


def check_gpu(
    shapes: Sequence[Shape] = (),
    *,
    device: str = "cuda",
    memory_bytes: int | None = None,
    precisions: Sequence[Precision] = PRECISIONS,
    n_many: int = 10_000,
    whole: bool = False,
    others: Others = lambda shape: {},
    tell: Callable[[str], None] = print,
    keep: Callable[[GpuReport], None] = lambda report: None,
) -> GpuReport:
    """Check the GPU at hand, and measure it.

    Args:
        shapes: to check and measure these alone; else all of `SHAPES`, and then `lr3` and `many`.
        device: `cpu` to test this.
        memory_bytes: for all packs; left out, what is free on the GPU.
        n_many: trials of the case `many`.
        whole: train every step instead of extrapolating.
        others: contenders beside the solo engine.
        tell: is told of each check, once it is done, and of each case before.
        keep: is given what there is after each check and case, for who is ended early.

    Raises:
        UserError: if there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs an NVIDIA GPU, and torch finds none; --device cpu measures the processor")
    versions = f"python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}"
    report = GpuReport(device=device_name(device), versions=versions)
    start = time.perf_counter()
    for check in gpu_checks.all_checks(device, shapes or SHAPES):
        report.checks.append(check)
        tell(f"{'ok ' if check.holds else 'BAD'} {check.name}: {check.found}")
        if device == "cuda":
            torch.cuda.empty_cache()
        start, before = time.perf_counter(), start
        report.took_s[check.name] = start - before
        keep(report)
    memory = gpu_memory() if memory_bytes is None else memory_bytes
    report.rates, report.starts = device_rates(device), gpu_checks.starts(device)
    rates_of = dict[str, Mapping[str, float]]()
    for case, shape, trials, stretch in cases(shapes, n_many):
        if shape.name not in rates_of:
            with _timed(report, f"others, {shape.name}"):
                rates_of[shape.name] = {"solo": solo_rate(shape, device, _SOLO_S), **others(shape)}
        for precision in precisions:
            tell(f"{case}, {precision}")
            with _timed(report, f"{case}, {precision}"):
                packs = packs_of(trials(precision), memory, device)
                measured = measure(
                    case, shape, packs, report.rates, device=device, stretch=stretch, whole=whole,
                    others=rates_of[shape.name],
                )  # fmt: skip
            report.found.append(measured)
            keep(report)
    return report


@contextmanager
def _timed(report: GpuReport, part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    report.took_s[part] = time.perf_counter() - start


def lr3(precision: Precision, shape: Shape) -> list[TwoLayerConfig]:
    """The preset's trials."""
    (trial,) = shape.trials(1, precision=precision)
    return [replace(trial, lr=lr, bias_offset=-1.0, bias_decay=0.03) for lr in LR3_RATES]


def many(precision: Precision, shape: Shape, n_trials: int) -> list[TwoLayerConfig]:
    """Eight rates a seed."""
    return list(shape.trials(n_trials, precision=precision))


def packs_of(configs: Sequence[TwoLayerConfig], memory_bytes: int, device: str) -> list[tuple[Any, ...]]:
    """As a launch on one GPU makes them."""
    packs = make_packs(
        configs, pack_size="auto", n_workers=1, memory_bytes=memory_bytes,
        useful=partial(useful_pack_size, device=device),
        footprint=lambda config: kind_of(config).bytes_of_pack(config, "cuda"),
    )  # fmt: skip
    return [pack.configs for pack in packs]


def cases(
    shapes: Sequence[Shape], n_many: int
) -> Iterator[tuple[str, Shape, Callable[[Precision], list[TwoLayerConfig]], int]]:
    """Name, shape, trials, and how many steps are timed."""
    steps, steps_at_large, of_lr3, of_many = _STRETCHES
    for shape in shapes or SHAPES:
        n, stretch = (512, steps) if shape.operations < LARGE_OPERATIONS else (8, steps_at_large)
        yield shape.name, shape, partial(many, shape=shape, n_trials=n), stretch
    if shapes:
        return
    yield "lr3", shape_named("paper"), partial(lr3, shape=shape_named("paper")), of_lr3
    yield "many", MANY, partial(many, shape=MANY, n_trials=n_many), of_many


HEADER = (
    "case", "precision", "trials", "packs of", "time", "", "engine", "ms/step of a pack", "trials/h",
    "share of matmul rate", "of copy rate",
)  # fmt: skip


def report_table(found: Sequence[Found]) -> str:
    """Aligned for a terminal."""
    return table(*rows(found), right=range(2, len(HEADER)))


def rows(found: Sequence[Found]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A header, and a line for every case and precision; how often faster than each other that was measured."""
    others = list(dict.fromkeys(name for f in found for name in f.others_s))
    lines = [
        (
            f.case, f.precision, f"{f.n_trials:,}", str(f.pack_size), _duration(f.seconds),
            "measured" if f.whole else "extrapolated", f.how, f"{f.step_ms:.3f}", f"{f.trials_per_hour:,.4g}",
            f"{f.share:.0%}", f"{f.bytes_share:.0%}",
            *(f"{f.others_s[name] / f.seconds:.1f}" if name in f.others_s else "" for name in others),
        )
        for f in found
    ]  # fmt: skip
    return (*HEADER, *(f"÷ {name}" for name in others)), lines


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else duration(seconds)
