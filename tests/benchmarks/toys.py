"""Models of superposition: monosweep through Ray, a user's own family through it, plain PyTorch, and JAX; the second
part of `make bench`, which writes results/toys.json and toys.md.

Every trial has a seed of its own, so none shares samples with another.  The contenders take turns, each with the whole
machine; a turn's ratio is of times next to each other, and the table holds medians over turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.dataset as ds
import torch
from torch import nn

from monosweep.model.processor import processor_name
from monosweep.sweep.plan.machine import n_cores
from monosweep.sweep.text import table

HERE = Path(__file__).parent
OURS, OWN, PLAIN, JAX = "ours, ray", "own family, ray", "plain", "jax"
LR = 1e-3
TRIAL_STEPS = 10_000
"""Of a trial, for trials per hour."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A model, and how much of it is trained to time it."""

    n_features: int
    d_hidden: int
    batch_size: int
    feature_prob: float
    n_trials: int
    """That ours trains, and JAX in one `vmap`."""
    n_steps: int
    own_trials: int
    own_steps: int
    """As a user's family, which is slower; so many that its first two seconds, before it is traced, are few."""
    plain_steps: int
    jax_steps: int

    @property
    def name(self) -> str:
        """Such as 5-2."""
        return f"{self.n_features}-{self.d_hidden}"


SIZES = (
    Size(n_features=5, d_hidden=2, batch_size=1024, feature_prob=0.05, n_trials=1024, n_steps=4096, own_trials=256,
         own_steps=2048, plain_steps=1000, jax_steps=64),
    Size(n_features=20, d_hidden=5, batch_size=1024, feature_prob=0.05, n_trials=1024, n_steps=1024, own_trials=128,
         own_steps=1024, plain_steps=500, jax_steps=16),
    Size(n_features=40, d_hidden=10, batch_size=8192, feature_prob=0.05, n_trials=64, n_steps=512, own_trials=16,
         own_steps=1024, plain_steps=100, jax_steps=16),
    Size(n_features=200, d_hidden=20, batch_size=1024, feature_prob=0.01, n_trials=64, n_steps=1024, own_trials=16,
         own_steps=1024, plain_steps=200, jax_steps=32),
    Size(n_features=512, d_hidden=64, batch_size=1024, feature_prob=0.01, n_trials=32, n_steps=256, own_trials=16,
         own_steps=256, plain_steps=100, jax_steps=16),
)  # fmt: skip


class Plain(nn.Module):
    """x̂ = ReLU(Wᵀ W x + b)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.nn.init.xavier_normal_(torch.empty(size.d_hidden, size.n_features)))
        self.bias = nn.Parameter(torch.zeros(size.n_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, n_features) to the same."""
        return torch.relu(x @ self.w.T @ self.w + self.bias)


