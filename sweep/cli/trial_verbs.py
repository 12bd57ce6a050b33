"""The verbs about one trial: trial, replay, weights.  Arguments in, an exit status out.

A trial is one of a spec, or one of a results root by its id, which is trained again as its row says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monosweep.model.additions import is_own
from monosweep.model.config import ConfigError, TrialConfig, UserError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.ahead import importing, load_torch
from monosweep.sweep.cli.arguments import ReplayArgs, TrialArgs, WeightsArgs, spread_sets
from monosweep.sweep.parse import parse

if TYPE_CHECKING:
    from monosweep.model.debugging import Debug
    from monosweep.model.engines import EngineName
    from monosweep.model.trained import TrainedTrial
    from monosweep.sweep.store.root import Store
    from monosweep.sweep.view.trial import TrialDisplay

Draw = Callable[[Mapping[str, Any], TrialConfig, str], None]
"""Draws a trial's response map from its weights into a file."""

DIVERGED = 1
DIFFERS = 1
_FIGURE_SUFFIXES = (".png", ".pdf", ".svg")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Training:
    """What is to be trained, and how."""

    config: TrialConfig
    device: str
    engine: EngineName
    until: int | None = None
    """The recorded step at which it is stopped; None for its end."""


def trial(argv: Sequence[str], *, draw: Draw) -> int:
    """`monosweep trial`."""
    args = parse(
        TrialArgs, spread_sets(argv), prog="monosweep trial",
        description="Train one trial of a SPEC, or of a results root by its id, in this process, and watch it.",
    )  # fmt: skip
    load_torch()
    _check_plot(args.plot)
    training = _of_spec(args) if args.trial_id is None else _of_root(args, args.trial_id)
    _check_drawn(args.plot, training.config)
    watched = _watch(training, _debug(args, training))
    _print_outcome(watched)
    _plot(args.plot, watched, draw)
    return DIVERGED if watched.result.status == TrialStatus.DIVERGED else 0


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
    store, row, config = _row_of(args.out, args.trial_id)
    _check_drawn(args.plot, config)
    watched, ok = _replayed(store, row, config, args.device or row["device"])
    _plot(args.plot, watched, draw)
    return 0 if ok else DIFFERS


def weights(argv: Sequence[str]) -> int:
    """`monosweep weights`."""
    args = parse(
        WeightsArgs, argv, prog="monosweep weights",
        description="Write trials' weights as public code loads them. Trials that left none are trained again, "
        "checked against their rows, and theirs are kept in OUT.",
    )  # fmt: skip
    load_torch()
    with importing():
        from monosweep.model.families import family_of
        from monosweep.model.look import trained_of
        from monosweep.model.trained import export
        from monosweep.sweep.again import keep_weights
        from monosweep.sweep.store.root import Store
        from monosweep.sweep.store.schema import config_in
        from monosweep.sweep.store.weights import lacking, last_weights

    store = Store.open(args.out)
    rows = _with_weights(store, args)
    paths = _weight_files(args, rows)
    for row in rows:
        family_of(config_in(row))  # who has no weights is told before anything is trained again
    lack, n_kept, ok = lacking(store, rows), 0, True
    if lack:
        print(f"{len(lack)} of {len(rows)} trials have no weights in {args.out}: training them again", file=sys.stderr)
    elif not paths:
        print(f"nothing to train: the weights of {_trials(len(rows))} are in {args.out}")
    changed = dict[str, Mapping[str, Any]]()
    for each in (one for pack in keep_weights(store, lack, _watching) for one in pack):
        trial_id, ok, n_kept = each.trained.trial_id, ok and each.judged.ok, n_kept + each.equal
        if not each.equal:
            print(f"not kept  {trial_id}: {each.judged.text}")
            changed[trial_id] = each.trained.weights if trial_id in paths else {}
    if n_kept:
        print(f"kept      weights of {_trials(n_kept)}, trained again: bit-equal with the rows of {args.out}")
    for row in rows if paths else ():
        tensors = changed[row["trial_id"]] if row["trial_id"] in changed else last_weights(store, row)
        for path in export(trained_of(config_in(row), tensors), paths[row["trial_id"]]) if tensors else ():
            print(path)
    return 0 if ok else DIFFERS


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n:,} trials"


def _with_weights(store: Store, args: WeightsArgs) -> list[Mapping[str, Any]]:
    """The rows of trials that were named, or that a sweep has asked for; of these only those that end with weights."""
    from monosweep.sweep.store.weights import WITH_WEIGHTS

    if not (args.trial_ids or args.sweep):
        raise UserError("weights takes TRIAL_ID, or --sweep NAME for all trials of a sweep; got neither")
    named = {row["trial_id"]: row for row in map(store.trial_row, args.trial_ids)}
    for trial_id, row in named.items():
        if row["status"] not in WITH_WEIGHTS:
            why = f"{row['status']}{_why(row)}"
            raise UserError(f"trial {trial_id} has no weights: {why}; name one that is completed or stopped")
    of_sweep = store.asked(store.known(args.sweep)).trial_ids if args.sweep else ()
    others = [row for row in store.rows_of("trials", None, of_sweep) if row["status"] in WITH_WEIGHTS]
    store.load_families()
    rows: list[Mapping[str, Any]] = [*named.values(), *(row for row in others if row["trial_id"] not in named)]
    if not rows:
        raise UserError(f"no trial of sweep {args.sweep} has ended with weights; launch it first")
    return rows


