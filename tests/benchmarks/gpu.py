"""`make gpu-check`: `monosweep bench --device cuda` with others beside it; writes results/gpu.json and .md.

Beside ours: the solo engine, a plain loop, and `jax.vmap` where JAX finds a GPU; all in single precision.  Ends with 1
where something does not hold.  Needs torch and this package; no Ray, no network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from monosweep.model.bench.gpu_rates import PRECISIONS, seconds_per_call
from monosweep.model.bench.shapes import LARGE_OPERATIONS, RATES, SHAPES, Shape
from monosweep.model.config import UserError
from monosweep.sweep.bench.gpu import MANY, GpuReport, check_gpu, report_table, rows
from plain_loop import PlainTrial

RESULTS = Path(__file__).parent / "results"
JAX_S = 60.0
"""For JAX to start, compile and train a little."""


def other_rates(shape: Shape, device: str = "cuda", seconds: float = 2.0) -> dict[str, float]:
    """Steps per second of whoever else can train this shape on the device."""
    plain = PlainTrial(shape, device, lr=RATES[0], seed=0)
    rates = {"plain": 1.0 / seconds_per_call(plain.step, seconds)}
    jax = jax_rate(shape, device)
    return rates if jax is None else rates | {"jax": jax}


def jax_rate(shape: Shape, device: str) -> float | None:
    """Steps per second under `jax.vmap`, in a process of its own; None where JAX is missing, late or has no GPU."""
    backend, platform = ("gpu", "cuda") if device == "cuda" else (device, device)
    environment = os.environ | {"JAX_PLATFORMS": platform, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, __file__, "--jax", shape.name, backend]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=JAX_S)
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout) if done.returncode == 0 else None


def _jax_steps_per_s(shape: Shape, backend: str) -> float:
    import jax

    from contenders.jax_pack import JaxPack

    if jax.default_backend() != backend:
        raise SystemExit(f"JAX computes on {jax.default_backend()}, not on {backend}")
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    n_trials, n_steps = (512, 64) if shape.operations < LARGE_OPERATIONS else (8, 16)
    pack = JaxPack(shape.trials(n_trials), n_steps)
    return n_trials * n_steps / seconds_per_call(pack.advance, 1.0)


def markdown(report: GpuReport, about: Mapping[str, object]) -> str:
    """The results file."""
    header, cells = rows(report.found)
    lines = [f"# GPU check, {about['date']}, commit {about['commit']}", "", *report.lines(), ""]
    lines += (f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *cells))
    return "\n".join([*lines, "", "solo, plain, jax: single precision; plain: nn.Module, autograd, torch_optimizer."])


def commit() -> str:
    """Of this checkout; outside one what COMMIT says, else `unknown`."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or os.environ.get("COMMIT", "unknown")


def write(report: GpuReport, folder: Path = RESULTS) -> None:
    """The results files."""
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    folder.mkdir(exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(about | report.as_plain(), indent=1) + "\n")
    (folder / "gpu.md").write_text(markdown(report, about) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Check, measure, print, write; 1 where there is no GPU or something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="train every step instead of extrapolating")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS)
    parser.add_argument("--trials", type=int, default=10_000, help="of the case `many`")
    parser.add_argument("--jax", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.jax:
        name, backend = args.jax
        print(_jax_steps_per_s(next(shape for shape in (*SHAPES, MANY) if shape.name == name), backend))
        return 0
    try:
        report = check_gpu(
            precisions=args.precision, n_many=args.trials, whole=args.whole, others=other_rates,
            tell=partial(print, flush=True), keep=write,
        )  # fmt: skip
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(report_table(report.found))
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
