"""Which cluster is meant: what the user names wins over what lies about in the environment or runs here.

    --address -> resolved() -> connect; jobs speaks inside as_named()

Ray-free.  A Ray that a launch has started for itself is nobody else's, and ends with it: `auto` never means it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from monosweep.model.config import ConfigError

SCRATCH = "monosweep-"
"""How the folder of a launch's own Ray begins; its processes show the folder in their command lines."""
_ADDRESS = "RAY_ADDRESS"
_IN_RAYS_WAY = (_ADDRESS, "RAY_API_SERVER_ADDRESS")
"""Ray's client of the Jobs API prefers these to the address that it is given."""


def resolved(address: str) -> str:
    """`address`, or for `auto` RAY_ADDRESS, else that of the cluster to which this machine belongs.

    Raises:
        ConfigError: if there is no such cluster, or more than one.
    """
    if address != "auto":
        return address
    if named := os.environ.get(_ADDRESS, ""):
        return named if named != "auto" else _the_one_here()
    return _the_one_here()


def _the_one_here() -> str:
    if not Path("/proc/self").exists():  # Ray looks by other means there
        return "auto"
    found = clusters_here()
    if len(found) > 1 and (latest := _started_last()) in found:
        return str(latest)
    if len(found) == 1:
        return found.pop()
    what = f"belongs to {len(found)}: {', '.join(sorted(found))}; name one" if found else "belongs to none; "
    fix = "" if found else "start one with ray start --head, name its address, or leave --address out"
    raise ConfigError(f"--address auto means the Ray cluster of this machine, which {what}{fix}")


def clusters_here() -> set[str]:
    """Clusters with a node on this machine, as HOST:PORT; Rays that launches have started for themselves are none."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(command[0]).name == "raylet" and not any(f"/{SCRATCH}" in part for part in command):
                found |= {part.partition("=")[2] for part in command if part.startswith("--gcs-address=")}
    return found


def _started_last() -> str | None:
    """The cluster that `ray start` has noted."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    with suppress(OSError):
        return (Path(folder) / "ray/ray_current_cluster").read_text().strip()
    return None


@contextmanager
def as_named(url: str) -> Iterator[None]:
    """Whoever asks for `url` in this block gets there: no variable of Ray's names another one, and no proxy stands
    between this machine and itself."""
    host = urlsplit(url).hostname or ""
    changed: dict[str, str | None] = dict.fromkeys(_IN_RAYS_WAY)
    if host == "localhost" or host == "::1" or host.startswith("127."):
        for name in ("no_proxy", "NO_PROXY"):
            changed[name] = ",".join(filter(None, (os.environ.get(name), host)))
    before = {name: os.environ.get(name) for name in changed}
    _set(changed)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
