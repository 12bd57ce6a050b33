"""A Ray of our own on this machine, without the processes that training has no use for.

    start() -> gcs, raylet, its two agents, and workers that import what trains while the driver still plans

`ray.init` also starts an autoscaler, a log monitor and a dashboard without pages.  Its settings do not leave them
out, and they are half of what Ray takes to start and most of what it takes to end.  `test_own_ray.py` watches
over which processes there are, and `test_crash.py` over the addresses on which they listen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.node import Node

from monosweep.model.config import UserError

_OBJECT_STORE_BYTES = 256 * 2**20
"""Packs go through the object store, results do not; Ray's default is a third of the memory."""
_SETTINGS = {
    "preload_python_modules": ["monosweep.sweep.executors.tune", "monosweep.model.train"],
    "idle_worker_killing_time_threshold_ms": 60_000,
}
"""A worker imports what trains before it is given a pack; torch alone takes a second or more.  And it is not ended,
as it would be after a second, while Tune has taken its core and not yet asked for it."""
_NOBODY = b"127.0.0.1:0"
_TOO_SLOW = "timed out during startup"


def start(scratch: Path, n_workers: int | None, n_gpus: int | None, quiet: Mapping[str, Any]) -> None:
    """`ray.init` for this machine alone.

    Raises:
        UserError: if Ray does not start in time.
    """
    try:
        with _loopback(), _lean():
            ray.init(
                address="local",
                num_cpus=n_workers,
                num_gpus=n_gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(scratch),
                _system_config=_SETTINGS,
                **quiet,
            )
    except Exception as error:  # Ray raises no more special one, after half a minute
        if _TOO_SLOW not in str(error):
            raise
        raise UserError(
            "Ray must start within half a minute; on this machine it did not, which happens when others keep it "
            "busy; launch again, or with --executor inline"
        ) from None


@contextmanager
def _loopback() -> Iterator[None]:
    """All of Ray's servers on 127.0.0.1.

    Asked for it by argument, Ray takes the machine's outward address instead; what it does on Windows and
    macOS is what we want here.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        with replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
            yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _lean() -> Iterator[None]:
    """A head without autoscaler (there is one node), log monitor (logs stay where they are) and dashboard."""
    with (
        replaced(Node, "start_monitor", _nothing),
        replaced(Node, "start_log_monitor", _nothing),
        replaced(Node, "start_api_server", _no_dashboard),
    ):
        yield


def _nothing(node: Node) -> None:
    """Instead of a process."""


def _no_dashboard(node: Node, **options: Any) -> None:
    """Ray's agent would look for the dashboard's address every second, and log each time that there is none."""
    namespace = ray_constants.KV_NAMESPACE_DASHBOARD
    node.get_gcs_client().internal_kv_put(ray_constants.DASHBOARD_ADDRESS.encode(), _NOBODY, True, namespace)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for a while; a release of Ray that does not know the name starts as it likes."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
