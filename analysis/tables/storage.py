"""Where a results root's bytes come from: what any storage has to answer.  Read only.

opening.py -> Files (local.py: a folder; arrow.py: whatever pyarrow knows) -> parts.py, views.py
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monosweep.model.config import UserError
from monosweep.sweep.store.names import from_path
from monosweep.sweep.store.parts import is_merged

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SWEEP_PREFIX = "sweep="


class RootError(UserError):
    """A folder or URI that cannot be opened as a results root."""


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """One file of a table (or of the weights)."""

    sweep: str
    """Its name, as the user gave it."""
    path: str
    size: int
    """Bytes."""
    mtime_ns: int = 0
    """When it was written; the same path, size and time are the same file."""

    @property
    def merged(self) -> bool:
        """Whether it holds many packs."""
        return is_merged(self.path)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a part shows."""

    part: Part
    columns: int | None
    """Equal for parts with equal columns; None if that is not known without reading more."""
    elsewhere: frozenset[str]
    """Packs in it that other parts show."""
    committed: bool = True
    """Whether the trials that it is of are in `trials`: who commits writes that part last."""
    beaten: frozenset[tuple[str, str]] = frozenset()
    """Members (pack_id, trial_id) in it that are shown from other units of their pack."""

    @property
    def whole(self) -> bool:
        """Whether all its rows are shown."""
        return not (self.elsewhere or self.beaten)

    def rows(self, select: str) -> str:
        """SQL of what is shown of `select`, all rows of this part."""
        conditions = []
        if self.elsewhere:
            conditions.append(f"pack_id NOT IN ({', '.join(quoted(pack) for pack in sorted(self.elsewhere))})")
        if self.beaten:
            members = (f"({quoted(pack)}, {quoted(trial)})" for pack, trial in sorted(self.beaten))
            conditions.append(f"(pack_id, trial_id) NOT IN ({', '.join(members)})")
        return f"{select} WHERE {' AND '.join(conditions)}" if conditions else select


class Files(ABC):
    """The files under one root; every `path` is relative to it, with forward slashes."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the root itself is there."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def begin(self, path: str, size: int) -> bytes:
        """The first bytes of a file, `size` of them if it has so many.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        """(path, bytes, time in ns) of every file one level below the folders in `folder`; nothing if it is missing."""

    @abstractmethod
    def files_in(self, folder: str) -> Iterable[tuple[str, int, int]]:
        """(path, bytes, time in ns) of the files that lie in `folder` itself; nothing if it is missing."""

    @abstractmethod
    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        """Key-value metadata of a part, or why its footer is not sound.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def check(self, part: Part) -> int | str | None:
        """The fingerprint of a single part's columns, if that is known at little cost; or what is wrong with it.

        Raises:
            FileNotFoundError: if it has gone.
        """

    @abstractmethod
    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let `connection` read this root and nothing else, for good."""

    @abstractmethod
    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        """SQL that together yields the rows of `pieces`; names that begin with `name` are free for use."""

    def parts(self, folder: str, suffix: str) -> list[Part]:
        """The files of `folder` in order; a name that does not start with `part-` is still being written."""
        found = []
        for path, size, mtime_ns in self.listing(folder):
            sweep, name = path.split("/")[-2:]
            if sweep.startswith(SWEEP_PREFIX) and name.startswith("part-") and name.endswith(suffix):
                found.append(Part(from_path(sweep.removeprefix(SWEEP_PREFIX)), path, size, mtime_ns))
        return sorted(found)


def lock(connection: duckdb.DuckDBPyConnection, folders: list[str]) -> None:
    """Let `connection` read these folders and nothing else, for good."""
    connection.execute(f"SET allowed_directories = [{', '.join(quoted(f) for f in folders)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def first_line(error: BaseException) -> str:
    """An error's message, without what follows its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
