"""The verbs for a running cluster: submit, resume, logs, stop, list.  Arguments in, an exit status out.

The front door `sweep.__main__` calls them; `sweep.executors.jobs` speaks with Ray, and is imported after the
arguments have been read.  `list` needs no cluster: all it says stands in the results root.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from monosweep.model.config import ConfigError
from monosweep.sweep.cli.arguments import (
    ListArgs,
    LogsArgs,
    ResumeArgs,
    StopArgs,
    SubmitArgs,
    pack_size_set,
    spread_sets,
    worker_count,
)
from monosweep.sweep.parse import parse
from monosweep.sweep.plan.options import PATIENCE_S
from monosweep.sweep.text import table, without_secrets

if TYPE_CHECKING:
    from monosweep.sweep.executors.jobs import Job
    from monosweep.sweep.spec.sweep_spec import SweepSpec
    from monosweep.sweep.view.status import SweepStatus

NOT_SUCCEEDED = 1


def submit(argv: Sequence[str]) -> int:
    """`monosweep submit`."""
    args = parse(
        SubmitArgs, spread_sets(argv), prog="monosweep submit",
        description="Launch SPEC on a running Ray cluster, as a Ray job that goes on without us.",
    )  # fmt: skip
    from monosweep.sweep.spec.sweep_spec import expand, load_spec

    spec = load_spec(args.spec, [*args.set, *pack_size_set(args.pack_size)])
    n_trials = len(expand(spec))
    job = _submit(spec, args.out, args)
    print(f"submitted {n_trials:,} trials of {job.sweep} as job {job.id}")
    _print_next(job, args.address)
    return 0


def resume(argv: Sequence[str]) -> int:
    """`monosweep resume`."""
    args = parse(
        ResumeArgs, argv, prog="monosweep resume",
        description="Submit again what a results root was launched with; only what is missing is trained.",
    )  # fmt: skip
    from monosweep.sweep.plan.members import know_families, spec_of
    from monosweep.sweep.store.root import Store

    stands = _the_one(args.out, args.sweep)
    left = stands.counts.missing + (stands.counts.failed if args.retry_failed else 0)
    if not left:
        print(f"nothing to resume: all {stands.counts.total:,} trials of {stands.sweep} have their rows")
        return 0
    store = Store.open(args.out)
    know_families(store, stands.sweep)
    if (spec := spec_of(store, stands.sweep)) is None:
        rule = f"a sweep is resumed from its spec in the root; that of {stands.sweep} is not there, or is none"
        raise ConfigError(f"{rule}; monosweep submit SPEC puts it there")
    job = _submit(spec, args.out, args)
    print(f"submitted the {left:,} trials that {job.sweep} lacks as job {job.id}")
    _print_next(job, args.address)
    return 0


def logs(argv: Sequence[str]) -> int:
    """`monosweep logs`."""
    args = parse(LogsArgs, argv, prog="monosweep logs", description="What the driver of a submitted sweep says.")
    from monosweep.sweep.executors.jobs import Cluster

    cluster = Cluster(args.address, _say)
    job = cluster.current(args.out, args.sweep)
    for chunk in cluster.logs(job, follow=args.follow):
        print(chunk, end="", flush=True)
    now = cluster.job(job.id)
    print(f"job {now.id}: {now.state}", file=sys.stderr)
    return 0 if now.active or now.state == "SUCCEEDED" else NOT_SUCCEEDED


def stop(argv: Sequence[str]) -> int:
    """`monosweep stop`."""
    args = parse(
        StopArgs, argv, prog="monosweep stop",
        description="End the driver of a submitted sweep; what it trained is kept, packs are checkpointed.",
    )  # fmt: skip
    from monosweep.sweep.executors.jobs import Cluster, ClusterError

    cluster = Cluster(args.address, _say)
    job = cluster.current(args.out, args.sweep)
    if not job.active:
        raise ClusterError(f"only a running job can be stopped; {job.id}, the last one of {job.sweep}, is {job.state}")
    ended = cluster.stop(job)
    print(f"job {ended.id}: {ended.state}; monosweep resume {shlex.quote(args.out)} {ended.sweep} goes on")
    return 0 if not ended.active else NOT_SUCCEEDED


def list(argv: Sequence[str]) -> int:
    """`monosweep list`."""
    args = parse(
        ListArgs, argv, prog="monosweep list", description="The sweeps of a results root, and who drives them."
    )
    from monosweep.sweep.view.status import read_status

    rows = [_listed(sweep) for sweep in read_status(args.out)]
    if not rows:
        print(f"no sweeps in {without_secrets(args.out)} yet")
        return 0
    heads = ("sweep", "state", "done", "diverged", "failed", "running", "of", "driven by")
    print(table(heads, rows, right=(2, 3, 4, 5, 6)))
    return 0


def _listed(sweep: SweepStatus) -> tuple[str, ...]:
    from monosweep.sweep.view.lines import state_of

    counts, lease = sweep.counts, sweep.lease
    numbers = (counts.completed + counts.stopped, counts.diverged, counts.failed, counts.running, counts.total)
    return (sweep.sweep, state_of(sweep), *map(str, numbers), lease.who if lease else "")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _submit(spec: SweepSpec, out: str, args: SubmitArgs | ResumeArgs) -> Job:
    from monosweep.sweep.executors.jobs import Cluster, check_root

    check_root(out)
    _check_idle(out, spec.name)
    return Cluster(args.address, _say).submit(spec, out, driver_options(args))


def driver_options(args: SubmitArgs | ResumeArgs) -> Sequence[str]:
    """What the job's `monosweep launch` is told; one that resumes trains all that its sweep was asked for."""
    options = ["--device", args.device]
    if (workers := worker_count(args.workers)) is not None:
        options += ["--workers", str(workers)]
    if args.retry_failed:
        options.append("--retry-failed")
    if args.patience_s != PATIENCE_S:
        options += ["--patience-s", f"{args.patience_s:g}"]
    if isinstance(args, ResumeArgs):
        options.append("--unfinished")
    return options


def _check_idle(out: str, sweep: str) -> None:
    """Refuse what the driver would refuse, where the results root can be seen from here."""
    from monosweep.sweep.executors.jobs import ClusterError
    from monosweep.sweep.store.root import Store, StoreError

    lease = None
    with suppress(StoreError):  # the cluster may reach what we do not
        store = Store.find(out)
        lease = store.read_lease(sweep) if store else None
    if lease is not None:
        raise ClusterError(
            f"a sweep is trained once at a time; {sweep} is being driven ({lease.who}); follow it with monosweep "
            f"status {without_secrets(out)}, or stop it first"
        )


def _the_one(out: str, sweep: str | None) -> SweepStatus:
    """The sweep that is meant: the named one, or the only one."""
    from monosweep.sweep.view.status import read_status

    found = read_status(out, sweep)
    if len(found) != 1:
        names = ", ".join(one.sweep for one in found) or "none yet"
        raise ConfigError(f"resume needs the name of a sweep; {without_secrets(out)} has {names}; add one")
    return found[0]


def _print_next(job: Job, address: str) -> None:
    where = f"{shlex.quote(job.root)} {job.sweep} --address {address}"
    print(f"follow    monosweep logs {where} --follow")
    print(f"stop      monosweep stop {where}")
    print(f"progress  monosweep status {shlex.quote(job.root)} {job.sweep}")
