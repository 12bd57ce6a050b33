"""Questions that Ctrl-C ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import duckdb

T = TypeVar("T")


def interruptible(connection: duckdb.DuckDBPyConnection, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
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
