"""A spec into a results root: ask, subtract what is there, plan, execute, report.

    SweepSpec -> configs -> asked - rows (`plan.missing`) -> packs (`plan.plan`; those with a checkpoint go on)
              -> executor (`executors.site`) -> LaunchReport

Resuming, retrying and extending are this same act.  A launch that finds nothing missing imports neither
torch nor Ray.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from monosweep.model.additions import is_own
from monosweep.model.config import OPTIMIZERS, TrialConfig
from monosweep.model.families import description_of
from monosweep.model.family import NETWORK
from monosweep.model.procedure import ProcedureConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.executors.inline import leave_if_worker
from monosweep.sweep.executors.shipping import JOB, check_root
from monosweep.sweep.executors.site import ready
from monosweep.sweep.executors.stopping import stop_signals
from monosweep.sweep.plan.budget import Spending
from monosweep.sweep.plan.forecast import seconds_to_train
from monosweep.sweep.plan.members import ask, asked_for, held_another, members
from monosweep.sweep.plan.missing import Standing, counting, drop_done, resumable
from monosweep.sweep.plan.options import LaunchOptions
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.plan.plan import Plan, Site, packs_for, plan_of
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.adaptive import Adaptive
from monosweep.sweep.spec.sweep_spec import SweepSpec, coinciding, expand
from monosweep.sweep.store.live import clear as clear_live
from monosweep.sweep.store.repair import clear_half_written, set_aside_damaged
from monosweep.sweep.store.root import Held, Index, Store
from monosweep.sweep.store.schema import tables_of
from monosweep.sweep.store.weights import lacking
from monosweep.sweep.text import without_secrets
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work.contract import Settings, Work
from monosweep.sweep.work.feed import Feed, Given
from monosweep.sweep.work.waits import told_if_long

if TYPE_CHECKING:
    from monosweep.sweep.search.searcher import Searcher
    from monosweep.sweep.search.tune_judge import TrialScheduler


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchReport:
    """What a launch has done."""

    sweep: str
    """Name of the sweep."""
    root: str
    """The results root."""
    before: Counts
    """All that the sweep was ever asked for, when it was launched; failed trials that were to be retried count as
    missing."""
    after: Counts
    """The same now."""
    n_wanted: int
    """Trials that this launch was to see to the end."""
    n_missing: int
    """Those of them that have no row."""
    n_failed: int
    """Those of them whose row says `failed`."""
    tables: tuple[str, ...]
    """Where the trials that it was to see to the end have their rows."""
    wall_time_s: float
    """Seconds that the launch took."""
    plan: Plan | None = None
    """What was to be done; None if nothing was missing."""
    n_without_weights: int = 0
    """Those that have ended, before or now, without leaving the weights that are asked for."""
    spent: str | None = None
    """The limit that ended the launch, if one did, such as --max-hours 1."""
    dry_run: bool = False
    """Whether the plan was left at that."""

    @property
    def trained(self) -> int:
        """Trials that this launch has given a row."""
        return self.after.ended - self.before.ended


def launch(
    spec: SweepSpec, out: str, options: LaunchOptions | None = None, console: Console | None = None, *,
    search: Searcher | None = None, scheduler: TrialScheduler | None = None,
) -> LaunchReport:  # fmt: skip
    """Train what `spec` asks for and the results root `out` lacks.

    Args:
        out: a new or empty folder, a results root, or the URI of one.
        console: where progress goes; left out, stderr.
        search: one of Ray Tune's searchers, instead of the spec's own.
        scheduler: one of Ray Tune's schedulers, instead of the spec's own.

    Raises:
        ConfigError: if a trial or option cannot be used; nothing has been trained then.
        LeaseError: if another driver trains the sweep, or has taken it over.
        StoreError: if the results root cannot be used; rows that were committed are safe.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once workers have ended; its text says what is kept.
    """
    leave_if_worker()
    start = time.monotonic()
    options, console = options or LaunchOptions(), console or Console(stderr=True)
    if options.address is not None:
        check_root(out)
    adaptive = Adaptive(spec=spec, searcher=search, scheduler=scheduler)
    configs = [] if adaptive.is_searched else expand(spec)
    for line in () if adaptive.is_searched else coinciding(spec):
        _say(console, line)
    _check_here(adaptive.example(configs))
    if adaptive.is_any:
        adaptive.check(configs)
    say = partial(_say, console)
    with told_if_long(f"looking for a results root at {without_secrets(out)}", say):
        store = Store.find(out) if options.dry_run else Store.create(out)
    with _lease(store, spec.name, options, say) as lease:
        launched = _Launch(
            spec=spec, store=store, lease=lease, options=options, console=console, adaptive=adaptive,
            spending=Spending(options.budget, start),
        )  # fmt: skip
        return launched.report(configs, out, start)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Launch:
    """The launch proper, once nobody else drives the sweep."""

    spec: SweepSpec
    store: Store | None
    """None where a dry run found no root."""
    lease: Held | None
    options: LaunchOptions
    console: Console
    adaptive: Adaptive
    spending: Spending

    def report(self, configs: Sequence[TrialConfig], out: str, start: float) -> LaunchReport:
        with self._told("reading what the results root holds"):
            stands = self._stands([*configs, *self._asked()], self._index())
            resumed = self._resumed(stands)
        plan = self._train(stands, resumed) if stands.missing or stands.to_come else None
        trained = plan is not None and not self.options.dry_run
        ended = self._ended(stands) if trained else stands
        wants_weights = self.store is not None and self.spec.save_weights != "none" and not self.options.dry_run
        return LaunchReport(
            sweep=self.spec.name, root=self.store.root if self.store else out, before=_counts(stands),
            after=_counts(ended), plan=plan, n_wanted=len(stands.wanted) + len(stands.to_come),
            n_missing=len(ended.missing) + len(ended.to_come),
            n_failed=ended.n_failed, tables=_tables(ended.wanted.values()), wall_time_s=time.monotonic() - start,
            n_without_weights=self._without_weights(ended) if wants_weights else 0,
            spent=self.spending.reason, dry_run=self.options.dry_run,
        )  # fmt: skip

    def _without_weights(self, ended: Standing) -> int:
        """How many have ended without leaving the weights that are asked for now."""
        assert self.store is not None
        with self._told("looking for weights"):
            networks = [i for i, config in ended.wanted.items() if description_of(config).kind == NETWORK]
            return len(lacking(self.store, self.store.rows_of("trials", None, networks)))

    def say(self, line: str) -> None:
        _say(self.console, line)

    def _told(self, what: str) -> AbstractContextManager[None]:
        """So that it is told if it takes long, and what happens to the storage meanwhile."""
        return told_if_long(what, self.say, self.store.notes if self.store else tuple)

    def _asked(self) -> list[TrialConfig]:
        """What a sweep that is searched has asked for so far."""
        if self.store is None or not self.adaptive.is_searched:
            return []
        return list(members(self.store, self.spec.name).values())

    def _ended(self, stands: Standing) -> Standing:
        """The same once all is done."""
        ended = replace(stands, rows=self._rows())
        if not self.adaptive.is_searched:
            return ended
        wanted = {config.trial_id: config for config in self._asked()}
        to_come = tuple(self.adaptive.to_come(list(wanted.values())))
        return replace(ended, wanted=wanted, members=frozenset(wanted), to_come=to_come)

    def _rows(self) -> Mapping[str, TrialStatus]:
        """What has become of the root's trials, as its tables say; checkpoints that they have left behind go."""
        assert self.store is not None
        with self._told("reading what the results root holds now"):
            clear_half_written(self.store, self.spec.name)
            if not self._lost():  # else they are of packs that the other driver's workers train
                clear_live(self.store, self.spec.name)
            index = self.store.index()
        for part in index.unreadable:
            self.say(f"{part} is damaged; its trials count as missing")
        drop_done(self.store, self.spec.name, index.statuses)
        return index.statuses

    def _index(self) -> Index:
        """What the root holds, once what is damaged has been set aside."""
        if self.store is None:
            return Index(statuses={}, n_hidden=0, unreadable=())
        damaged = {} if self.options.dry_run else set_aside_damaged(self.store, self.spec.name)
        for part, reason in damaged.items():
            self.say(f"{part} cannot be read; its trials count as missing ({reason}; it is in quarantine/ now)")
        if not self.options.dry_run:
            clear_half_written(self.store, self.spec.name)
            clear_live(self.store, self.spec.name)
        index = self.store.index()
        for part in index.unreadable:
            self.say(f"{part} cannot be read; its trials count as missing")
        return index

    def _stands(self, configs: Sequence[TrialConfig], index: Index) -> Standing:
        """What is wanted, which the root is told before anything is trained, and what is there."""
        wanted = {config.trial_id: config for config in configs}
        asked: frozenset[str] = frozenset()
        if self.store is not None:
            asked = asked_for(self.store, self.spec.name).trial_ids
            if asked and asked.isdisjoint(wanted) and configs:
                self.say(held_another(self.store, self.spec.name, configs))
            if self.options.unfinished:
                wanted |= members(self.store, self.spec.name)
            if not self.options.dry_run:
                for family in dict.fromkeys(config.family for config in wanted.values()):
                    self.store.write_family(family)
                ask(self.store, self.spec.name, wanted.values())
                self.store.write_spec(self.spec.name, self.spec.to_json())
        rows = counting(index, self.options.retry_failed, wanted)
        to_come = tuple(self.adaptive.to_come(list(wanted.values())))
        return Standing(wanted=wanted, members=asked.union(wanted), rows=rows, to_come=to_come)

    def _resumed(self, stands: Standing) -> list[Pack]:
        if self.store is None:
            return []
        dry_run = self.options.dry_run
        return resumable(self.store, self.spec.name, stands.missing, stands.unended, self.say, dry_run)

    def _lost(self) -> bool:
        return self.lease is not None and self.lease.lost()

    def _seconds(self, packs: Sequence[Pack], site: Site) -> float | None:
        """How long training takes; None where it is not this machine's processor that trains."""
        if self.options.address is not None or site.device != "cpu":
            return None
        with self._told("timing a few steps"):
            try:
                return seconds_to_train(packs, site.n_workers, site.device)
            except Exception:  # of a user's own family: a launch would make failed rows of it, and say why
                return None

    def _train(self, stands: Standing, resumed: Sequence[Pack]) -> Plan:
        """Pack and train what is missing; with --dry-run only plan it."""
        missing = self._affordable([*stands.missing, *stands.to_come], resumed)
        with (
            stop_signals() as stopping,
            ready(self.options, missing, stopping, self.say) as there,
        ):
            with self._told("planning packs"):
                packs = packs_for(missing, resumed, self.spec.pack_size, there.site)
                plan = plan_of(packs, len(resumed), there.site)
            if self.options.dry_run or self.store is None:
                return replace(plan, seconds=self._seconds(packs, there.site))
            feed, rungs = self._feed(self.store, stands, resumed, packs, there.site)
            settings = Settings(
                device=there.site.device, save_weights=self.spec.save_weights,
                record_neurons=self.spec.record_neurons, rungs=rungs, tells_ends=self.adaptive.is_any,
            )  # fmt: skip
            work = Work(
                store=self.store, sweep=self.spec.name, settings=settings,
                n_workers=there.site.n_workers, patience_s=self.options.patience_s,
            )  # fmt: skip
            for line in _unpacked(missing):
                self.say(line)
            if resumed:
                self.say(f"{len(resumed)} of {len(packs)} packs go on from their checkpoints")
            with Progress(self.store, self.spec.name, packs, _counts(stands), self.console) as progress:
                there.execute(
                    work, feed, progress,
                    lambda: stopping.told() or self._lost() or self.spending.is_over(progress.trained_steps),
                )  # fmt: skip
        if self._lost():  # what our workers have kept last may be of packs that the other has ended by now
            self._rows()
        if self.lease is not None:
            self.lease.check()
        if stopping.told():
            after = _counts(replace(stands, rows=self._rows()))
            kept = f"{after.ended} of {after.total} trials have their rows"
            raise KeyboardInterrupt(f"stopped; {kept}; launch the same command again to go on")
        return plan

    def _affordable(self, missing: list[TrialConfig], resumed: Sequence[Pack]) -> list[TrialConfig]:
        """Those that go on, and as many others as may be begun."""
        most = self.options.budget.max_trials
        going_on = {config.trial_id for pack in resumed for config in pack.configs}
        new = [config for config in missing if config.trial_id not in going_on]
        if most is None or len(new) <= most:
            return missing
        self.spending.reason = f"--max-trials {most}"
        left_out = {config.trial_id for config in new[most:]}
        return [config for config in missing if config.trial_id not in left_out]

    def _feed(
        self, store: Store, stands: Standing, resumed: Sequence[Pack], packs: Sequence[Pack], site: Site
    ) -> tuple[Feed, Rungs | None]:
        """Where packs come from, and at which steps their members wait for orders."""
        if not self.adaptive.is_any:
            return Given(packs), None
        make_packs = partial(packs_for, resumed=(), pack_size=self.spec.pack_size, site=site)
        asked, most = list(stands.wanted.values()), self.options.budget.max_trials
        return self.adaptive.feed(store, asked, stands.rows, resumed, make_packs, most)


