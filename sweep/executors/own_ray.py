"""A Ray of our own on this machine, without the processes that training has no use for, and closed to everybody else.

    start() -> gcs, raylet, its two agents, and workers that import what trains while the driver still plans

Its servers are on loopback, where other users of the machine could speak to them: so they demand a token that only our
processes have.  `test_own_ray.py` watches over which processes there are, and `test_crash.py` over the addresses on
which they listen.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from monosweep.model.config import UserError
from monosweep.sweep.executors.ray_private import RayError, lean, on_loopback, read_token_again
from monosweep.sweep.executors.reaper import marks
from monosweep.sweep.executors.scratch import has_room
from monosweep.sweep.executors.shipping import ONE_THREAD, lent
from monosweep.sweep.executors.stopping import deaf_to_hangups

_OBJECT_STORE_BYTES = 256 * 2**20
"""Packs go through the object store, results do not; Ray's default is a third of the memory."""
_MEMORY = Path("/dev/shm")
"""Where Ray has its object store, if there is room."""
_SETTINGS = {
    "idle_worker_killing_time_threshold_ms": 60_000,
}
"""A worker is not ended, as it would be after a second, while Tune has taken its core and not yet asked for it."""
_PRELOADED = "monosweep.sweep.executors.tune"
_TOO_SLOW = "timed out during startup"
_LOOPBACK = "127.0.0.1"


@contextmanager
def locked() -> Iterator[None]:
    """A Ray that starts meanwhile lets in who has a token that nobody else gets, whatever token the user has."""
    with lent({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_urlsafe(32)}, over=True):
        read_token_again()
        yield
    read_token_again()


def start(
    scratch: Path, n_workers: int | None, n_gpus: int | None, quiet: Mapping[str, Any], modules: Sequence[str] = ()
) -> None:
    """`ray.init` for this machine alone, with all its files in `scratch`.

    Args:
        modules: what a worker imports before it is given a pack; torch alone takes a second or more.

    Raises:
        UserError: if Ray does not start in time, or not as it must be.
    """
    try:
        with lent(ONE_THREAD | marks(scratch)), deaf_to_hangups(), on_loopback(), lean():
            ray.init(
                address="local",
                num_cpus=n_workers,
                num_gpus=n_gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(scratch / "ray"),  # Ray opens it to everybody, but nobody else comes through `scratch`
                _plasma_directory=None if has_room(_MEMORY, _OBJECT_STORE_BYTES) else str(scratch),
                _system_config={**_SETTINGS, "preload_python_modules": [_PRELOADED, *modules]},
                **quiet,
            )
    except Exception as error:  # Ray raises no more special one, after half a minute
        if _TOO_SLOW not in str(error):
            raise
        raise UserError(
            "Ray must start within half a minute; on this machine it did not, which happens when others keep it "
            "busy; launch again, or with --executor inline"
        ) from None
    _check_loopback()


def _check_loopback() -> None:
    """Whether Ray has done as it was told."""
    gcs = ray.get_runtime_context().gcs_address.rpartition(":")[0]
    addresses = {gcs, *(node["NodeManagerAddress"] for node in ray.nodes())}
    if addresses != {_LOOPBACK}:
        raise RayError(
            f"a launch's own Ray must listen on {_LOOPBACK} alone; Ray {ray.__version__} listens on "
            f"{', '.join(sorted(addresses))}; launch with --executor inline"
        )
