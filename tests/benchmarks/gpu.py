"""`make gpu-check`: is all as it should be on this NVIDIA GPU, and how fast?  Writes results/gpu.json and .md.

Checks (`gpu_checks`) first: one line each; the status is 1 where one does not hold.  Then times:

    tiny, small, quick, paper    512 trials of each shape (8 of the paper's), as one launch would pack them
    lr3     the six trials of the preset paper/LR3, together, 2^17 steps each
    many    10,000 trials of 4,096 steps: 64 features in 16 dimensions, 128 neurons, 256 samples a step

A stretch of steps is timed and extrapolated to the whole; `--whole` trains all of it instead, snapshots included.  The
floors are what the same steps could not be faster than: operations over the measured rate of matrix products in that
precision, bytes over the measured bandwidth.  Beside ours: the solo engine, a plain loop, and `jax.vmap` where JAX
finds a GPU; all in single precision.
Needs torch and this package; no Ray, no network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

import gpu_checks
from gpu_checks import Check
from monosweep.model.bench.shapes import RATES, SHAPES, Shape, shape_named
from monosweep.model.config import Precision
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.memory import gpu_bytes
from monosweep.model.engines.gpu.pack_size import steady_step_s, useful_pack_size
from monosweep.model.engines.gpu.products import matmul_settings
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer
from monosweep.sweep.plan.packs import Pack, make_packs
from monosweep.sweep.text import table
from plain_loop import PlainTrial

RESULTS = Path(__file__).parent / "results"
PRECISIONS: tuple[Precision, ...] = ("fp32", "tf32", "bf16")
LR3_RATES = (0.001, 0.003, 0.005, 0.007, 0.01, 0.03)
JAX_S = 60.0
"""For JAX to start, compile and train a little."""
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
    others: Mapping[str, float],
) -> Found:  # fmt: skip
    """Train the packs, or a stretch of the first; `others` make so many steps a second."""
    config, n_trials = packs[0].configs[0], sum(len(pack.configs) for pack in packs)
    start_s, step_s, engine = _stretch(packs[0], device, stretch)
    seconds = _train(packs, device) if whole else len(packs) * (start_s + step_s * config.n_steps)
    steps = n_trials * config.n_steps
    return Found(
        case=case, precision=config.precision, n_trials=n_trials, n_packs=len(packs), whole=whole,
        how=engine.how, pack_size=len(packs[0].configs), seconds=seconds, step_ms=1e3 * step_s,
        others_s={name: steps / rate for name, rate in others.items()},
        operations_s=steps * shape.operations / rates.flops[config.precision],
        bytes_s=steps * shape.traffic / rates.bytes_per_s,
    )  # fmt: skip


def _stretch(pack: Pack, device: str, n_steps: int) -> tuple[float, float, StackedEngine]:
    """Seconds until a pack is trained steadily, seconds of a step then, and what trained it."""
    start = time.perf_counter()
    engine = StackedEngine(pack.configs, device)
    first = len(engine.advance(engine.chunk))
    ready_s = time.perf_counter() - start
    step_s = steady_step_s(engine, n_steps)
    return max(0.0, ready_s - first * step_s), step_s, engine


def _train(packs: Sequence[Pack], device: str) -> float:
    start = time.perf_counter()
    for pack in packs:
        trainer = PackTrainer(pack.configs, device, engine="packed")
        for _ in trainer:
            pass
        trainer.results()
    return time.perf_counter() - start


def other_rates(shape: Shape, device: str, seconds: float) -> dict[str, float]:
    """Steps per second of whoever else can train this shape on the device."""
    plain = PlainTrial(shape, device, lr=RATES[0], seed=0)
    rates = {"plain": 1.0 / seconds_per_call(plain.step, seconds)}
    solo = SoloEngine(shape.trials(1), device)
    rates["solo"] = 1.0 / seconds_per_call(partial(solo.advance, 1), seconds)
    jax = jax_rate(shape, device)
    return rates if jax is None else rates | {"jax": jax}


def jax_rate(shape: Shape, device: str) -> float | None:
    """Steps per second under `jax.vmap`, in a process of its own; None where JAX is missing, late or has no GPU."""
    platform_name = "gpu" if device == "cuda" else device
    environment = {"JAX_PLATFORMS": "cuda" if device == "cuda" else device, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, __file__, "--jax", shape.name, platform_name, str(shape.operations < 1e9)]
    environment = os.environ | environment
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=JAX_S)
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout) if done.returncode == 0 else None


def _jax_steps_per_s(shape: Shape, backend: str, is_small: bool) -> float:
    import jax

    from contenders.jax_pack import JaxPack

    if jax.default_backend() != backend:
        raise SystemExit(f"JAX computes on {jax.default_backend()}, not on {backend}")
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    n_trials, n_steps = (512, 64) if is_small else (8, 16)
    pack = JaxPack(shape.trials(n_trials), n_steps)
    return n_trials * n_steps / seconds_per_call(pack.advance, 1.0)


_HEADER = (
    "case", "precision", "trials", "packs of", "time", "", "engine", "ms/step of a pack", "trials/h",
    "share of matmul rate", "of copy rate", "÷ solo", "÷ plain", "÷ jax",
)  # fmt: skip


def rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """A line for every case and precision."""
    return [
        (
            f.case, f.precision, f"{f.n_trials:,}", str(f.pack_size), _duration(f.seconds),
            "measured" if f.whole else "extrapolated", f.how, f"{f.step_ms:.3f}", f"{f.trials_per_hour:,.4g}",
            f"{f.share:.0%}", f"{f.bytes_share:.0%}",
            *(f"{f.others_s[name] / f.seconds:.1f}" if name in f.others_s else "" for name in ("solo", "plain", "jax")),
        )
        for f in found
    ]  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def markdown(checks: Sequence[Check], found: Sequence[Found], rates: Device, about: Mapping[str, object]) -> str:
    """The results file."""
    measured = ", ".join(f"{name} {rate / 1e12:.0f} Tflop/s" for name, rate in rates.flops.items())
    lines = [
        f"# GPU check, {about['date']}, commit {about['commit']}", "", f"{about['device']}; {about['versions']}.", "",
        f"Measured: {measured}, {rates.bytes_per_s / 1e9:.0f} GB/s. Starts: {about['starts']}.", "",
    ]  # fmt: skip
    lines += [f"- {'holds' if c.holds else 'DOES NOT HOLD'}: {c.name} ({c.found})" for c in checks]
    lines += ["", *(f"| {' | '.join(row)} |" for row in (_HEADER, ["---"] * len(_HEADER), *rows(found)))]
    return "\n".join([*lines, "", "solo, plain, jax: single precision; plain: nn.Module, autograd, torch_optimizer."])


def commit() -> str:
    """Of this checkout; outside one what COMMIT says, else `unknown`."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or os.environ.get("COMMIT", "unknown")


