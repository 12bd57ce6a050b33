"""What a query may be: one statement that does nothing but read the views.

    Root.sql -> check_query -> Root._ask;  a condition of the user's -> conditions -> Root.trials

DuckDB's own guard (`storage.lock`) keeps queries inside the root; this one keeps them from writing there, from
reading other files than the views do, and says both in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from monosweep.analysis.tables.faults import reason_of
from monosweep.model.config import UserError

Parameters = Sequence[Any] | Mapping[str, Any]
"""Values for `?` and `$1`, in order, or for `$name`, by name."""


class QueryError(UserError):
    """A query that cannot be answered."""


def check_query(query: str, parameters: Parameters = ()) -> None:
    """Admit one SELECT (or FROM, WITH, PIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN of one) that does nothing but read,
    and has a value for each parameter.

    Raises:
        QueryError: otherwise.
    """
    statements = _statements(query)
    if len(statements) != 1:
        raise QueryError(f"a query must be one SELECT; got {len(statements)} statements; give one")
    _check_values(statements[0].named_parameters, parameters)
    words = list(_words(query))
    if words[0].text == "explain":
        check_query(query.encode()[_explained(words).start :].decode(), parameters)
    else:
        _check_kind(statements[0].type, words[0].text)
        for word in words:
            _check_word(word)


def conditions(where: str | None, *ours: str) -> str:
    """One SQL condition: the user's, which cannot reach beyond its parentheses, and ours.

    Raises:
        QueryError: if `where` is not one condition.
    """
    if where is None:
        return " AND ".join(ours) or "true"
    for text in (f"SELECT 1 WHERE\n{where}\n", f"SELECT 1 WHERE (\n{where}\n)"):
        # The first refuses what is no expression, such as a SELECT; the second what closes its parentheses.
        try:
            duckdb.extract_statements(text)
        except duckdb.Error as error:
            fix = "give one such as lr = 0.01 and seed < 3"
            raise QueryError(f"where must be one condition; got {where!r} ({reason_of(error, ())}); {fix}") from None
    return " AND ".join((f"(\n{where}\n)", *ours))


_READING = {"select", "from", "with", "pivot", "pivot_wider", "summarize", "describe", "desc", "show", "("}
_WRITING = {
    "copy", "insert", "update", "delete", "merge", "create", "drop", "alter", "attach", "install", "truncate",
}  # fmt: skip
_REFUSED = re.compile(
    r"(read|parquet|sniff|python|enable|disable|register|deregister|truncate|which)_\w+|\w+_scan(_dumb)?"
    r"|(add|remove)_grammar_extension|(create|destroy)_external_resource|duckdb_external_resources|glob"
    r"|(force_)?checkpoint|query(_table)?|json_execute_serialized_sql"
)
"""Functions that read files or memory, run statements which the check cannot see, or have effects.  DuckDB admits
them for the root and for its own temporary folder."""


class _Word:
    """A token of a query that is no comment."""

    def __init__(self, text: str, start: int, kind: Any) -> None:
        self.text = text.replace('""', '"').lower()
        self.start = start
        self.keyword = kind == duckdb.token_type.keyword
        self.name = self.keyword or kind == duckdb.token_type.identifier
        self.called = False
        """Whether it is a name before a parenthesis."""


def _check_kind(kind: duckdb.StatementType, first: str) -> None:
    # A PIVOT that takes its columns from the data is several statements to DuckDB, but so is a COPY of one.
    several = kind.name == "MULTI"
    if kind != duckdb.StatementType.SELECT and not (several and first in _READING):
        got = first.upper() if several else kind.name
        raise QueryError(f"a query must be a SELECT, it can only read; got {got}")


def _check_word(word: _Word) -> None:
    if word.keyword and word.text in _WRITING:
        # DuckDB takes `WITH a AS (COPY … TO …) SELECT …` for a SELECT.
        raise QueryError(f'a query can only read; got {word.text.upper()}; if that is a name, write "{word.text}"')
    if word.called and _REFUSED.fullmatch(word.text):
        fix = "select from trials or another view; if that is a name of your own, choose another"
        raise QueryError(f"a query may read only the views and cannot call {word.text}; {fix}")


def _statements(query: str) -> list[duckdb.Statement]:
    try:
        return list(duckdb.extract_statements(query))
    except duckdb.Error as error:
        raise QueryError(reason_of(error, ())) from None


def _words(query: str) -> Iterator[_Word]:
    text = query.encode()  # DuckDB counts bytes
    tokens = duckdb.tokenize(query)
    ends = [start for start, _ in tokens[1:]] + [len(text)]
    before = None
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind != duckdb.token_type.comment:
            word = _Word(text[start:end].decode().strip().strip('"'), start, kind)
            if before is not None:
                before.called = before.name and word.text == "("
                yield before
            before = word
    if before is not None:
        yield before


def _explained(words: Sequence[_Word]) -> _Word:
    """The first word of the statement that an EXPLAIN is about."""
    depth = 0
    for word in words[1:]:
        depth += (word.text == "(") - (word.text == ")")
        if depth == 0 and word.text not in (")", "analyze", "verbose"):
            return word
    return words[-1]


def _check_values(wanted: set[str], parameters: Parameters) -> None:
    given = set(parameters) if isinstance(parameters, Mapping) else {str(i + 1) for i in range(len(parameters))}
    if wanted != given:
        needs = ", ".join(f"${name}" for name in sorted(wanted)) or "no parameters"
        got = ", ".join(f"${name}" for name in sorted(given)) or "none"
        fix = "give them from Python: root.sql(query, [values]) or root.sql(query, {name: value})"
        raise QueryError(f"the query needs a value for {needs}; got {got}; {fix}")
