"""`make bench-overhead`: what a sweep costs besides training, in trials so short that little else is left.

    overhead = wall time of the launch - training time of all trials / workers

Two sweeps, one twice as large, tell what a trial costs and whether that stays so.  Two more, of few and of many
contraction orders of lattices (10 x 10 tensors), tell which share of the workers' time is the methods' own, with Ray's
start and end and without.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.console import Console

from monosweep.model.bench.shapes import RATES, shape_named
from monosweep.sweep.bench.measure import machine
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.plan.machine import n_cores
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.text import table

RESULTS = Path(__file__).parent / "results"
N_STEPS = 16
EVALUATIONS = 200
"""Of an order of a lattice's 180 bonds, which a trial may spend."""
FEW_ORDERS = 2
Executor = Literal["ray", "inline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overhead:
    """One sweep of short trials."""

    executor: str
    n_trials: int
    n_packs: int
    n_workers: int
    wall_time_s: float
    """From the launch to its return: Ray's start, packing, training, storing, Ray's end."""
    training_s: float
    """Seconds of training of all trials, by their rows."""
    again_s: float
    """Launching the same again, which finds nothing to train."""

    @property
    def per_trial_ms(self) -> float:
        """Milliseconds of wall time a trial beyond its training."""
        return 1e3 * (self.wall_time_s - self.training_s / self.n_workers) / self.n_trials

    @property
    def share(self) -> float:
        """Of the workers' time from the launch to its return, that in which trials train."""
        return self.training_s / self.n_workers / self.wall_time_s


def measure(spec: SweepSpec, executor: Executor, n_workers: int) -> Overhead:
    """Launch a spec into a results root that is thrown away.

    Raises:
        RuntimeError: if a trial is missing from the table or did not complete.
    """
    options, console = LaunchOptions(executor=executor, workers=n_workers), Console(file=io.StringIO())
    n_trials = len(expand(spec))
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as root:
        report = launch(spec, root, options, console)
        again = launch(spec, root, options, console)
        seconds, n_rows = _training(root)
    if report.after.completed != n_trials or n_rows != n_trials or again.trained or report.plan is None:
        raise RuntimeError(f"{n_trials} trials launched, {n_rows} rows, {report.after}, {again.trained} trained again")
    return Overhead(
        executor=executor, n_trials=n_trials, n_packs=report.plan.n_packs, n_workers=n_workers,
        wall_time_s=report.wall_time_s, training_s=seconds, again_s=again.wall_time_s,
    )  # fmt: skip


def short_trials(n_trials: int) -> SweepSpec:
    """Trials of the tiny shape: eight rates, and as many seeds as it takes; a multiple of eight."""
    config = shape_named("tiny").trials(1, N_STEPS)[0].to_dict()
    sizes = ("n_features", "d_embed", "n_neurons", "batch_size", "feature_prob", "n_steps")
    return SweepSpec(
        name="overhead", base={name: config[name] for name in sizes},
        space=[{"lr": {"grid": list(RATES)}}], repeats=n_trials // len(RATES),
    )  # fmt: skip


def orders(n_trials: int) -> SweepSpec:
    """Searches for contraction orders of a lattice of 10 x 10 tensors by two methods; an even number."""
    return SweepSpec(
        name="orders", base={"family": "contraction_order", "network": "lattice", "size": 10, "n_steps": EVALUATIONS},
        space=[{"method": {"grid": ["annealing", "genetic"]}}], repeats=n_trials // 2,
    )  # fmt: skip


def _training(root: str) -> tuple[float, int]:
    """Seconds of training by the rows, and how many different trials have one."""
    trials = ds.dataset(f"{root}/trials").to_table(columns=["trial_id", "wall_time_s"])
    return float(pc.sum(trials["wall_time_s"]).as_py()), len(pc.unique(trials["trial_id"]))


def report(found: Sequence[Overhead]) -> str:
    """The table, and the ratio of the last to the first where there are two."""
    header = ("trials", "packs", "executor", "wall s", "training s", "share", "overhead ms/trial", "again s")
    rows = [
        (
            f"{o.n_trials:,}", f"{o.n_packs:,}", o.executor, f"{o.wall_time_s:.1f}",
            f"{o.training_s / o.n_workers:.1f}", f"{o.share:.1%}", f"{o.per_trial_ms:.2f}", f"{o.again_s:.1f}",
        )
        for o in found
    ]  # fmt: skip
    told = table(header, rows, right=(0, 1, 3, 4, 5, 6, 7))
    if len(found) < 2:
        return told
    ratio = found[-1].wall_time_s / found[0].wall_time_s
    more = found[-1].n_trials / found[0].n_trials
    last = f"{more:g} times the trials take {ratio:.2f} times the wall time; {marginal(found):.2f} ms of overhead "
    return "\n".join([told, "", last + "for each trial more"])


def marginal(found: Sequence[Overhead]) -> float:
    """Milliseconds of overhead of one trial more, where starting and ending cancel out; NaN of one sweep alone."""
    if len(found) < 2:
        return float("nan")
    first, last = found[0], found[-1]
    extra = last.per_trial_ms * last.n_trials - first.per_trial_ms * first.n_trials
    return extra / (last.n_trials - first.n_trials)


def share_without_start(few: Overhead, many: Overhead) -> float:
    """Of the workers' time, that in which trials train, where starting and ending cancel out."""
    training_s = (many.training_s - few.training_s) / many.n_workers
    return training_s / (many.wall_time_s - few.wall_time_s)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--orders", type=int, default=10_000, help="contraction orders; 0 for none")
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray")
    args = parser.parse_args()
    found, searched = [], list[Overhead]()
    for n_trials in args.trials:
        print(f"{n_trials:,} trials", file=sys.stderr, flush=True)
        found.append(measure(short_trials(n_trials), args.executor, n_cores()))
    if args.orders:
        print(f"{args.orders:,} contraction orders", file=sys.stderr, flush=True)
        searched = [measure(orders(n_trials), args.executor, n_cores()) for n_trials in (FEW_ORDERS, args.orders)]
    here = asdict(machine(n_cores()))
    sweeps, other = [[asdict(o) | {"per_trial_ms": o.per_trial_ms} for o in some] for some in (found, searched)]
    now, more = datetime.now(UTC).isoformat(timespec="seconds"), marginal(found) if len(found) > 1 else None
    result = {"date": now, "machine": here, "ms_per_trial_more": more, "sweeps": sweeps, "orders": other}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"overhead-{args.executor}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(report(found))
    if searched:
        print(f"\ncontraction orders of lattices (target: 95 % of the workers' time)\n{report(searched[-1:])}")
        print(f"\nwithout Ray's start and end, as {FEW_ORDERS} orders have them: {share_without_start(*searched):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
