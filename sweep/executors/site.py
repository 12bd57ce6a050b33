"""Where a launch trains: in this process, on a Ray of its own, or on a running cluster.

    LaunchOptions -> ready() -> Ready: what packs depend on (`plan.Site`), and what trains them

Ray and torch are heavy: what needs them is imported by the branch that does.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from monosweep.model import machine_code
from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.kinds import module_of
from monosweep.sweep.executors import inline
from monosweep.sweep.executors.head import Execute, Head
from monosweep.sweep.executors.shipping import lent
from monosweep.sweep.executors.stopping import Stopping
from monosweep.sweep.homes import stand_in
from monosweep.sweep.plan.machine import (
    asked_apart,
    device_named,
    free_memory,
    gpu_memory,
    gpu_shares,
    n_cores,
    n_gpus,
)
from monosweep.sweep.plan.options import LaunchOptions
from monosweep.sweep.plan.packs import Useful
from monosweep.sweep.plan.plan import Site
from monosweep.sweep.work.waits import Say, told_if_long

if TYPE_CHECKING:
    from monosweep.sweep.executors.connect import Cluster


_TYPICAL_BYTES = {"cpu": 2 * 10**9, "cuda": 16 * 10**9}
"""What a dry run takes a worker to have where nobody says: to ask one may start a machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """An executor that can begin at once."""

    site: Site
    execute: Execute


@contextmanager
def ready(options: LaunchOptions, trials: Sequence[TrialConfig], stopping: Stopping, say: Say) -> Iterator[Ready]:
    """The executor for these trials, for the length of a block; a dry run starts nothing.

    Args:
        say: is told what is waited for, if it takes long.

    Raises:
        ConfigError: if a cluster has no place for a pack, or the device is none for a trial.
    """
    options = replace(options, device=_for(options.device, trials))
    if options.address is None and not options.dry_run and (problem := machine_code.problem()):
        say(problem)
    with lent(stand_in()), _ready(options, trials, stopping, say) as there:
        yield there


@contextmanager
def _ready(options: LaunchOptions, trials: Sequence[TrialConfig], stopping: Stopping, say: Say) -> Iterator[Ready]:
    if options.executor == "inline" or (options.dry_run and options.address is None):
        yield Ready(site=_here(options)[0], execute=partial(inline.execute, hurried=stopping.hurried))
    elif options.address is None:
        with _own_ray(options, trials, stopping, say) as own:
            yield own
    else:
        with _cluster(options, options.address, stopping, say) as cluster:
            yield cluster


@contextmanager
def _own_ray(options: LaunchOptions, trials: Sequence[TrialConfig], stopping: Stopping, say: Say) -> Iterator[Ready]:
    """A Ray on this machine that ends with the block."""
    modules = sorted({module_of(config) for config in trials})
    for module in modules:
        _import_meanwhile(module)
    with ExitStack() as ending:
        with told_if_long("waiting for Ray to start", say):
            from monosweep.sweep.executors import connect, tune  # Ray

            here, packs_per_gpu = _here(options)
            gpus = n_gpus() if here.device == "cuda" else 0
            own = connect.connected(None, min(here.n_workers, len(trials)), gpus, modules)
            cluster = ending.enter_context(own)
        useful = _asked_there(here.device, stopping.told, say)
        site = replace(here, useful=useful)
        execute = partial(tune.execute, cluster, packs_per_gpu=packs_per_gpu, hurried=stopping.hurried)
        yield Ready(site=site, execute=execute)


@contextmanager
def _cluster(options: LaunchOptions, address: str, stopping: Stopping, say: Say) -> Iterator[Ready]:
    with ExitStack() as ending:
        with told_if_long(f"waiting for the cluster at {address} to let us in", say):
            from monosweep.sweep.executors import connect, tune  # Ray

            head = ending.enter_context(Head(say))
            cluster = ending.enter_context(connect.connected(address, None))
        site, packs_per_gpu = _there(options, cluster, stopping.told, say)
        head.knock_at(cluster.address)
        execute = partial(tune.execute, cluster, packs_per_gpu=packs_per_gpu, hurried=stopping.hurried)
        yield Ready(site=site, execute=head.watched(execute))


