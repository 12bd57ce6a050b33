"""The verbs of `sweep` about whole sweeps and this machine: presets, new, launch, status, compact, measure, bench.
Arguments in, an exit status out.

The front door `sweep.__main__` calls them.  What costs time to import (torch, Ray, rich) is imported by the
verb that needs it, after its arguments have been read.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from monosweep.model.config import ConfigError
from monosweep.sweep.ahead import importing, load_torch
from monosweep.sweep.cli.arguments import (
    BenchArgs,
    CompactArgs,
    LaunchArgs,
    MeasureArgs,
    NewArgs,
    PresetsArgs,
    StatusArgs,
    pack_size_set,
    spread_sets,
    worker_count,
)
from monosweep.sweep.parse import parse
from monosweep.sweep.text import table

if TYPE_CHECKING:
    from monosweep.model.bench.shapes import Shape
    from monosweep.sweep.spec.sweep_spec import SweepSpec

INCOMPLETE = 1


def presets(argv: Sequence[str]) -> int:
    """`monosweep presets`."""
    parse(PresetsArgs, argv, prog="monosweep presets", description="What can be launched by name.")
    from monosweep.sweep.spec.sweep_spec import presets as all_presets

    rows = [(p.name, str(p.n_trials), p.description) for p in all_presets()]
    print(table(("name", "trials", "what it shows"), rows, right=(1,)))
    return 0


def new(argv: Sequence[str]) -> int:
    """`monosweep new`."""
    args = parse(
        NewArgs, argv, prog="monosweep new",
        description="Write a toy model of your own to begin with, and a spec that launches it.",
    )  # fmt: skip
    from monosweep.sweep.new import new as write

    made = write(args.file)
    sql = "select noise, round(avg(interference), 3) as interference "
    sql += f"from sweep('{made.sweep}') group by all order by all"
    print(f"wrote     {made.file}, {made.spec}")
    print(f"launch    monosweep launch {shlex.quote(str(made.spec))} --out results")
    print(f'query     monosweep query results "{sql}"')
    return 0


def launch(argv: Sequence[str]) -> int:
    """`monosweep launch`."""
    args = parse(
        LaunchArgs, spread_sets(argv), prog="monosweep launch",
        description="Train what SPEC asks for and the results root lacks; launch again to go on.",
    )  # fmt: skip
    load_torch()
    with importing():
        from monosweep.sweep.drive import LaunchOptions
        from monosweep.sweep.drive import launch as launch_sweep
        from monosweep.sweep.plan.budget import Budget
        from monosweep.sweep.view.lines import launch_lines

    options = LaunchOptions(
        executor=args.executor, device=args.device, workers=worker_count(args.workers), address=args.address,
        retry_failed=args.retry_failed, unfinished=args.unfinished, patience_s=args.patience_s,
        budget=Budget(
            max_trials=args.max_trials, max_hours=args.max_hours, max_model_steps=args.max_model_steps
        ),
        dry_run=args.dry_run,
    )  # fmt: skip
    report = launch_sweep(_spec(args.spec, args.set, args.pack_size), args.out, options)
    for line in launch_lines(report, args.out):
        print(line)
    lacks = report.n_missing and report.spent is None
    return 0 if report.dry_run or not (lacks or report.n_failed) else INCOMPLETE


def status(argv: Sequence[str]) -> int:
    """`monosweep status`."""
    args = parse(StatusArgs, argv, prog="monosweep status", description="How far the sweeps of a results root are.")
    from monosweep.sweep.view.lines import status_lines
    from monosweep.sweep.view.status import read_status

    found = read_status(args.out, args.sweep)
    if not found:
        print(f"no sweeps in {args.out} yet; monosweep launch SPEC --out {args.out} starts one")
    for line in status_lines(found):
        print(line)
    return 0


def compact(argv: Sequence[str]) -> int:
    """`monosweep compact`."""
    args = parse(
        CompactArgs, argv, prog="monosweep compact",
        description="Merge the small files of a results root into few large ones; sweeps may train meanwhile.",
    )  # fmt: skip
    from monosweep.sweep.store.compact import compact as compact_store
    from monosweep.sweep.store.root import Store
    from monosweep.sweep.view.lines import compact_lines

    done = compact_store(Store.open(args.out), args.grace_s, lambda line: print(line, file=sys.stderr))
    for line in compact_lines(done):
        print(line)
    return 0


def measure(argv: Sequence[str]) -> int:
    """`monosweep measure`."""
    args = parse(
        MeasureArgs, argv, prog="monosweep measure",
        description="Compute metrics of your own for trials whose weights were kept; nothing is trained.",
    )  # fmt: skip
    from monosweep.sweep.measure import measure as measure_trials
    from monosweep.sweep.store.root import Store

    done = measure_trials(Store.open(args.out), args.file, args.sweep)
    print(f"{done.n_trials:,} trials measured: table {done.table}")
    for error in done.errors:
        print(f"failed    {error}", file=sys.stderr)
    metrics = ", ".join(f"{done.table}.{name}" for name in done.metrics)
    sql = f"select trial_id, loss, {metrics} from trials join {done.table} using (trial_id)"
    print(f'query     monosweep query {shlex.quote(args.out)} "{sql}"')
    return INCOMPLETE if done.errors else 0


def bench(argv: Sequence[str]) -> int:
    """`monosweep bench`."""
    args = parse(
        BenchArgs, argv, prog="monosweep bench",
        description="How many trials this machine trains per hour, and what limits it; about a minute.",
    )  # fmt: skip
    from monosweep.model.bench.shapes import SHAPES, shape_named

    shapes = [shape_named(name) for name in args.shapes]
    workers, turns = worker_count(args.workers), 3 if args.turns is None else args.turns
    if turns < 1:
        raise ConfigError(f"--turns must be a whole number above 0; got {args.turns}")
    if args.device == "cuda":
        if workers or args.turns is not None:
            raise ConfigError("--workers and --turns are for a CPU; leave them out with --device cuda")
        return _bench_gpu(shapes, args.format)
    from monosweep.sweep.bench.measure import as_plain, machine, measure
    from monosweep.sweep.bench.report import report
    from monosweep.sweep.plan.machine import n_cores

    n_workers = workers or n_cores()
    rates = measure(shapes or SHAPES, n_workers, turns=turns, tell=_overwrite)
    _overwrite("")
    here = machine(n_workers)
    print(json.dumps(as_plain(here, rates), indent=2) if args.format == "json" else report(here, rates))
    return 0


def _bench_gpu(shapes: Sequence[Shape], format: str) -> int:
    from monosweep.sweep.bench.gpu import check_gpu, report_table

    as_json = format == "json"
    found = check_gpu(shapes, tell=_overwrite if as_json else partial(print, flush=True))
    if as_json:
        _overwrite("")
    print(json.dumps(found.as_plain(), indent=2) if as_json else f"\n{report_table(found.found)}")
    return 0 if found.holds else INCOMPLETE


def _overwrite(line: str) -> None:
    """What is going on, in one line of a terminal; a log file does without."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _spec(name: str, sets: Sequence[str], pack_size: str | None = None) -> SweepSpec:
    from monosweep.sweep.spec.sweep_spec import load_spec

    return load_spec(name, [*sets, *pack_size_set(pack_size)])
