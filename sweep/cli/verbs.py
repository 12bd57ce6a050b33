"""The verbs of `sweep`: presets, launch, status, trial, replay, bench.  Arguments in, an exit status out.

The front door `sweep.__main__` calls them.  What costs time to import (torch, Ray, rich) is imported by the
verb that needs it, after its arguments have been read.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from monosweep.model.additions import is_own
from monosweep.model.config import ConfigError, TrialConfig, UserError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.ahead import importing, load_torch
from monosweep.sweep.cli.arguments import (
    BenchArgs,
    CompactArgs,
    LaunchArgs,
    MeasureArgs,
    NewArgs,
    PresetsArgs,
    ReplayArgs,
    StatusArgs,
    TrialArgs,
    WeightsArgs,
    pack_size_set,
    spread_sets,
    worker_count,
)
from monosweep.sweep.parse import parse
from monosweep.sweep.text import table

if TYPE_CHECKING:
    from monosweep.model.trained import TrainedTrial
    from monosweep.sweep.spec.sweep_spec import SweepSpec
    from monosweep.sweep.store.root import Store

Draw = Callable[[Mapping[str, Any], TrialConfig, str], None]
"""Draws a trial's response map from its weights into a file."""

DIVERGED = 1
DIFFERS = 1
INCOMPLETE = 1
_FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


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


def trial(argv: Sequence[str], *, draw: Draw) -> int:
    """`monosweep trial`."""
    args = parse(
        TrialArgs, spread_sets(argv), prog="monosweep trial",
        description="Train one trial in this process, without Ray, and watch it.",
    )  # fmt: skip
    load_torch()
    _check_plot(args.plot)
    config = _pick(_spec(args.spec, args.set), args.index)
    _check_drawn(args.plot, config)
    engine = "solo" if args.pdb and args.engine == "auto" else args.engine
    watched = _watch(config, args.device, engine, args.pdb)
    _print_outcome(watched)
    _plot(args.plot, watched, draw)
    return 0 if watched.result.status == TrialStatus.COMPLETED else DIVERGED


def replay(argv: Sequence[str], *, draw: Draw) -> int:
    """`monosweep replay`."""
    args = parse(
        ReplayArgs,
        argv,
        prog="monosweep replay",
        description="Train a trial again from its row alone, and compare every number.",
    )
    load_torch()
    _check_plot(args.plot)
    from monosweep.sweep.store.root import Store
    from monosweep.sweep.store.schema import config_in

    store = Store.open(args.out)
    row = store.trial_row(args.trial_id)
    store.load_families()
    config = config_in(row)
    _check_drawn(args.plot, config)
    watched, ok = _replayed(store, row, config, args.device or row["device"])
    _plot(args.plot, watched, draw)
    return 0 if ok else DIFFERS


def _replayed(store: Store, row: Mapping[str, Any], config: TrialConfig, device: str) -> tuple[TrainedTrial, bool]:
    """A trial trained again from its row, and whether it is as it should be."""
    curve_rows = store.curve_rows(row["trial_id"], row["pack_id"])
    until = row["last_step"] if row["status"] == TrialStatus.STOPPED else None
    watched = _watch(config, device, row["engine"], debug=False, until=until)
    return watched, _print_comparison(row, curve_rows, watched)


def weights(argv: Sequence[str]) -> int:
    """`monosweep weights`."""
    args = parse(
        WeightsArgs, argv, prog="monosweep weights",
        description="Write a trial's weights as public code loads them; trained again, and checked, if none were kept.",
    )  # fmt: skip
    from monosweep.model.look import trained_of
    from monosweep.model.trained import export
    from monosweep.sweep.store.root import Store
    from monosweep.sweep.store.schema import config_in
    from monosweep.sweep.store.weights import last_weights

    store = Store.open(args.out)
    row = store.trial_row(args.trial_id)
    store.load_families()
    config, kept = config_in(row), last_weights(store, row)
    if kept is None:
        watched, ok = _replayed(store, row, config, row["device"])
        if not ok or not watched.weights:
            return DIFFERS
        kept = watched.weights
    for path in export(trained_of(config, kept), args.to or f"{row['trial_id']}.safetensors"):
        print(path)
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

    shapes = [shape_named(name) for name in args.shapes] or SHAPES
    workers = worker_count(args.workers)
    if args.turns < 1:
        raise ConfigError(f"--turns must be a whole number above 0; got {args.turns}")
    from monosweep.sweep.bench.measure import as_plain, machine, measure
    from monosweep.sweep.bench.report import report
    from monosweep.sweep.plan.machine import n_cores

    n_workers = workers or n_cores()
    rates = measure(shapes, n_workers, turns=args.turns, tell=_overwrite)
    _overwrite("")
    here = machine(n_workers)
    print(json.dumps(as_plain(here, rates), indent=2) if args.format == "json" else report(here, rates))
    return 0


