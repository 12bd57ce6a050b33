"""A Ray to train on: a running cluster, or one of our own.  With `tune`, `own_ray` and `jobs`, the only files that
know Ray.

    connected() -> Cluster -> tune.execute()
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from monosweep.model.config import ConfigError
from monosweep.sweep.executors import own_ray
from monosweep.sweep.executors.addresses import as_named, resolved
from monosweep.sweep.executors.ray_private import takes_our_token, words_to_stderr
from monosweep.sweep.executors.reaper import reaped
from monosweep.sweep.executors.scratch import new_folder
from monosweep.sweep.executors.shipping import JOB, QUIET, bundled, lent, needs_token, runtime_env
from monosweep.sweep.work.waits import Say, Wait

_ANSWER_S = 10.0
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What Ray has to offer."""

    n_cpus: int
    n_gpus: int
    memory_per_cpu: int
    """Bytes, on the node that has least for each of its CPUs; 0 while there is no CPU."""
    largest_memory: int
    """Bytes of the node that has most."""
    scratch: Path
    """A folder for Tune's state, on the driver's machine."""
    address: str
    """Of its head's control service (GCS), HOST:PORT."""


@contextmanager
def connected(
    address: str | None, n_workers: int | None, n_gpus: int | None = None, modules: Sequence[str] = ()
) -> Iterator[Cluster]:
    """A running cluster at `address`, or a Ray of our own on loopback that ends with the block.

    Args:
        n_gpus: of a Ray of our own, which does not count every GPU that torch finds; left out, those that it counts.
        modules: what workers of a Ray of our own import before they are given a pack.

    Raises:
        ConfigError: if there is no cluster at `address`, or this process is connected to a Ray already.
    """
    if ray.is_initialized():
        raise ConfigError(
            "a launch connects to Ray itself, and this process is connected already; call ray.shutdown() first, launch "
            "from another process, or with the inline executor"
        )
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    ours = own_ray.locked() if address is None else nullcontext()
    with lent(QUIET), ours, _same_process(), words_to_stderr(), _scratch() as scratch:
        try:
            with _same_signals():
                if address is None:
                    own_ray.start(scratch, n_workers, n_gpus, quiet, modules)
                else:
                    _connect(address, quiet)
            yield _cluster(scratch)
        finally:
            ray.shutdown()


@contextmanager
def _same_process() -> Iterator[None]:
    """Without what `ray.init` leaves behind for good: the level of its logger, and a debugger of its own."""
    logger, debugger = logging.getLogger("ray"), os.environ.get("PYTHONBREAKPOINT")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.pop("PYTHONBREAKPOINT", None)
        if debugger is not None:
            os.environ["PYTHONBREAKPOINT"] = debugger


@contextmanager
def _same_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and exits on it; what was set before is set again.

    Raises:
        KeyboardInterrupt: if it has exited.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt("stopped while Ray was starting; nothing was trained") from None
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def _connect(address: str, quiet: Mapping[str, Any]) -> None:
    address = resolved(address)
    try:
        _check_answers(address)
        with _shipped() as environment, as_named(address):
            ray.init(address=address, runtime_env=environment, **quiet)
    except (RayError, OSError, ValueError, RuntimeError) as error:
        problem = str(error).strip().splitlines()[0]
        if "authentication token" in problem:
            raise ConfigError(needs_token(address)) from error
        raise ConfigError(
            f"--address must be that of a running Ray cluster; got {address!r} ({problem}); "
            f"start one, set RAY_AUTH_MODE=token and its token if it demands one, or leave --address out to use this "
            f"machine"
        ) from error


@contextmanager
def _shipped() -> Iterator[dict[str, Any] | None]:
    """This version's sources for the workers; a submitted job has brought them along already."""
    if JOB in os.environ:
        yield None
        return
    with bundled() as folder:
        yield runtime_env(folder)


def _check_answers(address: str) -> None:
    """Ray tries for minutes to reach an address where nothing listens; OSError says so at once."""
    if "://" in address:
        raise ValueError("a driver runs on a node of its cluster; from elsewhere use monosweep submit")
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        if not takes_our_token(address, _ANSWER_S):
            raise ValueError("its authentication token is another")


def _cluster(scratch: Path) -> Cluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    shares = [node.get("memory", 0) / node["CPU"] for node in nodes if node.get("CPU")]
    return Cluster(
        n_cpus=int(sum(node.get("CPU", 0) for node in nodes)),
        n_gpus=int(sum(node.get("GPU", 0) for node in nodes)),
        memory_per_cpu=int(min(shares, default=0)),
        largest_memory=int(max((node.get("memory", 0) for node in nodes if node.get("CPU")), default=0)),
        scratch=scratch,
        address=str(ray.get_runtime_context().gcs_address),
    )


def free_on_a_worker(device: str, should_stop: Callable[[], bool], say: Say) -> int:
    """Bytes that a pack may take on the first worker that comes; an autoscaling cluster starts one for it.

    Raises:
        KeyboardInterrupt: once `should_stop`.
    """
    return ask_a_worker(_free_memory, device, should_stop, say, device)


def ask_a_worker(
    question: Callable[..., int], device: str, should_stop: Callable[[], bool], say: Say, *about: Any
) -> int:
    """`question(*about)`, answered by the first worker that comes; a line if none comes.

    Raises:
        KeyboardInterrupt: once `should_stop`.
    """
    needs = {"CPU": 1.0, "GPU": float(device == "cuda")}
    answer = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"])(question).remote(*about)
    wait = Wait(lambda: waiting_for(needs), say)
    while not ray.wait([answer], timeout=_POLL_S)[0]:
        wait.look()
        if should_stop():
            raise KeyboardInterrupt("stopped while waiting for a worker; nothing was trained")
    return int(ray.get(answer))


def waiting_for(needs: Mapping[str, float]) -> str:
    """That no worker has what is needed, and what there is.

    Args:
        needs: of Ray's resources `CPU` and `GPU`.
    """
    there, free = ray.cluster_resources(), ray.available_resources()
    needed = {kind: amount for kind, amount in needs.items() if amount}
    wanted = " and ".join(f"{amount:g} {kind}{'s' * (amount > 1)}" for kind, amount in needed.items())
    has = ", ".join(f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {kind}s free" for kind in needed)
    lacking = [kind for kind, amount in needed.items() if there.get(kind, 0) < amount]
    never = f"; only a new node can bring a {' and a '.join(lacking)}" if lacking else ""
    return f"waiting for a worker with {wanted}: Ray has {has}{never}"


def _free_memory(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    (here,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id())
    return int(here.get("memory", 0) / here["CPU"])


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for Ray's and Tune's own state; with every process of our own Ray, it goes when we do."""
    folder = new_folder()
    with reaped(folder):
        yield folder