def _there(options: LaunchOptions, cluster: Cluster, should_stop: Callable[[], bool], say: Say) -> tuple[Site, int]:
    """A running cluster, and how many packs share a GPU of it.  One that has no worker yet starts them for packs, if it
    scales; a dry run asks for none."""
    from monosweep.sweep.executors import connect  # Ray

    device = _cluster_device(options.device, cluster.n_gpus)
    slots = cluster.n_gpus if device == "cuda" else cluster.n_cpus
    if not (slots or options.workers):
        what = "GPU" if device == "cuda" else "CPU"
        raise ConfigError(
            f"--address must be that of a cluster with a free {what}; {options.address} has none now; if it starts "
            f"workers when they are needed, say how many and which: --workers N --device cpu or cuda"
        )
    n_workers = options.workers or slots
    share = cluster.memory_per_cpu if device == "cpu" else 0
    if not share and options.dry_run:
        share = _TYPICAL_BYTES[device]
        say(f"no worker was asked: packs are sized as for {share / 1e9:g} GB each")
    share = share or connect.free_on_a_worker(device, should_stop, say)
    useful = _largest(device) if options.dry_run else _asked_there(device, should_stop, say)
    sharing, memory = gpu_shares(n_workers, slots, share) if device == "cuda" and slots else (1, n_workers * share)
    return Site(device=device, n_workers=n_workers, memory_bytes=memory, useful=useful), sharing


def _asked_there(device: str, should_stop: Callable[[], bool], say: Say) -> Useful | None:
    """As a worker's GPU says."""
    if device == "cpu":
        return None
    from monosweep.model.engines.gpu.pack_size import useful_pack_size  # torch
    from monosweep.sweep.executors import connect  # Ray

    ask = partial(connect.ask_a_worker, useful_pack_size, device, should_stop, say)
    return lambda group, fits: ask(tuple(group), fits, device)


def _largest(device: str) -> Useful | None:
    """As no GPU has been asked."""
    if device == "cpu":
        return None
    from monosweep.model.engines.gpu.pack_size import SIZES  # torch

    return lambda group, fits: SIZES[-1]


def _here(options: LaunchOptions) -> tuple[Site, int]:
    """This machine, and how many packs share a GPU of it."""
    device = device_named(options.device)
    slots = n_gpus() if device == "cuda" else n_cores()
    n_workers = options.workers or (1 if options.executor == "inline" else slots)
    sharing, memory = gpu_shares(n_workers, slots, gpu_memory()) if device == "cuda" else (1, free_memory())
    asked = _asked_here if n_workers == 1 else _asked_apart
    useful = None if device == "cpu" else _largest(device) if options.dry_run else asked
    return Site(device=device, n_workers=n_workers, memory_bytes=memory, useful=useful), sharing


def _asked_here(group: Sequence[TrialConfig], fits: int) -> int:
    """As this machine's GPU says."""
    from monosweep.model.engines.gpu.pack_size import useful_pack_size  # torch

    return useful_pack_size(tuple(group), fits, "cuda")


def _asked_apart(group: Sequence[TrialConfig], fits: int) -> int:
    """The same, where this process leaves training to others."""
    from monosweep.model.engines.gpu.pack_size import useful_pack_size  # torch

    return asked_apart(useful_pack_size, tuple(group), fits, "cuda")


def _cluster_device(device: str, n_gpus: int) -> str:
    return ("cuda" if n_gpus else "cpu") if device == "auto" else device


def _for(device: str, trials: Sequence[TrialConfig]) -> str:
    """The device that was asked for, if it is one for all of them; the processor where none takes another."""
    for config in trials:
        if device not in ("auto", *config.DEVICES):
            is_for = " or ".join(config.DEVICES)
            raise ConfigError(f"trials of {config.family} are for --device {is_for}; got {device}")
    others = any("cuda" in config.DEVICES for config in trials)
    return "cpu" if device == "auto" and not others else device


def _import_meanwhile(module: str) -> None:
    """Import it in another thread; who needs it waits, and finds what is wrong with it.

    No daemon: a process that ends in the middle of loading torch may crash.
    """

    def try_to() -> None:
        with suppress(Exception):
            importlib.import_module(module)

    threading.Thread(target=try_to).start()