def _weight_files(args: WeightsArgs, rows: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Where whose are written; of a sweep's trials only if they were given a folder."""
    if args.to is None:
        return {} if args.sweep else {row["trial_id"]: Path(f"{row['trial_id']}.safetensors") for row in rows}
    to = Path(args.to)
    if len(args.trial_ids) == 1 and not args.sweep and not to.is_dir():
        return {rows[0]["trial_id"]: to}
    if not to.is_dir():
        raise UserError(f"--to must be a folder for the weights of several trials; got {args.to!r}; make it first")
    return {row["trial_id"]: to / f"{row['trial_id']}.safetensors" for row in rows}


def _watching(n_steps: int) -> TrialDisplay:
    from monosweep.sweep.view.trial import TrialDisplay

    return TrialDisplay(n_steps, shows_points=False)


def _row_of(out: str, trial_id: str) -> tuple[Store, Mapping[str, Any], TrialConfig]:
    """A trial of a results root, by its id or a unique beginning of it."""
    from monosweep.sweep.store.root import Store
    from monosweep.sweep.store.schema import config_in

    store = Store.open(out)
    row = store.trial_row(trial_id)
    store.load_families()
    return store, row, config_in(row)


def _as_row_says(row: Mapping[str, Any], config: TrialConfig, device: str) -> _Training:
    """As it was trained, on `device`; on one of another kind, in the engine that is the fastest there."""
    engine: Any = row["engine"].split(",")[0] if device == row["device"] else "auto"
    until = row["last_step"] if row["status"] == TrialStatus.STOPPED else None
    return _Training(config=config, device=device, engine=engine, until=until)


def _replayed(store: Store, row: Mapping[str, Any], config: TrialConfig, device: str) -> tuple[TrainedTrial, bool]:
    """A trial trained again from its row, and whether it is as it should be."""
    curve_rows = store.curve_rows(row["trial_id"], row["pack_id"])
    watched = _watch(_as_row_says(row, config, device))
    return watched, _print_comparison(row, curve_rows, watched)


def _of_root(args: TrialArgs, trial_id: str) -> _Training:
    for option, given in (("--set", args.set), ("--index", args.index != 1)):
        if given:
            raise ConfigError(
                f"{option} is about the trials of a SPEC; {trial_id} is trained as its row in {args.spec} says; "
                f"leave it out, or give a SPEC"
            )
    _, row, config = _row_of(args.spec, trial_id)
    print(f"trial {row['trial_id']} of {args.spec}: {row['status']}{_why(row)}", file=sys.stderr)
    device = row["device"] if args.device == "auto" else args.device
    if device == "cuda" and args.device == "auto":
        from monosweep.model.device import resolve

        device = resolve("auto")
    training = _as_row_says(row, config, device)
    failed = row["status"] == TrialStatus.FAILED  # what raised is read best where one trial trains alone
    engine = args.engine if args.engine != "auto" else "solo" if failed and _debugs(args) else training.engine
    return _Training(config=config, device=device, engine=engine, until=training.until)


def _why(row: Mapping[str, Any]) -> str:
    return f", {row['error']}" if row["error"] else ""


def _of_spec(args: TrialArgs) -> _Training:
    from monosweep.sweep.spec.sweep_spec import expand, load_spec
    from monosweep.sweep.store.marker import MARKER

    if "://" in args.spec or (Path(args.spec) / MARKER).is_file():
        raise ConfigError(
            f"{args.spec} is a results root; name one of its trials after it, or give a preset or a YAML file"
        )
    spec = load_spec(args.spec, args.set)
    configs = expand(spec)
    if not 1 <= args.index <= len(configs):
        raise ConfigError(f"--index must lie in 1 … {len(configs)}, the trials of {spec.name}; got {args.index}")
    config = configs[args.index - 1]
    which = f", {args.index} of {len(configs)} (--index picks another)" if len(configs) > 1 else ""
    print(f"trial {config.trial_id} of {spec.name}{which}", file=sys.stderr)
    engine = "solo" if _debugs(args) and args.engine == "auto" else args.engine
    return _Training(config=config, device=args.device, engine=engine)


def _debugs(args: TrialArgs) -> bool:
    return args.pdb or args.break_at is not None


def _debug(args: TrialArgs, training: _Training) -> Debug | None:
    """What the debugger is to open for, and in whose step."""
    if not _debugs(args):
        return None
    from monosweep.model.debugging import Debug

    debug = Debug(break_at=args.break_at, engine="solo" if args.engine == "auto" else args.engine)
    debug.check(training.config, training.until)
    return debug


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


def _watch(training: _Training, debug: Debug | None = None) -> TrainedTrial:
    with importing():
        from monosweep.model.trained import changed
        from monosweep.model.watch import watch_trial
        from monosweep.sweep.view.trial import TrialDisplay

    config = training.config
    print(changed(config), file=sys.stderr)
    with TrialDisplay(training.until or config.n_steps) as display:
        return watch_trial(config, training.device, training.engine, display, debug, training.until)


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
    from monosweep.sweep.again import held_against
    from monosweep.sweep.view.replay import describe

    ending, curve, judged = held_against(row, curve_rows, watched)
    print(f"\n{describe(ending, curve)}\n{judged.text}")
    return judged.ok
