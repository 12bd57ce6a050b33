"""SQL expressions over members' points and rows: objectives, constraints, `stop`.  DuckDB evaluates them.

>>> mono = Expressions({"mono": "n_mono / n_features"}, {"n_mono": 1, "n_features": 2})
>>> mono.of([{"n_mono": 3, "n_features": 4}])
[{'mono': 0.75}]
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

from monosweep.model.config import ConfigError

_ONE_LINE = 200
_NUMBERS = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_FORBIDDEN = {"SUBQUERY", "WINDOW", "STAR", "PARAMETER", "LAMBDA"}


class Expressions:
    """Compiled once, evaluated on many points.

    Args:
        expressions: SQL by name.
        example: a row with every column that they may use, for their types.

    Raises:
        ConfigError: if one is no SQL expression of these columns.
    """

    def __init__(self, expressions: Mapping[str, str], example: Mapping[str, Any]) -> None:
        import duckdb  # a tenth of a second, and not needed unless trials are searched or judged

        self._errors = duckdb.Error
        self._expressions = dict(expressions)
        self._types = {name: _sql_type(value) for name, value in example.items()}
        self._connection = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        self._connection.execute("set lock_configuration = true")
        used: set[str] = set()
        for name, expression in self._expressions.items():
            used |= self._check(name, expression)
        # SQL takes upper and lower case for the same.
        self._types = {name: kind for name, kind in self._types.items() if name.lower() in used}
        self._is_plain = all(expression in self._types for expression in self._expressions.values())

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The expressions' values for each row; None where SQL has no value, as for a division by zero or NaN."""
        if not rows:
            return []
        names = list(self._expressions)
        if self._is_plain:  # columns as they are, for which a query would cost more than all the rest
            values = [{name: row.get(column) for name, column in self._expressions.items()} for row in rows]
            return [{name: _defined(_plain(value)) for name, value in row.items()} for row in values]
        found = self._select(", ".join(map(_alone, self._expressions.values())), rows)
        return [dict(zip(names, map(_defined, values), strict=True)) for values in found]

    def _select(self, chosen: str, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        columns = [f"unnest($c{i})::{kind} as {_quoted(name)}" for i, (name, kind) in enumerate(self._types.items())]
        values = {f"c{i}": [_plain(row.get(name)) for row in rows] for i, name in enumerate(self._types)}
        columns.append('unnest($row) as "row "')  # there is one for each, whatever columns are used
        values["row"] = list(range(len(rows)))
        query = f"select {chosen} from (select {', '.join(columns)})"
        found: list[tuple[Any, ...]] = self._connection.execute(query, values).fetchall()
        return found

    def _check(self, name: str, expression: str) -> set[str]:
        """Which columns it uses, in small letters."""
        what = f"{name} {expression!r}" if name != expression else repr(name)
        tree = self._parsed(what, expression)
        forbidden = _FORBIDDEN & _classes(tree)
        if forbidden:
            raise ConfigError(f"{what} must be an expression of columns; got a {min(forbidden).lower()}; leave it out")
        try:
            found = self._select(f"typeof({_alone(expression)})", [dict.fromkeys(self._types)] * 2)
        except self._errors as error:
            raise ConfigError(f"{what} is no expression of this sweep's columns: {_reason(error)}") from None
        if len(found) != 2:
            raise ConfigError(f"{what} must have a value for each trial; got an aggregate")
        ((kind,), _) = found
        if not kind.startswith(_NUMBERS):
            raise ConfigError(f"{what} must be a number or a truth value; got a {kind.partition('(')[0].lower()}")
        return _columns(tree)

    def _parsed(self, what: str, expression: str) -> Any:
        if not expression.strip():
            raise ConfigError(f"{what} must be an expression of columns; got nothing")
        query = f"select {_alone(expression)}"
        answer = self._connection.execute("select json_serialize_sql($1::varchar)", [query]).fetchone()
        assert answer is not None
        parsed = json.loads(answer[0])
        if parsed["error"]:
            raise ConfigError(f"{what} is no SQL expression: {_short(parsed['error_message'])}")
        (node,) = [statement["node"] for statement in parsed["statements"]] if len(parsed["statements"]) == 1 else [{}]
        if len(node.get("select_list", [])) != 1 or node.get("from_table", {}).get("type") != "EMPTY":
            raise ConfigError(f"{what} must be one expression of columns; got more than that")
        return node["select_list"]


def _alone(expression: str) -> str:
    """In parentheses that no comment at its end hides."""
    return f"({expression}\n)"


def _classes(node: Any) -> set[str]:
    """The kinds of expressions in DuckDB's tree of one."""
    if isinstance(node, list):
        return set().union(*map(_classes, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {node["class"]} if isinstance(node.get("class"), str) else set()
    return own.union(*map(_classes, node.values()))


def _columns(node: Any) -> set[str]:
    """The columns in DuckDB's tree of an expression, in small letters."""
    if isinstance(node, list):
        return set().union(*map(_columns, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {name.lower() for name in node["column_names"]} if node.get("class") == "COLUMN_REF" else set()
    return own.union(*map(_columns, node.values()))


def _sql_type(value: Any) -> str:
    return {bool: "boolean", int: "bigint", float: "double"}.get(type(value), "varchar")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """For DuckDB, which takes NaN for larger than any number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _defined(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _reason(error: duckdb.Error) -> str:
    return _short(str(error))


def _short(text: str) -> str:
    line = (text.strip().splitlines() or ["?"])[0]
    for word in ("Binder Error: ", "Parser Error: ", "Catalog Error: ", "Conversion Error: "):
        line = line.removeprefix(word)
    return line[:_ONE_LINE]
