"""Where Ray and Tune keep their own state while a launch trains: a private folder that goes with it.

new_folder() -> reaper.reaped() -> own_ray, tune
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from monosweep.model.config import UserError
from monosweep.sweep.executors.addresses import SCRATCH

_ROOM_BYTES = 64 * 2**20
"""For Ray's logs, and the packs of a sweep."""
_PROBE_BYTES = 2**20
_LONGEST = 107 - len(f"/{SCRATCH}12345678/ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store")
"""Characters of a folder in which Ray can have its sockets: Linux takes no longer path for one."""


def new_folder() -> Path:
    """A folder that nobody else can look into; who calls removes it.

    Raises:
        UserError: if there is no place for it.
    """
    tried = []
    for base in dict.fromkeys(_bases()):
        problem = _problem(base)
        if problem is None:
            return Path(tempfile.mkdtemp(prefix=SCRATCH, dir=base))
        tried.append(f"{base} {problem}")
    raise UserError(
        f"Ray needs a folder for its sockets and logs: a path of at most {_LONGEST} characters with room for "
        f"{_ROOM_BYTES >> 20} MiB; got {', '.join(tried)}; set TMPDIR to one, or launch with --executor inline"
    )


def has_room(folder: Path, n_bytes: int) -> bool:
    """Whether so many bytes can be written there."""
    try:
        _check_room(folder, n_bytes)
    except OSError:
        return False
    return True


def _bases() -> Iterator[Path]:
    """Where such a folder may lie, best first: where the user says, where all do, and in memory."""
    named = (os.environ.get("TMPDIR"), "/tmp", os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/var/tmp")
    return (Path(name) for name in named if name)


def _problem(base: Path) -> str | None:
    """Why Ray's folder cannot lie there."""
    if not base.is_absolute():
        return "is no full path"
    if len(os.fsencode(base)) > _LONGEST:
        return f"has {len(os.fsencode(base))} characters"
    try:
        _check_room(base, _ROOM_BYTES)
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def _check_room(folder: Path, n_bytes: int) -> None:
    """OSError if there is none; a quota shows only when something is written."""
    probe = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder))
    try:
        with (probe / "probe").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _PROBE_BYTES)
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < n_bytes:
            raise OSError(28, f"{room.f_bavail * room.f_frsize >> 20} MiB are left")
    finally:
        shutil.rmtree(probe, ignore_errors=True)
