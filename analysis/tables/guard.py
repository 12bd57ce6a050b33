"""What a query may be, and what DuckDB's complaints become: one line that a user understands."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import duckdb

from monosweep.model.config import UserError

T = TypeVar("T")


class QueryError(UserError):
    """A query that cannot be answered."""


def check_select(query: str) -> None:
    """Admit one SELECT (or WITH, DESCRIBE, SHOW, SUMMARIZE) that does nothing but read.

    Raises:
        QueryError: otherwise.
    """
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise QueryError(reason_of(error, ())) from None
    if len(statements) != 1:
        raise QueryError(f"a query must be one SELECT; got {len(statements)} statements; give one")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise QueryError(f"a query must be a SELECT, it can only read; got {kind.name}")
    for word in _tokens(query) & _WRITING:
        # DuckDB takes `WITH a AS (COPY … TO …) SELECT …` for a SELECT.
        raise QueryError(f'a query can only read; got {word.upper()}; if that is a name, write "{word}"')
    for word in _names(query) & _RUNS_TEXT:
        raise QueryError(f"a query cannot call {word}; write the SELECT itself")


def interruptible(
    connection: duckdb.DuckDBPyConnection, question: Callable[[duckdb.DuckDBPyConnection], T]
) -> T:
    """`question(connection)`, which Ctrl-C ends at once.

    DuckDB's own look-out for signals misses some (2.0), so it works beside the main thread, which waits.
    """
    answer: list[T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(question(connection))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    # An event, because Thread.join takes a thread for ended once Ctrl-C has broken into it (CPython 3.11).
    done = threading.Event()
    threading.Thread(target=ask, daemon=True).start()
    try:
        done.wait()
    except KeyboardInterrupt:
        while not done.wait(0.05):
            connection.interrupt()
        raise
    if errors:
        raise errors[0]
    return answer[0]


_WRITING = {"copy", "insert", "update", "delete", "merge", "create", "drop", "alter", "attach", "install"}
_RUNS_TEXT = {"json_execute_serialized_sql"}
"""Functions that run statements which the check cannot see."""


def _tokens(query: str) -> set[str]:
    """Its unquoted words that are keywords of SQL."""
    return _words_of(query, lambda kind: kind == duckdb.token_type.keyword)


def _names(query: str) -> set[str]:
    """Its names, quoted or not."""
    named = (duckdb.token_type.identifier, duckdb.token_type.keyword)
    return _words_of(query, lambda kind: kind in named)


def _words_of(query: str, wanted: Callable[[Any], bool]) -> set[str]:
    text = query.encode()  # DuckDB counts bytes
    tokens = duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(text)]
    spans = [(start, end) for (start, kind), end in zip(tokens, ends, strict=True) if wanted(kind)]
    return {text[start:end].decode().strip().strip('"').lower() for start, end in spans}


USERS_FAULT = (
    duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException,
    duckdb.ConversionException,
)  # fmt: skip


def reason_of(error: duckdb.Error, views: Sequence[str]) -> str:
    """DuckDB's message as one line, with the way out; `views` are what a query may read."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split())
    if isinstance(error, duckdb.PermissionException):
        place = re.search(r'"(.*?)"', text)
        reached = place.group(1) if place else text
        return f"a query may read only the views {', '.join(views)}; it reached for {reached}"
    if "Referenced column" in text:
        text += "; `describe trials` lists all columns"
    if "Table with name" in text:
        text += f" The tables are {', '.join(views)}."
    return f"SQL: {text}"
