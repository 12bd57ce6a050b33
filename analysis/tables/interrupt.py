"""Questions that Ctrl-C ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any, TypeVar

import duckdb

T = TypeVar("T")


def interruptible(
    settings: Mapping[str, Any],
    prepare: Callable[[duckdb.DuckDBPyConnection], None],
    question: Callable[[duckdb.DuckDBPyConnection], T],
) -> T:
    """The answer to a question, asked of a connection of its own that is prepared for it; Ctrl-C ends both at once.

    DuckDB's own look-out for signals misses some (2.0), and makes a RuntimeError of the others, which says no more
    than a damaged part's.  So all that it does runs beside the main thread, which waits.
    """
    answer: list[T] = []
    errors: list[BaseException] = []
    connections: list[duckdb.DuckDBPyConnection] = []

    def ask() -> None:
        try:
            with closing(duckdb.connect(config={**settings})) as connection:
                connections.append(connection)
                prepare(connection)
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
            for connection in connections:
                with suppress(duckdb.Error):  # it may be closed by now
                    connection.interrupt()
        raise
    if errors:
        raise errors[0]
    return answer[0]
