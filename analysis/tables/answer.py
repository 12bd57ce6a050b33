"""An answer that need not fit memory: batches of rows, the large ones in a file without a name under TMPDIR.

    a relation -> collect -> Answer -> text.py | Parquet

All rows are there before the first is written, so that an answer that fails midway leaves nothing behind, and a
question that is asked again begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import IO, TYPE_CHECKING, TypeAlias

import duckdb
import pyarrow as pa

from monosweep.analysis.tables.faults import in_kind
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.spill import spooled
from monosweep.analysis.tables.storage import first_line, identifier

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

ROWS = 10_000
"""In a batch."""
_NAMED = 3
"""Columns that share a name which are said."""
Form: TypeAlias = "Callable[[str, DuckDBPyType], str]"
"""SQL for a column (or a place such as `#2`) of this type, in which it is written."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that answer a query, by batches."""

    schema: pa.Schema
    n_rows: int
    """Of the whole answer; `batches` may have but the first of them."""
    _stream: IO[bytes]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """From the first row, each time."""
        self._stream.seek(0)
        yield from pa.ipc.open_stream(self._stream)

    def table(self) -> pa.Table:
        """All that `batches` has, in memory."""
        return pa.Table.from_batches(list(self.batches()), self.schema)

    def close(self) -> None:
        self._stream.close()


def collect(
    relation: duckdb.DuckDBPyRelation, form: Form, tell: Callable[[str], None], most: int | None = None
) -> Answer:
    """The rows of a relation, each column in the form that `form` gives it; no more than the first `most`.

    `tell` is told of columns that cannot keep their names.

    Raises:
        QueryError: if there is no space for them.
        duckdb.Error: as DuckDB does.
    """
    names = distinct(relation.columns, tell)
    shown = ", ".join(
        f"{form(f'#{i}', kind)} AS {identifier(name)}"
        for i, (name, kind) in enumerate(zip(names, relation.types, strict=True), 1)
    )
    reader = relation.project(shown).to_arrow_reader(ROWS)
    stream = spooled()
    try:
        return Answer(reader.schema, _write(reader, stream, most), stream)
    except BaseException:
        stream.close()
        raise


def distinct(names: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    """Names that tell columns apart, as DuckDB makes them in a subquery.

    >>> distinct(["lr", "loss", "lr"], print)
    columns of one name are named apart: the second lr is lr_1; name them with AS
    ['lr', 'loss', 'lr_1']
    """
    taken, found, renamed = {*names}, list[str](), list[str]()
    for name in names:
        new = name
        if name in found:
            new = next(other for n in count(1) if (other := f"{name}_{n}") not in taken)
            renamed.append(f"the second {name} is {new}")
        taken.add(new)
        found.append(new)
    if renamed:
        more = f" and {len(renamed) - _NAMED} more" if len(renamed) > _NAMED else ""
        tell(f"columns of one name are named apart: {', '.join(renamed[:_NAMED])}{more}; name them with AS")
    return found


def _write(reader: pa.RecordBatchReader, stream: IO[bytes], most: int | None) -> int:
    """How many rows there are, of which the first are in the stream."""
    n_rows = 0
    try:
        with pa.ipc.new_stream(stream, reader.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as sink:
            for batch in _read(reader):
                sink.write_batch(batch if most is None else batch.slice(0, max(0, most - n_rows)))
                n_rows += batch.num_rows
    except OSError as error:
        fix = "select fewer columns or rows, or let TMPDIR name a folder with more space"
        raise QueryError(f"no space for the answer: {first_line(error)}; {fix}") from None
    return n_rows


def _read(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:  # what Arrow makes of DuckDB's, midway
        raise in_kind(error) from None