def plain_trial(size: Size, n_steps: int, seed: int) -> tuple[float, float]:
    """Seconds a step of one trial as a user writes it, on one thread, and the loss at its end."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = Plain(size)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    start, losses = time.perf_counter(), []
    for step in range(n_steps):
        if step == 1:
            start = time.perf_counter()
        x = torch.rand(size.batch_size, size.n_features)
        x *= torch.rand(size.batch_size, size.n_features) < size.feature_prob
        loss = ((model(x) - x) ** 2).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    seconds = (time.perf_counter() - start) / max(1, n_steps - 1)
    return seconds, float(torch.stack(losses[-max(1, n_steps // 8) :]).mean())


@dataclass(frozen=True, slots=True)
class Timed:
    """One contender, once."""

    step_us: float
    """Microseconds of the whole machine for a step of one trial."""
    loss: float
    """Mean over trials of the loss at their end."""


def plain(size: Size, workers: int) -> Timed:
    """One process a core."""
    with ProcessPoolExecutor(workers, mp_context=mp.get_context("spawn")) as pool:
        list(pool.map(partial(plain_trial, size, 2), range(workers)))  # imports
        done = list(pool.map(partial(plain_trial, size, size.plain_steps), range(workers)))
    return Timed(1e6 * sum(seconds for seconds, _ in done) / workers**2, sum(loss for _, loss in done) / workers)


def ours(size: Size, workers: int, n_trials: int, n_steps: int, family: str = "superposition") -> Timed:
    """A launch from the command line; the time is its rows': training, snapshots and what lies between."""
    knobs = {
        "family": family, "n_features": size.n_features, "d_hidden": size.d_hidden, "n_steps": n_steps, "lr": LR,
        "batch_size": size.batch_size, "feature_prob": size.feature_prob, "optimizer": "Adam",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as folder:
        spec = Path(folder) / "toys.yaml"
        pack = max(1, n_trials // workers)
        spec.write_text(json.dumps({"base": knobs, "repeats": n_trials, "pack_size": pack}))
        command = [Path(sys.executable).with_name("monosweep"), "launch", spec, "--out", f"{folder}/out"]
        launched = subprocess.run(
            [*command, "--workers", str(workers), "--device", "cpu"], capture_output=True, text=True, check=False
        )
        assert launched.returncode == 0, launched.stderr
        rows = ds.dataset(f"{folder}/out/trials").to_table(columns=["wall_time_s", "loss", "status"])
    assert rows["status"].to_pylist() == ["completed"] * n_trials
    seconds = sum(rows["wall_time_s"].to_pylist())
    return Timed(1e6 * seconds / workers / n_trials / n_steps, sum(rows["loss"].to_pylist()) / n_trials)


def jax(size: Size, n_trials: int, n_steps: int, calls: int) -> Timed:
    """`vmap` over trials, `scan` over steps, `jit`, all cores, in a process of its own; without compiling."""
    arguments = json.dumps([asdict(size), n_trials, n_steps, calls])
    done = subprocess.run(
        [sys.executable, HERE / "contenders" / "jax_toys.py", arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Timed(*json.loads(done.stdout.splitlines()[-1]))


def contenders(size: Size, workers: int) -> Mapping[str, Callable[[], Timed]]:
    """Each in turn."""
    own = f"{HERE / 'own_superposition.py'}:Own"
    return {
        OURS: lambda: ours(size, workers, size.n_trials, size.n_steps),
        PLAIN: lambda: plain(size, workers),
        JAX: lambda: jax(size, min(size.n_trials, 256), size.jax_steps, 4),
        OWN: lambda: ours(size, workers, size.own_trials, size.own_steps, own),
    }


def measure(sizes: Sequence[Size], turns: int, workers: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Times of each size and contender at each turn."""
    found: dict[str, dict[str, list[Timed]]] = {size.name: {} for size in sizes}
    for turn in range(turns):
        for size in sizes:
            for name, train in contenders(size, workers).items():
                tell(f"turn {turn + 1} of {turns}: {size.name}, {name}")
                found[size.name].setdefault(name, []).append(train())
    return found


def report(sizes: Sequence[Size], found: Mapping[str, Mapping[str, Sequence[Timed]]], workers: int) -> str:
    """Markdown."""
    header = ("n-m / batch / p", "contender", "µs/step", "range", "trials/h", "ours ÷ it", "own ÷ it")
    rows = []
    for size in sizes:
        times = {name: [timed.step_us for timed in turns] for name, turns in found[size.name].items()}
        for name, values in times.items():
            per_hour = 3600e6 / (median(values) * TRIAL_STEPS)
            ratios = (
                f"{median(a / b for a, b in zip(values, times[of], strict=True)):.2f}" if name != of else ""
                for of in (OURS, OWN)
            )
            about = f"{size.name} / {size.batch_size} / {size.feature_prob}" if name == OURS else ""
            around = f"{min(values):.3g}–{max(values):.3g}"
            rows.append((about, name, f"{median(values):.3g}", around, f"{per_hour:,.0f}", *ratios))
    return table(header, rows) + (
        f"\n\nMicroseconds of the whole machine ({workers} cores) for a step of one trial; a trial of {TRIAL_STEPS:,} "
        "steps an hour; medians, ratios within a turn.  plain: one process a core, `nn.Module`, `torch.optim.Adam`.\n"
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", default=[size.name for size in SIZES])
    parser.add_argument("--to", type=Path, default=HERE / "results")
    given = parser.parse_args()
    sizes, workers = [size for size in SIZES if size.name in given.sizes], n_cores()
    found = measure(sizes, given.turns, workers, lambda line: print(line, file=sys.stderr, flush=True))
    text = report(sizes, found, workers)
    print(text)
    from full import commit

    plain_results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "cores": workers,
        "machine": processor_name(), "python": platform.python_version(), "load": os.getloadavg(),
        "sizes": {size.name: asdict(size) for size in sizes},
        "turns": {name: {c: [asdict(t) for t in turns] for c, turns in of.items()} for name, of in found.items()},
    }  # fmt: skip
    (given.to / "toys.json").write_text(json.dumps(plain_results, indent=1) + "\n")
    (given.to / "toys.md").write_text(f"{plain_results['machine']}, {plain_results['date'][:10]}\n\n{text}")


if __name__ == "__main__":
    main()
