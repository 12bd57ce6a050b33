"""What DuckDB's complaints are about, by their kind, and each as one line that a user understands.

an error -> of_storage: asking again may help, without the parts accused; else it is told at once -> reason_of
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from monosweep.analysis.tables.storage import Part, first_line

FAULTS = (duckdb.Error, OSError, RuntimeError)
"""What a question may raise; RuntimeError is what DuckDB makes of a damaged part's words that are no text."""
_PART = re.compile(r"/part-[^/]*\.parquet\b|\bstream registered as '(raw|committed)_|\barrow_scan\b")
"""In what DuckDB's Parquet reader says of a part, and how DuckDB 2 and 1 begin what pyarrow says of those it reads."""


def of_storage(error: BaseException) -> bool:
    """Whether an error is of the parts: gone, damaged or not to be read.  Else it is the query's: overflow, a bad
    pattern, too little memory, which asking again does not mend.

    DuckDB has kinds for most slips.  What its Parquet reader says is an error of input or storage that names the
    part, or has no kind at all.
    """
    if isinstance(error, (duckdb.IOException, duckdb.InvalidInputException)):
        return _PART.search(str(error)) is not None
    return isinstance(error, (OSError, RuntimeError, duckdb.InternalException)) or type(error) is duckdb.Error


def in_kind(error: Exception) -> Exception:
    """An error of DuckDB's that came through Arrow, which keeps but its words (`Out of Range Error: …`), as itself."""
    kind = str(error).partition(" Error: ")[0].replace(" ", "").lower()
    kinds = {name.removesuffix("Exception").lower(): found for name, found in vars(duckdb).items()}
    found = kinds.get(kind)
    return (
        found(str(error)) if isinstance(found, type) and issubclass(found, duckdb.Error) else RuntimeError(str(error))
    )


def accused(error: BaseException, used: Sequence[Part]) -> list[Part]:
    """The parts that an error of storage may lie in: those that it names, or all."""
    text = str(error)
    return [part for part in used if part.path in text] or list(used)


def reason_of(error: BaseException, views: Sequence[str]) -> str:
    """An error as one line, with the way out; `views` are what a query may read."""
    if not isinstance(error, duckdb.Error):
        return first_line(error)
    text = " ".join(str(error).split("\n\nLINE ")[0].split())
    if isinstance(error, duckdb.PermissionException):
        place = re.search(r'"(.*?)"', text)
        reached = place.group(1) if place else text
        return f"a query may read only the views {', '.join(views)}; it reached for {reached}"
    if isinstance(error, duckdb.OutOfMemoryException):
        what = text.partition(": ")[2].partition(")")[0]
        return (
            f"SQL: the query needs more memory and temporary space than there is: {what}); select fewer columns or "
            "rows, or let TMPDIR name a folder with more space"
        )
    if "Referenced column" in text:
        text += "; `describe trials` lists all columns"
    if "Table with name" in text:
        text += f" The tables are {', '.join(views)}."
    return f"SQL: {text}"
