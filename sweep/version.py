"""Which code trains: the column `code_version`, such as 0.1.0+src.3f2a9c81d0e4.git.7ff8610.edited.

    sources -> code_version() -> sweep.work (rows), sweep.view.replay; `commit` -> what travels to a cluster

The digest covers what a row depends on: `model`, which trains it, and `sweep.work` with the schema, which write it
down.  Where the sources are a git checkout, its commit follows, and `edited` if they differ from it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
"""Where the packages lie side by side: a checkout, `monosweep` among the installed ones, or what came to a node."""
_DECIDE = ("model", "sweep/work", "sweep/store/schema.py")
_GIT_S = 5.0


@cache
def code_version() -> str:
    """The code of this process, as far as it has not been edited since it was imported: ask early."""
    known, _, travelled = release().partition("+")
    commit = commit_here() or travelled
    return f"{known}+{training_code()}" + (f".{commit}" if commit else "")


@cache
def training_code() -> str:
    """What of `code_version` decides bits: packs go on from checkpoints of the same alone."""
    return f"src.{digest(HERE)}"


@cache
def release() -> str:
    """The version of monosweep that is installed; on a node of a cluster with +git.COMMIT where it came from one."""
    try:
        return metadata.version("monosweep")
    except metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return "unknown"


@cache
def commit_here() -> str:
    """`git.7ff8610`, with `.edited` where the sources are not as committed; empty where they are no git checkout."""
    if not (HERE / ".git").exists():  # a folder among others of somebody's own repository is none
        return ""
    try:
        commit = _git("rev-parse", "--short=7", "HEAD")
        edited = _git("status", "--porcelain", "--", "model", "sweep", "analysis")
    except (OSError, subprocess.SubprocessError):  # no git here, or it refuses; the digest says which code it is
        return ""
    return f"git.{commit}" + (".edited" if edited else "")


def digest(folder: Path) -> str:
    """Twelve hexadecimal digits of the sources below `folder` that decide what rows hold."""
    seen = sha256()
    for path in sorted(_sources(folder)):
        seen.update(f"{path.relative_to(folder).as_posix()}\n".encode())
        seen.update(sha256(path.read_bytes()).digest())
    return seen.hexdigest()[:12]


def same_code(one: str, other: str) -> bool:
    """Whether two code versions train alike: their digests agree, wherever they were committed.

    >>> same_code("0.1.0+src.3f2a9c81d0e4.git.7ff8610.edited", "0.1.0+src.3f2a9c81d0e4")
    True
    >>> same_code("0.1.0", "0.1.0+src.3f2a9c81d0e4")
    False
    """
    return one == other or (_digest_in(one) is not None and _digest_in(one) == _digest_in(other))


def _digest_in(version: str) -> str | None:
    """None in a row from before digests."""
    words = version.partition("+")[2].split(".")
    return words[1] if words[0] == "src" else None


def _sources(folder: Path) -> Iterator[Path]:
    for name in _DECIDE:
        yield from [folder / name] if name.endswith(".py") else (folder / name).rglob("*.py")


def _git(*words: str) -> str:
    """What git says of the checkout, whatever repository the environment names."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(HERE), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_GIT_S, check=True)
    return done.stdout.strip()
