"""monosweep itself, through either of its executors, into a results root that is thrown away.

Step times come from the rows: `wall_time_s` is a trial's share of its pack's training, snapshots included.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import pyarrow.dataset as ds
from rich.console import Console

from contenders.sample import CHECKED_RATES, Case, Losses, Sample, Turn
from monosweep.model.config import Precision
from monosweep.model.kinds import networks
from monosweep.model.records import TrialStatus
from monosweep.sweep.executors import inline, tune
from monosweep.sweep.executors.connect import Cluster, connected
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work.contract import Settings, Work
from monosweep.sweep.work.feed import Given

Executor = Literal["ray", "inline"]
_WARM_UP_STEPS = 3
"""A length that no case has."""


def turn(
    executor: Executor, cases: Sequence[Case], n_workers: int, seed: int, precision: Precision = "fp32",
    cluster: Cluster | None = None,
) -> Turn:  # fmt: skip
    """All cases in one sweep, one pack per core and case, after one that loads the compiled kernels.

    With Ray it starts one of its own, unless `cluster` is connected.
    """
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as root:
        start = time.perf_counter()
        work = Work(store=Store.create(root), sweep="bench", settings=Settings(), n_workers=n_workers)
        _train(executor, work, _all_packs(cases, n_workers, seed, precision), cluster)
        wall_s = time.perf_counter() - start
        samples = [_sample(_name(executor, precision), case, root, n_workers) for case in cases]
    busy_s = sum(s.step_ms * c.n_steps * _n_trials(c, n_workers) for s, c in zip(samples, cases, strict=True)) / 1e3
    return Turn(samples=tuple(samples), startup_s=wall_s - busy_s)


def _n_trials(case: Case, n_workers: int) -> int:
    return case.n_packed // n_workers * n_workers


def _name(executor: Executor, precision: Precision) -> str:
    return f"ours, {executor}" + (f", {precision}" if precision != "fp32" else "")


def _all_packs(cases: Sequence[Case], n_workers: int, seed: int, precision: Precision) -> list[Pack]:
    warm_up = replace(cases[0], n_steps=_WARM_UP_STEPS)
    return [pack for case in (warm_up, *cases) for pack in _packs(case, n_workers, seed, precision)]


def _packs(case: Case, n_workers: int, seed: int, precision: Precision) -> list[Pack]:
    """One per core, each with the first rates of a seed of its own."""
    size = case.n_packed // n_workers
    return [Pack(case.shape.trials(size, case.n_steps, seed + 10 * i, precision)) for i in range(n_workers)]


def _train(executor: Executor, work: Work, packs: Sequence[Pack], cluster: Cluster | None) -> None:
    before = Counts(total=sum(len(pack.configs) for pack in packs))
    console = Console(file=io.StringIO())
    with Progress(work.store, work.sweep, packs, before, console) as progress:
        if executor == "inline":
            inline.execute(work, Given(packs), progress, lambda: False)
        else:
            modules = [networks.__name__]
            own = connected(None, work.n_workers, modules=modules) if cluster is None else nullcontext(cluster)
            with own as there:
                tune.execute(there, work, Given(packs), progress, lambda: False)
        ended = Counter(progress.counts().by_status())
    if ended[TrialStatus.COMPLETED] != before.total:
        raise RuntimeError(f"only {ended} of {before.total} trials of the benchmark completed")


def _sample(contender: str, case: Case, root: str, n_workers: int) -> Sample:
    of_case = (ds.field("n_neurons") == case.shape.n_neurons) & (ds.field("n_steps") == case.n_steps)
    trials = ds.dataset(f"{root}/trials").to_table(filter=of_case, columns=["trial_id", "lr", "wall_time_s"])
    seconds, steps = sum(trials["wall_time_s"].to_pylist()), len(trials) * case.n_steps
    lrs = dict(zip(trials["trial_id"].to_pylist(), trials["lr"].to_pylist(), strict=True))
    return Sample(
        contender=contender, shape=case.shape.name, step_ms=1e3 * seconds / (n_workers * steps),
        losses=_losses(case, root, lrs),
    )  # fmt: skip


def _losses(case: Case, root: str, lrs: dict[str, float]) -> Losses:
    wanted = ds.field("step").isin(case.loss_steps)
    curves = ds.dataset(f"{root}/curves").to_table(filter=wanted, columns=["trial_id", "step", "loss"])
    losses: dict[tuple[float, int], list[float]] = {}
    for row in curves.to_pylist():
        if (lr := lrs.get(row["trial_id"])) in CHECKED_RATES:
            losses.setdefault((lr, row["step"]), []).append(row["loss"])
    return losses