def all_checks(device: str, shapes: Sequence[Shape] = SHAPES, large: int = 512, largest: int = 9) -> Iterator[Check]:
    """One after another; packs of `largest` where a step is large."""
    yield from gpu_checks.engines(device)
    yield from gpu_checks.checkpoints(device)
    yield from gpu_checks.slots_change_hands(device)
    for shape in shapes:
        most = large if shape.operations < 1e9 else largest
        yield from gpu_checks.budgets(shape, most, device)
        for precision in gpu_checks.APART:
            yield gpu_checks.same_in_any_pack(shape, precision, most, device)


def cases(n_many: int) -> Iterator[tuple[str, Shape, Callable[[Precision], list[TwoLayerConfig]], int]]:
    """Name, shape, trials, and how many steps are timed."""
    for shape in SHAPES:
        n, stretch = (512, 1024) if shape.operations < 1e9 else (8, 256)
        yield shape.name, shape, partial(many, shape=shape, n_trials=n), stretch
    yield "lr3", shape_named("paper"), partial(lr3, shape=shape_named("paper")), 2048
    yield "many", MANY, partial(many, shape=MANY, n_trials=n_many), 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print, write; 1 where there is no GPU or something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="train every step instead of extrapolating")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument("--trials", type=int, default=10_000, help="of the case `many`")
    parser.add_argument("--jax", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.jax:
        shape = MANY if args.jax[0] == MANY.name else shape_named(args.jax[0])
        print(_jax_steps_per_s(shape, args.jax[1], args.jax[2] == "True"))
        return 0
    if not torch.cuda.is_available():
        print("make gpu-check needs an NVIDIA GPU, and torch finds none; make bench measures the CPU", file=sys.stderr)
        return 1
    checks, found = [], []
    for check in all_checks("cuda"):
        checks.append(check)
        print(f"{'ok ' if check.holds else 'BAD'} {check.name}: {check.found}", flush=True)
        torch.cuda.empty_cache()
    rates, memory, others = device_rates("cuda"), int(torch.cuda.mem_get_info()[0]), dict[str, dict[str, float]]()
    starts = gpu_checks.starts("cuda")
    for case, shape, trials, stretch in cases(args.trials):
        if shape.name not in others:
            others[shape.name] = other_rates(shape, "cuda", seconds=2.0)
        for precision in args.precision:
            print(f"{case}, {precision}", file=sys.stderr, flush=True)
            packs = packs_of(trials(precision), memory, "cuda")
            found.append(
                measure(
                    case, shape, packs, rates, device="cuda", stretch=stretch, whole=args.whole,
                    others=others[shape.name],
                )
            )  # fmt: skip
            write(checks, found, rates, torch.cuda.get_device_name(), starts)  # who is ended early leaves what it has
    print(table(_HEADER, rows(found), right=range(2, len(_HEADER))))
    return 0 if all(check.holds for check in checks) else 1


def write(
    checks: Sequence[Check], found: Sequence[Found], rates: Device, device: str, starts: Mapping[str, float],
    folder: Path = RESULTS,
) -> None:  # fmt: skip
    """The results files."""
    versions = [f"python {platform.python_version()}", f"torch {torch.__version__}, CUDA {torch.version.cuda}"]
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "device": device,
        "versions": ", ".join(versions), "starts": ", ".join(f"{s:.1f} s {name}" for name, s in starts.items()),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    derived = ("share", "bytes_share", "trials_per_hour")
    measured = [asdict(f) | {name: getattr(f, name) for name in derived} for f in found]
    result = about | asdict(rates) | {"checks": [asdict(c) for c in checks], "found": measured}
    (folder / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "gpu.md").write_text(markdown(checks, found, rates, about) + "\n")


if __name__ == "__main__":
    sys.exit(main())
