"""A spec into a results root: expand, subtract what is there, pack the rest, execute.

    SweepSpec -> TrialConfigs - completed -> packs (those with a checkpoint as they were)
              -> executor -> report

Resuming, retrying and extending are this same act.  A launch that finds nothing missing imports neither
torch nor Ray.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.text import Text

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.executors.shipping import JOB, check_root
from monosweep.sweep.plan.members import ask, held_another, member_ids, members
from monosweep.sweep.plan.missing import ended, fresh, resumable
from monosweep.sweep.plan.packs import Pack, Useful, make_packs
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.repair import set_aside_damaged
from monosweep.sweep.store.root import Held, Index, Store, count_by_status
from monosweep.sweep.view.live import Counts, Progress
from monosweep.sweep.work.contract import Settings, Work

if TYPE_CHECKING:
    from monosweep.sweep.executors.connect import Cluster

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""One of them is there wherever torch finds a GPU on Linux: NVIDIA's driver, Jetson's, that of Windows, AMD's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """How to launch; none of it changes a row."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` on this machine or a cluster; `inline` in this process."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    workers: int | None = None
    """Packs in training at a time; left out, one per core or GPU with Ray, and one inline.  More than this machine has
    GPUs share them."""
    address: str | None = None
    """A running Ray cluster; left out, Ray starts here and ends with the launch."""
    retry_failed: bool = False
    """Train failed trials again."""
    unfinished: bool = False
    """Train also what the sweep was asked for before and lacks."""
    dry_run: bool = False
    """Only say what would be trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a launch is going to do."""

    n_trials: int
    """Trials to train."""
    n_packs: int
    """Packs that they form."""
    n_resumed: int
    """Packs among them that continue from a checkpoint."""
    model_steps: int
    """Optimiser steps of single trials."""
    n_workers: int
    """Packs in training at a time."""
    memory_bytes: int
    """Estimated peak of all workers together."""
    device: str
    """`cpu` or `cuda`."""


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
    wall_time_s: float
    """Seconds that the launch took."""
    plan: Plan | None = None
    """What was to be done; None if nothing was missing."""
    dry_run: bool = False
    """Whether the plan was left at that."""

    @property
    def trained(self) -> int:
        """Trials that this launch has given a row."""
        return self.after.ended - self.before.ended


def launch(
    spec: SweepSpec, out: str, options: LaunchOptions | None = None, console: Console | None = None
) -> LaunchReport:
    """Train what `spec` asks for and the results root `out` lacks.

    Args:
        out: a new or empty folder, a results root, or the URI of one.
        console: where progress goes; left out, stderr.

    Raises:
        ConfigError: if a trial or option cannot be used; nothing has been trained then.
        LeaseError: if another driver trains the sweep, or has taken it over.
        StoreError: if the results root cannot be used; rows that were committed are safe.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once workers have ended; its text says what is kept.
    """
    start = time.monotonic()
    options, console = options or LaunchOptions(), console or Console(stderr=True)
    if options.address is not None:
        check_root(out)
    configs = expand(spec)
    _check_optimizers(configs)
    store = Store.find(out) if options.dry_run else Store.create(out)
    with _lease(store, spec.name, options) as lease:
        return _launch(spec, store, lease, configs, out, options, console, start)


def _launch(
    spec: SweepSpec, store: Store | None, lease: Held | None, configs: Sequence[TrialConfig], out: str,
    options: LaunchOptions, console: Console, start: float,
) -> LaunchReport:  # fmt: skip
    """The launch proper, once nobody else drives the sweep."""
    if store and not options.dry_run:
        for part, reason in set_aside_damaged(store, spec.name).items():
            _say(console, f"{part} cannot be read; its trials count as missing ({reason}; it is in quarantine/ now)")
    index = store.index() if store else Index(statuses={}, n_hidden=0, unreadable=())
    for part in index.unreadable:
        _say(console, f"{part} cannot be read; its trials count as missing")
    wanted = {config.trial_id: config for config in configs}
    asked = member_ids(store, spec.name) if store else frozenset()
    if store and asked and asked.isdisjoint(wanted):
        _say(console, held_another(store, spec.name, configs))
    if store and options.unfinished:
        wanted |= members(store, spec.name)
    if store and not options.dry_run:
        for family in dict.fromkeys(config.family for config in wanted.values()):
            store.write_family(family)
        ask(store, spec.name, wanted.values())
        store.write_spec(spec.name, spec.to_json())
    everything = asked.union(wanted)
    there = ended(index, options.retry_failed, wanted)
    missing = [config for trial_id, config in wanted.items() if trial_id not in there]
    n_failed = sum(there.get(trial_id) == TrialStatus.FAILED for trial_id in wanted)
    before = Counts.of(len(everything), count_by_status(there, everything))
    resumed: list[Pack] = []
    if store:
        say = partial(_say, console)
        resumed = resumable(store, spec.name, missing, everything.difference(there), say, options.dry_run)
    plan, after = None, before
    if missing:
        plan, after = _train(spec, store, lease, missing, resumed, before, options, console)
    return LaunchReport(
        sweep=spec.name, root=store.root if store else out, before=before, after=after, n_wanted=len(wanted),
        n_missing=len(missing) - (after.ended - before.ended), n_failed=n_failed + after.failed - before.failed,
        plan=plan, wall_time_s=time.monotonic() - start, dry_run=options.dry_run,
    )  # fmt: skip


