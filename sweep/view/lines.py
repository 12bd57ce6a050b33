"""What `launch` and `status` say, meanwhile and at their end.  Pure: counts and reports in, lines out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from monosweep.sweep.text import duration
from monosweep.sweep.view.counts import Counts, Speed
from monosweep.sweep.view.status import SweepStatus

if TYPE_CHECKING:
    from monosweep.sweep.drive import LaunchReport
    from monosweep.sweep.plan.plan import Plan
    from monosweep.sweep.store.compact import Compacted


def launch_lines(report: LaunchReport, out: str) -> Iterator[str]:
    """What a launch has done or would do, where its rows are, and what to type next; `out` is as typed."""
    if report.dry_run and report.plan:
        yield _would(report.plan)
        return
    yield _done(report)
    root, sweep = shlex.quote(out), report.sweep
    yield f"rows      {report.root}: tables {', '.join(report.tables)}; sweep {sweep}"
    if report.spent:
        yield f"spent     {report.spent}: {report.n_missing:,} trials are left; launch again to go on"
    elif report.n_missing:
        lack = f"{report.n_missing:,} trials that were to be trained have no row there"
        yield f"missing   {lack}: launch the same command again"
    if others := report.after.missing - report.n_missing:
        yield f"left      {others:,} trials that {sweep} was asked for before lack their rows: launch with --unfinished"
    if report.n_without_weights:
        yield (
            f"weights   {report.n_without_weights:,} trials ended without leaving theirs: "
            f"monosweep weights {root} --sweep {shlex.quote(sweep)}"
        )
    if report.after.failed:
        why = f"select trial_id, error from sweep('{sweep}') where status = 'failed'"
        yield f'why       monosweep query {root} "{why}"'
        yield "again     launch with --retry-failed"
    if report.after.completed:
        yield f"query     monosweep query {root} \"from sweep('{sweep}')\""
        yield f"figures   monosweep figures {root}"


def status_lines(sweeps: list[SweepStatus]) -> Iterator[str]:
    """A line per sweep, then what concerns the whole results root."""
    for sweep in sweeps:
        yield f"{sweep.sweep}: {describe(sweep.counts, sweep.speed, sweep.best)} ({_activity(sweep)})"
    if not sweeps:
        return
    if sweeps[0].n_hidden:
        yield f"{sweeps[0].n_hidden} rows are repetitions of a trial, and hidden from queries"
    for part in dict.fromkeys(part for sweep in sweeps for part in sweep.unreadable):
        yield f"{part} cannot be read; launch again to replace it"


def compact_lines(done: Compacted) -> Iterator[str]:
    """What a compaction has done."""
    if done.n_merged:
        yield f"{done.n_merged:,} parts merged into {done.n_into:,}"
    else:
        yield "nothing to merge"
    if done.n_removed:
        yield f"{done.n_removed:,} replaced parts removed"
    if done.n_orphans:
        yield f"{done.n_orphans:,} files that interrupted packs left behind removed"
    for part in done.damaged:
        yield f"{part} cannot be read; launch its sweep again to train its trials anew"


def describe(counts: Counts, speed: Speed, best: Mapping[str, float] = MappingProxyType({})) -> str:
    """One line for people.

    >>> describe(Counts(total=16, completed=4, running=8), Speed())
    '4/16 trials done · 8 running'
    >>> speed = Speed(steps_per_s=5e3, trials_per_hour=310.4, seconds_left=70)
    >>> describe(Counts(total=16, completed=4, failed=1), speed)
    '4/16 trials done · 1 failed · 310 trials/h · 5,000 steps/s · 1 min left'
    >>> describe(Counts(total=16, completed=2, stopped=9, running=5), Speed())
    '11/16 trials done, 9 of them stopped early · 5 running'
    >>> describe(Counts(total=16, running=8), Speed(), {"loss": 0.27321, "mono_per_feature": 0.375})
    '0/16 trials done · 8 running · best loss 0.2732, mono per feature 0.375'
    """
    return " · ".join(filter(None, (counted(counts), paced(speed, best), left(speed))))


def counted(counts: Counts) -> str:
    """How many trials have come how far."""
    early = f", {counts.stopped} of them stopped early" if counts.stopped else ""
    parts = [f"{counts.completed + counts.stopped}/{counts.total} trials done{early}"]
    rest = ("diverged", "failed", "running")
    parts += [f"{getattr(counts, name)} {name}" for name in rest if getattr(counts, name)]
    return " · ".join(parts)


def paced(speed: Speed, best: Mapping[str, float]) -> str:
    """The best so far, and how fast it goes; nothing of what is not known yet."""
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in best.items())
    parts = [f"best {shown}"] if shown else []
    if speed.trials_per_hour is not None:
        parts += [f"{speed.trials_per_hour:,.0f} trials/h", f"{speed.steps_per_s:,.0f} steps/s"]
    return " · ".join(parts)


def left(speed: Speed) -> str:
    """The time that is left; nothing before there is an estimate."""
    return "" if speed.seconds_left is None else f"{duration(speed.seconds_left)} left"


def state_of(sweep: SweepStatus) -> str:
    """`active`, `done` or `unfinished`, as `status` and `list` say."""
    if sweep.lease or sweep.live:
        return "active"
    return "unfinished" if sweep.counts.missing else "done"


def _would(plan: Plan) -> str:
    resumed = f" ({plan.n_resumed} from a checkpoint)" if plan.n_resumed else ""
    what = f"{plan.n_trials:,} trials, {plan.model_steps:,} model-steps, in {plan.n_packs:,} packs{resumed}"
    how = f"{plan.n_workers} at a time on {plan.device}, in about {plan.memory_bytes / 1e9:.1f} GB"
    while_s = "" if plan.seconds is None else f", for about {duration(plan.seconds)}{' at most' * bool(plan.n_resumed)}"
    return f"would train {what}: {how}{while_s}; nothing was trained"


def _done(report: LaunchReport) -> str:
    before, after = report.before, report.after
    if report.plan is None:
        return f"nothing to train: all {report.n_wanted:,} trials have their rows{_others(after)}"
    there = f"; {before.ended:,} were there before" if before.ended else ""
    missing = f", {after.missing:,} missing" if after.missing else ""
    end = f"{after.completed:,} of {after.total:,} completed{_others(after)}{missing}"
    return f"{report.trained:,} trials trained in {duration(report.wall_time_s)}{there}: {end}"


def _others(counts: Counts) -> str:
    others = [(getattr(counts, name), name) for name in ("diverged", "stopped", "failed")]
    return "".join(f", {n:,} {name}" for n, name in others if n)


def _activity(sweep: SweepStatus) -> str:
    state = state_of(sweep)
    if sweep.lease:
        return f"{state}: {sweep.lease.who}"
    if state == "unfinished" and sweep.updated_at:
        return f"{state}; last {sweep.updated_at:%Y-%m-%d %H:%M} UTC"
    return state