def _counts(stands: Standing) -> Counts:
    return Counts.of(len(stands.members) + len(stands.to_come), stands.counts)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


def _tables(configs: Iterable[TrialConfig]) -> tuple[str, ...]:
    """What trials of these families leave."""
    one_of_each = {type(config): config for config in configs}.values()
    return tuple(dict.fromkeys(table for config in one_of_each for table in tables_of(description_of(config))))


def _unpacked(configs: Iterable[TrialConfig]) -> list[str]:
    """What is not trained in its family's own engine because the user has brought it."""
    own = {config.activation: config for config in configs if is_own(config)}  # type: ignore[attr-defined]
    return [
        f"activation {name} is of {config.SOURCE.file}: its trials train in the vmapped engine"
        for name, config in own.items()
        if config.optimizer in OPTIMIZERS
    ]


@contextmanager
def _lease(
    store: Store | None, sweep: str, options: LaunchOptions, say: Callable[[str], None]
) -> Iterator[Held | None]:
    """The right to drive the sweep; a dry run needs none."""
    if store is None or options.dry_run:
        yield None
        return
    with store.lease(sweep, os.environ.get(JOB), say) as lease:
        yield lease


def _check_here(configs: Sequence[TrialConfig]) -> None:
    """That what trials need is installed, before anything starts; optimizers that train packs are, which is known
    without importing torch."""
    for config in configs:
        if isinstance(config, ProcedureConfig):
            config.check_here()
    others = {config.optimizer: config for config in configs if config.optimizer not in OPTIMIZERS}
    if others:
        from monosweep.model.engines.solo import check_optimizer  # torch

        for config in others.values():
            check_optimizer(config)


__all__ = ["LaunchOptions", "LaunchReport", "Plan", "launch"]