@contextmanager
def _lease(store: Store | None, sweep: str, options: LaunchOptions) -> Iterator[Held | None]:
    """The right to drive the sweep; a dry run needs none."""
    if store is None or options.dry_run:
        yield None
        return
    with store.lease(sweep, os.environ.get(JOB)) as lease:
        yield lease


def _train(
    spec: SweepSpec,
    store: Store | None,
    lease: Held | None,
    missing: Sequence[TrialConfig],
    resumed: Sequence[Pack],
    before: Counts,
    options: LaunchOptions,
    console: Console,
) -> tuple[Plan, Counts]:
    """Pack and train `missing`; with --dry-run only plan it."""
    with _stop_signals() as stopping, _site(options, len(missing), stopping.is_set) as site:
        packs = [*resumed, *_fresh(spec, missing, resumed, site)]
        plan = _plan(packs, len(resumed), site)
        if options.dry_run or store is None:
            return plan, before
        settings = Settings(
            device=site.device, save_weights=spec.save_weights, record_neurons=spec.record_neurons
        )
        work = Work(
            store=store, sweep=spec.name, packs=tuple(packs), settings=settings,
            n_workers=site.n_workers,
        )  # fmt: skip
        if resumed:
            _say(console, f"{len(resumed)} of {len(packs)} packs go on from their checkpoints")
        with Progress(store, spec.name, packs, before, console) as progress:
            site.execute(work, progress, lambda: stopping.is_set() or (lease is not None and lease.lost()))
    after = progress.counts()
    if lease is not None:
        lease.check()
    if stopping.is_set():
        kept = f"{after.ended} of {after.total} trials have their rows"
        raise KeyboardInterrupt(f"stopped; {kept}; launch the same command again to go on")
    return plan, after


@dataclass(frozen=True, kw_only=True, slots=True)
class _Site:
    """Where a launch trains."""

    device: str
    n_workers: int
    memory_bytes: int
    execute: Callable[[Work, Progress, Callable[[], bool]], None]
    packs_per_gpu: int = 1
    useful: Useful | None = None
    """How many trials are worth training together; None where what suits a CPU will do."""


@contextmanager
def _site(options: LaunchOptions, n_trials: int, should_stop: Callable[[], bool]) -> Iterator[_Site]:
    """The executor, ready to work; a dry run starts nothing."""
    if options.executor == "inline" or (options.dry_run and options.address is None):
        yield _here(options)
        return
    if options.address is None:
        _import_meanwhile("monosweep.model.train")
    from monosweep.sweep.executors import connect, tune

    here = _here(options) if options.address is None else None
    with connect.connected(options.address, min(here.n_workers, n_trials) if here else None) as cluster:
        if here:
            yield replace(
                here, execute=partial(tune.execute, cluster, packs_per_gpu=here.packs_per_gpu),
                useful=_measured_there(here.device, should_stop),
            )  # fmt: skip
            return
        yield _there(options, cluster, should_stop)


def _there(options: LaunchOptions, cluster: Cluster, should_stop: Callable[[], bool]) -> _Site:
    """A running cluster.  One that has no worker yet starts them for packs, if it scales."""
    from monosweep.sweep.executors import connect, tune

    device = _cluster_device(options.device, cluster.n_gpus)
    slots = cluster.n_gpus if device == "cuda" else cluster.n_cpus
    if not (slots or options.workers):
        what = "GPU" if device == "cuda" else "CPU"
        raise ConfigError(
            f"--address must be that of a cluster with a free {what}; {options.address} has none now; if it starts "
            f"workers when they are needed, say how many and which: --workers N --device cpu or cuda"
        )
    n_workers = options.workers or slots
    known = cluster.memory_per_cpu if device == "cpu" else 0
    share = known or connect.free_on_a_worker(device, should_stop)
    return _Site(
        device=device, n_workers=n_workers, memory_bytes=n_workers * share, execute=partial(tune.execute, cluster),
        useful=_measured_there(device, should_stop),
    )  # fmt: skip


