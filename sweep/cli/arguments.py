"""What each verb of `sweep` takes on the command line; the docstrings are the help that users read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from tyro.conf import arg

from monosweep.model.config import ConfigError
from monosweep.sweep.numerals import whole_number_in
from monosweep.sweep.plan.options import PATIENCE_S

Device = Literal["auto", "cpu", "cuda"]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, arg(help_behavior_hint="")]
Sets = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class PresetsArgs:
    """No options."""


@dataclass(frozen=True, kw_only=True)
class LaunchArgs:
    """Options of `launch`."""

    spec: Annotated[str, tyro.conf.Positional, arg(metavar="SPEC")]
    """A preset's name (see monosweep presets) or a YAML file."""
    out: Annotated[str, arg(metavar="URI")] = "results"
    """Results root: a folder, or s3://..., gs://...; trials that it already holds are not trained again."""
    set: Annotated[Sets, arg(metavar="K=V")] = ()
    """Set a field of every trial or a key of the spec; K=[a,b] makes a grid."""
    pack_size: Annotated[str | None, arg(metavar="auto|N", help_behavior_hint="")] = None
    """Trials per pack, in place of the spec's."""
    executor: Literal["ray", "inline"] = "ray"
    """Ray Tune, or this process alone."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    workers: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Packs at a time; auto is one per core or GPU, and one inline."""
    address: Annotated[str | None, arg(metavar="ADDR", help_behavior_hint="")] = None
    """A running Ray cluster; left out, Ray starts here and ends with the launch."""
    retry_failed: Flag = False
    """Train failed trials again."""
    unfinished: Flag = False
    """Train also what this sweep was asked for before and still lacks."""
    patience_s: float = PATIENCE_S
    """Seconds without a report after which a pack's worker counts as hung: it is ended, and another goes on."""
    max_trials: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Begin so many trials and no more; launch again to go on."""
    max_hours: Annotated[float | None, arg(metavar="H", help_behavior_hint="")] = None
    """Stop after so many hours, with checkpoints; launch again to go on."""
    max_model_steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Stop after so many optimiser steps of single trials, with checkpoints."""
    dry_run: Flag = False
    """Say what would be trained, and stop."""


@dataclass(frozen=True, kw_only=True)
class NewArgs:
    """Options of `new`."""

    file: Annotated[str, tyro.conf.Positional, arg(metavar="FILE")]
    """Where to, such as my_toy.py; a spec is written beside it."""


@dataclass(frozen=True, kw_only=True)
class StatusArgs:
    """Options of `status`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")] = "results"
    """Results root."""
    sweep: Annotated[str | None, tyro.conf.Positional, arg(metavar="SWEEP", help_behavior_hint="")] = None
    """One sweep's name; left out, all."""


@dataclass(frozen=True, kw_only=True)
class CompactArgs:
    """Options of `compact`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")] = "results"
    """Results root."""
    grace_s: float = 10.0
    """Seconds that replaced parts stay for readers that have listed them."""


@dataclass(frozen=True, kw_only=True)
class TrialArgs:
    """Options of `trial`."""

    spec: Annotated[str, tyro.conf.Positional, arg(metavar="SPEC|OUT")] = "quick"
    """A preset's name or a YAML file; with a TRIAL_ID, a results root."""
    trial_id: Annotated[str | None, tyro.conf.Positional, arg(metavar="TRIAL_ID", help_behavior_hint="")] = None
    """Of a trial of the results root, or a unique beginning of it; it is trained as its row says."""
    set: Annotated[Sets, arg(metavar="K=V")] = ()
    """Set a field of the trial, such as lr=0.01."""
    index: int = 1
    """Which of the spec's trials to train, from 1."""
    device: Device = "auto"
    """Where to train; auto is the row's, or a GPU if there is one."""
    engine: Literal["auto", "solo", "packed", "vmapped"] = "auto"
    """solo is the readable definition, packed the fast one of two_layer, vmapped packs any family; auto is the row's,
    or the fastest, or solo under --pdb."""
    pdb: Flag = False
    """Open the debugger at the first non-finite loss or exception, in the solo engine's step unless --engine is
    given."""
    break_at: Annotated[int | None, arg(metavar="STEP", help_behavior_hint="")] = None
    """Open the debugger on entering this step, from 1; implies --pdb."""
    plot: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Draw the response map into this .png, .pdf or .svg file."""


@dataclass(frozen=True, kw_only=True)
class ReplayArgs:
    """Options of `replay`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")]
    """Results root."""
    trial_id: Annotated[str, tyro.conf.Positional, arg(metavar="TRIAL_ID")]
    """The trial's id, or a unique beginning of it."""
    device: Annotated[Device | None, arg(metavar="{auto,cpu,cuda}", help_behavior_hint="")] = None
    """Where to train; left out, the kind of device that the row names."""
    plot: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Draw the response map into this .png, .pdf or .svg file."""


@dataclass(frozen=True, kw_only=True)
class WeightsArgs:
    """Options of `weights`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")]
    """Results root."""
    trial_ids: Annotated[tuple[str, ...], tyro.conf.Positional, arg(metavar="TRIAL_ID", help_behavior_hint="")] = ()
    """Trials' ids, or unique beginnings of them."""
    sweep: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """All trials of this sweep; they are written only if --to says where."""
    to: Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Where to write them, or the folder for several; left out, TRIAL_ID.safetensors."""


@dataclass(frozen=True, kw_only=True)
class MeasureArgs:
    """Options of `measure`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")]
    """Results root."""
    file: Annotated[str, tyro.conf.Positional, arg(metavar="FILE")]
    """A Python file with functions decorated as metrics; the table is named after it."""
    sweep: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")] = None
    """Trials that this sweep has trained; left out, all."""


@dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Options of `bench`."""

    shapes: Annotated[tuple[str, ...], tyro.conf.Positional, arg(metavar="SHAPE", help_behavior_hint="")] = ()
    """Which to measure: tiny, small, quick, paper; left out, all."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda: is all as it should be on this GPU, and how fast; ends with 1 where something is not."""
    workers: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Processes at a time; auto is one per core."""
    turns: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """How often each is measured, 3 if left out; the median counts."""
    format: Literal["table", "json"] = "table"
    """json holds every sample."""


DASHBOARD = "http://127.0.0.1:8265"
"""Where a head's dashboard and Jobs API listen, on the head or at the end of a tunnel to it."""


@dataclass(frozen=True, kw_only=True)
class SubmitArgs:
    """Options of `submit`."""

    spec: Annotated[str, tyro.conf.Positional, arg(metavar="SPEC")]
    """A preset's name or a YAML file."""
    out: Annotated[str, arg(metavar="URI")]
    """Results root that every node reaches: s3://..., gs://..., or the full path of a shared mount."""
    address: Annotated[str, arg(metavar="URL")] = DASHBOARD
    """The head's dashboard."""
    set: Annotated[Sets, arg(metavar="K=V")] = ()
    """Set a field of every trial or a key of the spec."""
    pack_size: Annotated[str | None, arg(metavar="auto|N", help_behavior_hint="")] = None
    """Trials per pack, in place of the spec's."""
    device: Device = "auto"
    """Where to train; say which if workers start only when needed."""
    workers: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Packs at a time; say how many if workers start only when needed."""
    retry_failed: Flag = False
    """Train failed trials again."""
    patience_s: float = PATIENCE_S
    """Seconds without a report after which a pack's worker counts as hung."""


@dataclass(frozen=True, kw_only=True)
class ResumeArgs:
    """Options of `resume`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")]
    """Results root."""
    sweep: Annotated[str | None, tyro.conf.Positional, arg(metavar="SWEEP", help_behavior_hint="")] = None
    """Which of its sweeps; left out, the only one."""
    address: Annotated[str, arg(metavar="URL")] = DASHBOARD
    """The head's dashboard."""
    device: Device = "auto"
    """Where to train."""
    workers: Annotated[str, arg(metavar="auto|N")] = "auto"
    """Packs at a time."""
    retry_failed: Flag = False
    """Train failed trials again."""
    patience_s: float = PATIENCE_S
    """Seconds without a report after which a pack's worker counts as hung."""


@dataclass(frozen=True, kw_only=True)
class StopArgs:
    """Options of `stop`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")]
    """Results root, as it was submitted."""
    sweep: Annotated[str | None, tyro.conf.Positional, arg(metavar="SWEEP", help_behavior_hint="")] = None
    """One sweep's name; left out, the one that trains, else the last one."""
    address: Annotated[str, arg(metavar="URL")] = DASHBOARD
    """The head's dashboard."""


@dataclass(frozen=True, kw_only=True)
class LogsArgs(StopArgs):
    """Options of `logs`."""

    follow: Flag = False
    """Go on until the job ends."""


@dataclass(frozen=True, kw_only=True)
class ListArgs:
    """Options of `list`."""

    out: Annotated[str, tyro.conf.Positional, arg(metavar="OUT")] = "results"
    """Results root."""


def spread_sets(argv: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`, so that a SPEC may follow."""
    spread: list[str] = []
    for token in argv:
        after_value = spread[-2:-1] == ["--set"]
        if after_value and "=" in token and not token.startswith("-"):
            spread.append("--set")
        spread.append(token)
    return spread


def worker_count(workers: str) -> int | None:
    """The number behind --workers; None for auto.

    Raises:
        ConfigError: if it is neither.
    """
    return None if workers == "auto" else _count("--workers", workers)


def pack_size_set(pack_size: str | None) -> list[str]:
    """What --pack-size sets in a spec, as `--set` would.

    Raises:
        ConfigError: if it is neither auto nor a number of trials.
    """
    if pack_size is None:
        return []
    return [f"pack_size={pack_size if pack_size == 'auto' else _count('--pack-size', pack_size)}"]


def _count(option: str, word: str) -> int:
    try:
        count = whole_number_in(word)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None
    if count is None or count < 1:
        raise ConfigError(f"{option} must be auto or a whole number above 0; got {word!r}")
    return count