def _overwrite(line: str) -> None:
    """What is going on, in one line of a terminal; a log file does without."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _spec(name: str, sets: Sequence[str], pack_size: str | None = None) -> SweepSpec:
    from monosweep.sweep.spec.sweep_spec import load_spec

    return load_spec(name, [*sets, *pack_size_set(pack_size)])


def _check_plot(path: str | None) -> None:
    """Complain before the training rather than after it."""
    if path is None:
        return
    if Path(path).suffix.lower() not in _FIGURE_SUFFIXES:
        raise UserError(f"--plot takes a file that ends in {', '.join(_FIGURE_SUFFIXES)}; got {path!r}")
    if not Path(path).parent.is_dir():
        raise UserError(f"--plot cannot write {path!r}: no folder {str(Path(path).parent)!r}; make it first")


def _check_drawn(path: str | None, config: TrialConfig) -> None:
    """The same, once it is known what would be drawn."""
    if path is not None and not isinstance(config, TwoLayerConfig):
        raise UserError(f"--plot draws the neurons of two_layer networks; the trial is of family {config.family}")
    if path is not None and is_own(config):
        raise UserError("--plot draws what relu, gelu and solu answer; the trial's activation is of your own file")


def _pick(spec: SweepSpec, index: int) -> TrialConfig:
    from monosweep.sweep.spec.sweep_spec import expand

    configs = expand(spec)
    if not 1 <= index <= len(configs):
        raise ConfigError(f"--index must lie in 1 … {len(configs)}, the trials of {spec.name}; got {index}")
    which = f", {index} of {len(configs)} (--index picks another)" if len(configs) > 1 else ""
    print(f"trial {configs[index - 1].trial_id} of {spec.name}{which}", file=sys.stderr)
    return configs[index - 1]


def _watch(
    config: TrialConfig, device: str, engine: Literal["auto", "solo", "packed", "vmapped"], debug: bool,
    until: int | None = None,
) -> TrainedTrial:  # fmt: skip
    with importing():
        from monosweep.model.trained import changed
        from monosweep.model.watch import watch_trial
        from monosweep.sweep.view.trial import TrialDisplay

    print(changed(config), file=sys.stderr)
    with TrialDisplay(until or config.n_steps) as display:
        return watch_trial(config, device, engine, display, debug, until)


def _print_outcome(watched: TrainedTrial) -> None:
    result = watched.result
    print(f"\n{watched.outcome}")
    how = f"{result.wall_time_s:.1f} s of training, {watched.engine} engine on {watched.device}"
    print(how, file=sys.stderr)


def _plot(path: str | None, watched: TrainedTrial, draw: Draw) -> None:
    if path is None:
        return
    if not watched.weights:
        raise UserError("--plot needs the weights of a completed trial; this one diverged; try a lower lr")
    draw(watched.weights, watched.result.config, path)
    print(path)


def _print_comparison(row: Mapping[str, Any], curve_rows: Sequence[Mapping[str, Any]], watched: TrainedTrial) -> bool:
    """The tables and the verdict of a replay; whether it is as it should be."""
    from monosweep.model.device import device_name
    from monosweep.model.families import description_of
    from monosweep.model.family import names as field_names
    from monosweep.model.records import Losses
    from monosweep.sweep.view.replay import compare, compare_curve, describe, provenance_here, verdict

    result = watched.result
    names = (*field_names(Losses), *field_names(description_of(result.config).metrics))
    ending = compare(row, result.status, result.last_step, result.metrics, names)
    curve = compare_curve(curve_rows, result.curve)
    judged = verdict(row, [*ending, *curve], provenance_here(row, device_name(watched.device)))
    print(f"\n{describe(ending, curve)}\n{judged.text}")
    return judged.ok