def _measured_there(device: str, should_stop: Callable[[], bool]) -> Useful | None:
    """As a worker's GPU says."""
    if device == "cpu":
        return None
    from monosweep.model.engines.gpu.pack_size import useful_pack_size
    from monosweep.sweep.executors import connect

    return lambda group, fits: connect.ask_a_worker(useful_pack_size, device, should_stop, tuple(group), fits, device)


def _here(options: LaunchOptions) -> _Site:
    """This machine."""
    from monosweep.sweep.executors import inline

    device = _device(options.device)
    slots = 1 if options.executor == "inline" else _n_gpus() if device == "cuda" else n_cores()
    n_workers = options.workers or slots
    sharing, memory = gpu_shares(n_workers, slots, _gpu_memory()) if device == "cuda" else (1, free_memory())
    return _Site(
        device=device, n_workers=n_workers, memory_bytes=memory, execute=inline.execute, packs_per_gpu=sharing,
        useful=_measured_here(options.dry_run) if device == "cuda" else None,
    )  # fmt: skip


def _measured_here(dry_run: bool) -> Useful:
    """As this machine's GPU says; a dry run does not ask it."""
    from monosweep.model.engines.gpu.pack_size import SIZES, useful_pack_size

    return lambda group, fits: SIZES[-1] if dry_run else useful_pack_size(tuple(group), fits, "cuda")


def _device(name: str) -> str:
    """`model.device.resolve`, without waiting for torch where it could find no GPU."""
    if name == "cpu" or (name == "auto" and sys.platform == "linux" and not any(map(os.path.exists, _GPU_DRIVERS))):
        return "cpu"
    from monosweep.model.device import resolve

    return resolve(name)


def _import_meanwhile(module: str) -> None:
    """Import it in another thread; who needs it waits, and finds what is wrong with it.

    No daemon: a process that ends in the middle of loading torch may crash.
    """

    def try_to() -> None:
        with suppress(Exception):
            importlib.import_module(module)

    threading.Thread(target=try_to).start()


def gpu_shares(n_workers: int, n_gpus: int, gpu_bytes: int) -> tuple[int, int]:
    """How many packs train on a GPU at a time where workers outnumber GPUs, and bytes for all workers together.

    >>> gpu_shares(3, 2, 80)
    (2, 120)
    """
    sharing = -(-n_workers // n_gpus)
    return sharing, n_workers * (gpu_bytes // sharing)


def _cluster_device(device: str, n_gpus: int) -> str:
    return ("cuda" if n_gpus else "cpu") if device == "auto" else device


def _fresh(
    spec: SweepSpec, missing: Sequence[TrialConfig], resumed: Sequence[Pack], site: _Site
) -> list[Pack]:
    rest = list(fresh(missing, resumed))
    if not rest:
        return []
    return make_packs(
        rest, pack_size=spec.pack_size, n_workers=site.n_workers, memory_bytes=site.memory_bytes,
        footprint=partial(_footprint, site.device), useful=site.useful,
    )  # fmt: skip


def _footprint(device: str, config: TrialConfig) -> tuple[int, int]:
    from monosweep.model.memory import bytes_of_pack  # torch

    return bytes_of_pack(config, device)


def _plan(packs: Sequence[Pack], n_resumed: int, site: _Site) -> Plan:
    needs = sorted((_pack_bytes(site.device, pack) for pack in packs), reverse=True)
    return Plan(
        n_trials=sum(len(pack.configs) for pack in packs), n_packs=len(packs), n_resumed=n_resumed,
        model_steps=sum(config.n_steps for pack in packs for config in pack.configs),
        n_workers=min(site.n_workers, len(packs)), memory_bytes=sum(needs[: site.n_workers]),
        device=site.device,
    )  # fmt: skip


def _pack_bytes(device: str, pack: Pack) -> int:
    per_pack, per_member = _footprint(device, pack.configs[0])
    return per_pack + per_member * len(pack.configs)


def _check_optimizers(configs: Sequence[TrialConfig]) -> None:
    """Before anything starts; Lamb is known to be there without importing torch."""
    others = {config.optimizer: config for config in configs if config.optimizer != "Lamb"}
    if others:
        from monosweep.model.engines.solo import check_optimizer

        for config in others.values():
            check_optimizer(config)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one interrupts at once."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    if threading.current_thread() is not threading.main_thread():  # signals are another's business
        yield stopping
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control group's where that is less."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0] != "max":
        free.append(max(0, int(limit[0]) - int(used[0])))
    return min(free)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:  # not this kind of system
        return []


def _n_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _gpu_memory() -> int:
    """Bytes that are free on that of this machine's GPUs which has least; on a cluster the others are taken to be
    alike."""
    import torch

    return min(int(torch.cuda.mem_get_info(gpu)[0]) for gpu in range(_n_gpus()))


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)


__all__ = ["LaunchOptions", "LaunchReport", "Plan", "launch"]
