"""`make bench-gpu`: one NVIDIA GPU against its own limits and a plain training loop; writes results/gpu.json and .md.

    lr3     the six trials of the preset paper/LR3, together, 2^17 steps each
    many    10,000 trials of 4,096 steps: 64 features in 16 dimensions, 128 neurons, 256 samples a step

A stretch of steps is timed and extrapolated to the whole; `--whole` trains all of it instead, snapshots included.  The
floors are what the same steps could not be faster than: operations over the measured rate of matrix products in that
precision, bytes over the measured bandwidth.
Needs torch and this package; no Ray.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from monosweep.model.bench.shapes import RATES, Shape, shape_named
from monosweep.model.config import Precision
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.memory import gpu_bytes
from monosweep.model.engines.gpu.pack_size import useful_pack_size
from monosweep.model.engines.gpu.products import matmul_settings
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.train import PackTrainer
from monosweep.sweep.plan.packs import Pack, make_packs
from monosweep.sweep.text import table
from plain_loop import PlainTrial

RESULTS = Path(__file__).parent / "results"
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
LR3_RATES = (0.001, 0.003, 0.005, 0.007, 0.01, 0.03)
MANY = Shape(
    name="many", n_features=64, d_embed=16, n_neurons=128, batch_size=256, feature_prob=1 / 64, n_steps=4096
)  # fmt: skip


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
    plain_s: float
    """All trials in the plain loop, extrapolated."""

    @property
    def share(self) -> float:
        """Of the measured rate of matrix products."""
        return self.operations_s / self.seconds


def device_rates(device: str, size: int = 8192, seconds: float = 1.0) -> Device:
    """Measure products of `size`² matrices and copies as large as one of them in double precision."""
    flops = {}
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


def lr3(precision: Precision, shape: Shape) -> list[TwoLayerConfig]:
    """The preset's trials."""
    (trial,) = shape.trials(1, precision=precision)
    return [replace(trial, lr=lr, bias_offset=-1.0, bias_decay=0.03) for lr in LR3_RATES]


def many(precision: Precision, shape: Shape, n_trials: int) -> list[TwoLayerConfig]:
    """Eight rates a seed."""
    return list(shape.trials(n_trials, precision=precision))


def packs_of(configs: Sequence[TwoLayerConfig], memory_bytes: int, device: str) -> list[Pack]:
    """As a launch on one GPU makes them."""
    return make_packs(
        configs, pack_size="auto", n_workers=1, memory_bytes=memory_bytes,
        useful=partial(useful_pack_size, device=device),
        footprint=gpu_bytes,
    )  # fmt: skip


def measure(
    case: str, shape: Shape, packs: Sequence[Pack], rates: Device, *, device: str, stretch: int, whole: bool,
    plain_steps_per_s: float,
) -> Found:  # fmt: skip
    """Train the packs, or a stretch of the first."""
    config, n_trials = packs[0].configs[0], sum(len(pack.configs) for pack in packs)
    start_s, step_s, engine = _stretch(packs[0], device, stretch)
    seconds = _train(packs, device) if whole else len(packs) * (start_s + step_s * config.n_steps)
    steps = n_trials * config.n_steps
    return Found(
        case=case, precision=config.precision, n_trials=n_trials, n_packs=len(packs), whole=whole,
        how=engine.how, pack_size=len(packs[0].configs), seconds=seconds, step_ms=1e3 * step_s,
        plain_s=steps / plain_steps_per_s,
        operations_s=steps * shape.operations / rates.flops[config.precision],
        bytes_s=steps * shape.traffic / rates.bytes_per_s,
    )  # fmt: skip


def _stretch(pack: Pack, device: str, n_steps: int) -> tuple[float, float, StackedEngine]:
    """Seconds until a pack is trained steadily, seconds of a step then, and what trained it."""
    start = time.perf_counter()
    engine = StackedEngine(pack.configs, device)
    engine.advance(engine.chunk)
    ready = time.perf_counter()
    engine.advance(n_steps)
    step_s = (time.perf_counter() - ready) / n_steps
    return max(0.0, ready - start - engine.chunk * step_s), step_s, engine


