"""Where the machine code that numba compiles is kept, so that it is compiled once.

    a launch -> problem(): a line for the user       engines.cpu.jit -> cache_folder()

Light: who plans a launch asks before it imports numba.  What is kept is loaded as pickles, so it lies where nobody
else writes.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CPU = Path(__file__).resolve().parent / "engines/cpu"
_NAMES = ("jit", "lanes", "elementwise", "gemm", "compiled_step", "../../optimizers")
SOURCES = tuple((_CPU / f"{name}.py").resolve() for name in _NAMES)
_ROOM_BYTES = 8 * 2**20
"""More than all the code of one version."""
_OTHERS_WRITE = 0o002


def cache_folder(sources: Iterable[Path] = SOURCES) -> Path | None:
    """Where machine code of these sources is kept; None if it cannot be.

    numba looks at a function's own file alone, and would go on with old code of those that it calls.
    """
    return next((folder for folder in _folders(sources) if _problem(folder) is None), None)


def problem() -> str | None:
    """What to tell whose machine code cannot be kept."""
    if cache_folder() is not None:
        return None
    tried = ", ".join(f"{folder.parent} {_problem(folder)}" for folder in _folders(SOURCES))
    return (
        f"every worker compiles for up to a minute before it trains, because no folder can keep what it compiles "
        f"({tried}); NUMBA_CACHE_DIR names another"
    )


def _folders(sources: Iterable[Path]) -> Iterator[Path]:
    """Where it may be kept, best first: where the user says, beside the sources, in the user's own cache."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if os.path.isdir(home) else None)  # not made by us
    for base in (os.environ.get("NUMBA_CACHE_DIR"), str(_CPU / "__pycache__"), f"{cache}/monosweep" if cache else None):
        if base and os.path.isabs(base):
            yield Path(base) / f"compiled-{digest}"


def _problem(folder: Path) -> str | None:
    """Why nothing can be kept there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.stat()
        if about.st_uid not in (os.geteuid(), SOURCES[0].stat().st_uid, 0) or about.st_mode & _OTHERS_WRITE:
            return "can be written by others"
        with tempfile.TemporaryFile(dir=folder) as probe:
            os.posix_fallocate(probe.fileno(), 0, _ROOM_BYTES)
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    return None
