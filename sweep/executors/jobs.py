"""Sweeps on a running Ray cluster, from anywhere that reaches its dashboard port: submit, follow, stop.

    SPEC -> bundle (sources + resolved spec) -> Ray job on the head: `monosweep launch --address` -> results root

A job is found again by what it says of itself: sweep and root.  The rows are in the results root and need none
of this.  With `connect`, `tune` and `own_ray` the only files that know Ray.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from monosweep.model.config import UserError
from monosweep.model.families import source_of
from monosweep.sweep.executors.addresses import as_named
from monosweep.sweep.executors.shipping import JOB, SPEC, bundled, check_root, needs_token, runtime_env
from monosweep.sweep.spec.sweep_spec import SweepSpec, families_in
from monosweep.sweep.text import without_secrets
from monosweep.sweep.work.waits import Say, Wait, told_if_long

_SWEEP, _ROOT = "monosweep_sweep", "monosweep_root"
_ACTIVE = ("RUNNING", "PENDING")
STOP_WAIT_S = 60
"""How long a driver may take to have its packs checkpointed, before Ray kills it."""
_POLL_S = 0.5


class ClusterError(UserError):
    """A cluster that cannot be reached, or a job that is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A submitted sweep, as the cluster knows it."""

    id: str
    sweep: str
    """As in the column `sweep`."""
    root: str
    """The results root, as it was given."""
    state: str
    """`PENDING`, `RUNNING`, `STOPPED`, `SUCCEEDED` or `FAILED`."""
    started_at: float
    """Seconds since 1970."""

    @property
    def active(self) -> bool:
        """Whether it is going to end, or to begin."""
        return self.state in _ACTIVE

    @property
    def rank(self) -> tuple[int, float]:
        """Less for those that train, then for those that are to, then for those that began later."""
        return (_ACTIVE.index(self.state) if self.active else len(_ACTIVE), -self.started_at)


class Cluster:
    """The Ray jobs of a cluster.

    Args:
        address: of the head's dashboard, `http://host:8265`; a token is taken from where Ray keeps it.
        say: is told what is waited for, if it takes long.

    Raises (from every method too):
        ClusterError: if nothing answers there, or it does not let us in.
    """

    def __init__(self, address: str, say: Say = lambda line: None) -> None:
        from ray.job_submission import JobSubmissionClient

        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", JobSubmissionClient.__module__):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._address, self._say = address, say
        if not address.startswith(("http://", "https://")):
            rule = "--address must be the URL of the head's dashboard, such as http://127.0.0.1:8265"
            raise ClusterError(f"{rule}; got {address!r}")
        with self._guard():
            self._client = JobSubmissionClient(address)

    def submit(self, spec: SweepSpec, root: str, options: Sequence[str] = ()) -> Job:
        """Have the cluster launch `spec` into `root`; `options` are those of `monosweep launch`.

        Raises:
            ConfigError: if `root` cannot be meant for a cluster.
            ClusterError: if a job is training this sweep into this root already.
        """
        check_root(root)
        sweep = spec.name
        if running := next((job for job in self.jobs(root, sweep) if job.active), None):
            raise ClusterError(
                f"a sweep is trained once at a time; job {running.id} is training {sweep} into {root}; "
                f"follow it with monosweep logs, or end it with monosweep stop"
            )
        job_id = f"{sweep.replace('/', '-')}-{secrets.token_hex(4)}"
        command = ["python", "-m", "monosweep.sweep", "launch", SPEC, "--out", root, "--address", "auto", *options]
        sources = [source for name in families_in(spec) if (source := source_of(name))]
        files = {source.file: source.text for source in sources}
        with bundled(spec.to_json(), files) as folder, self._guard():
            environment = runtime_env(folder, **{JOB: job_id, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)})
            self._client.submit_job(
                entrypoint=shlex.join(command), submission_id=job_id, runtime_env=environment,
                metadata={_SWEEP: sweep, _ROOT: root}, entrypoint_num_cpus=0,
            )  # fmt: skip
        return self.job(job_id)

    def jobs(self, root: str, sweep: str | None = None) -> list[Job]:
        """The jobs that train, or have trained, into `root`: first what trains, then the latest."""
        with self._guard():
            found = [_job(details) for details in self._client.list_jobs() if _SWEEP in (details.metadata or {})]
        wanted = [job for job in found if job.root.rstrip("/") == root.rstrip("/") and sweep in (None, job.sweep)]
        return sorted(wanted, key=lambda job: job.rank)

    def current(self, root: str, sweep: str | None = None) -> Job:
        """The job of a root, or of one of its sweeps, that is meant: one that trains, else the last.

        Raises:
            ClusterError: if there is none, or several sweeps are being trained.
        """
        jobs = self.jobs(root, sweep)
        if not jobs:
            what = f"sweep {sweep} of {root}" if sweep else root
            raise ClusterError(
                f"no job for {what} on {self._address}; give the --out of its submit, or monosweep submit it"
            )
        if len(training := sorted({job.sweep for job in jobs if job.active})) > 1:
            raise ClusterError(f"{len(training)} sweeps train into {root}: {', '.join(training)}; name one")
        return jobs[0]

    def job(self, job_id: str) -> Job:
        """A job by its id."""
        with self._guard():
            return _job(self._client.get_job_info(job_id))

    def stop(self, job: Job) -> Job:
        """Stop a job and wait until it has ended; its packs are checkpointed, its rows stay."""
        with self._guard():
            self._client.stop_job(job.id)
        deadline = time.monotonic() + STOP_WAIT_S + 10
        while (now := self.job(job.id)).active and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return now

    def logs(self, job: Job, *, follow: bool = False) -> Iterator[str]:
        """What the job's driver has said; with `follow` until the job ends."""
        if follow:
            self._await_driver(job)
        with self._guard(told=not follow):
            if follow and job.active:
                yield from _pulled(self._client.tail_job_logs(job.id))
            else:
                yield self._client.get_job_logs(job.id)

    def _await_driver(self, job: Job) -> None:
        """Until the cluster has begun with a job, for nothing can be followed before."""
        wait = Wait(lambda: f"waiting for the cluster to start the driver of job {job.id}", self._say)
        while self.job(job.id).state == "PENDING":
            wait.look()
            time.sleep(_POLL_S)

    @contextmanager
    def _guard(self, told: bool = True) -> Iterator[None]:
        """Turn what Ray and HTTP raise into one line with the fix; `told` if the answer takes long."""
        from ray.exceptions import RayError

        what = f"waiting for the cluster at {self._address} to answer"
        try:
            with as_named(self._address), told_if_long(what, self._say) if told else nullcontext():
                yield
        except UserError:
            raise
        except (RayError, RuntimeError, OSError, ValueError) as error:
            raise ClusterError(_explain(error, self._address)) from error


def _job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        id=details.submission_id, sweep=metadata[_SWEEP], root=metadata[_ROOT], state=str(details.status.value),
        started_at=(details.start_time or 0) / 1000,
    )  # fmt: skip


def _pulled(chunks: AsyncIterator[str]) -> Iterator[str]:
    """An asynchronous iterator, for callers that are not."""

    async def following(waiting: Any) -> str | None:
        return await anext(waiting, None)

    with asyncio.Runner() as runner:
        while (chunk := runner.run(following(chunks))) is not None:
            yield chunk


def _explain(error: Exception, address: str) -> str:
    text = " ".join(str(error).split())
    if "uthenticat" in text or "nauthorized" in text:
        return needs_token(address)
    if isinstance(error, OSError):
        return (
            f"no Ray cluster answers at {address}; start one (ray start --head), or open a tunnel to its head "
            f"(ssh -L 8265:127.0.0.1:8265 HEAD)"
        )
    return f"the cluster at {address} refuses: {without_secrets(text[:300])}"


__all__ = ["Cluster", "ClusterError", "Job", "check_root"]