def _train(packs: Sequence[Pack], device: str) -> float:
    start = time.perf_counter()
    for pack in packs:
        trainer = PackTrainer(pack.configs, device, engine="packed")
        for _ in trainer:
            pass
        trainer.results()
    return time.perf_counter() - start


def plain_rate(shape: Shape, device: str, n_processes: int, seconds: float) -> float:
    """Steps per second of plain training, one trial in each of some processes that share the device."""
    if n_processes == 1:
        return _plain_steps_per_s(shape, device, seconds)
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(_plain_steps_per_s, *zip(*[(shape, device, seconds)] * n_processes, strict=True)))


def _plain_steps_per_s(shape: Shape, device: str, seconds: float) -> float:
    trial = PlainTrial(shape, device, lr=RATES[0], seed=0)
    return 1.0 / seconds_per_call(trial.step, seconds)


_HEADER = (
    "case", "precision", "trials", "packs of", "time", "", "engine", "ms/step of a pack",
    "floor: operations", "floor: bytes", "share of matmul rate", "plain", "plain ÷ ours",
)  # fmt: skip


def rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """A line for every case and precision."""
    return [
        (
            f.case, f.precision, f"{f.n_trials:,}", str(f.pack_size), _duration(f.seconds),
            "measured" if f.whole else "extrapolated", f.how, f"{f.step_ms:.3f}",
            _duration(f.operations_s), _duration(f.bytes_s), f"{f.share:.0%}", _duration(f.plain_s),
            f"{f.plain_s / f.seconds:.1f}",
        )
        for f in found
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def markdown(found: Sequence[Found], rates: Device, about: dict[str, object]) -> str:
    """The results file."""
    head = [f"# GPU benchmark, {about['date']}, commit {about['commit']}", ""]
    measured = ", ".join(f"{name} {rate / 1e12:.0f} Tflop/s" for name, rate in rates.flops.items())
    head += [f"{about['device']}; {about['versions']}.", ""]
    head += [f"Measured: {measured}, {rates.bytes_per_s / 1e9:.0f} GB/s.", ""]
    lines = [f"| {' | '.join(row)} |" for row in (_HEADER, ["---"] * len(_HEADER), *rows(found))]
    return "\n".join([*head, *lines, "", str(about["plain"])])


def commit() -> str:
    """Of this checkout; `unknown` outside one."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="train every step instead of extrapolating")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument("--plain-processes", type=int, default=1, help="plain trials side by side on the GPU")
    parser.add_argument("--trials", type=int, default=10_000, help="of the case `many`")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("make bench-gpu needs an NVIDIA GPU, and torch finds none; make bench measures the CPU", file=sys.stderr)
        return 1
    rates, memory, found = device_rates("cuda"), int(torch.cuda.mem_get_info()[0]), []
    paper = shape_named("paper")
    for case, shape, stretch in (("lr3", paper, 512), ("many", MANY, 1024)):
        plain = plain_rate(shape, "cuda", args.plain_processes, seconds=5.0)
        for precision in args.precision:
            configs = lr3(precision, shape) if case == "lr3" else many(precision, shape, args.trials)
            print(f"{case}, {precision}", file=sys.stderr, flush=True)
            packs = packs_of(configs, memory, "cuda")
            found.append(
                measure(
                    case, shape, packs, rates, device="cuda", stretch=stretch, whole=args.whole,
                    plain_steps_per_s=plain,
                )
            )  # fmt: skip
    write(found, rates, torch.cuda.get_device_name(), args.plain_processes)
    return 0


def write(found: Sequence[Found], rates: Device, device: str, n_plain: int, folder: Path = RESULTS) -> None:
    """The results files, and the table on the screen."""
    versions = [f"python {platform.python_version()}", f"torch {torch.__version__}, CUDA {torch.version.cuda}"]
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "device": device,
        "versions": ", ".join(versions),
        "plain": f"plain: nn.Module, autograd, torch_optimizer.Lamb, dense samples, fp32; {n_plain} at a time.",
        **asdict(rates),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    result = about | {"found": [asdict(f) | {"share": f.share} for f in found]}
    (folder / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "gpu.md").write_text(markdown(found, rates, about) + "\n")
    print(table(_HEADER, rows(found), right=range(2, len(_HEADER))))


if __name__ == "__main__":
    sys.exit(main())
