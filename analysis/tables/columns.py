"""What a root's tables hold: the schema's own columns, and what `families/NAME.json` in the root says of others'.

    schema, families/*.json -> Columns -> views.py (types, NULL knobs); knobs.py (which may vary)

A family's file is {"name": …, "columns": {"trials": [{"name", "type", "doc", "knob", "default"}, …], "curves": …, and
any further table}}; `type` is Arrow's name of it, such as `double` or `list<item: int64>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from monosweep.analysis.knobs import OWN_KNOBS, Knob
from monosweep.model.config import FIRST_FAMILY
from monosweep.sweep.store.live import FOLDER
from monosweep.sweep.store.schema import ASKED, LIVE, LIVE_SINCE, TABLES, arrow_schema

_KEY = (pa.field("trial_id", pa.string()), pa.field("pack_id", pa.string()))
_TAKEN = {"weights", "checkpoints", "sweeps", "families", "raw", FOLDER, LIVE}
"""Folders of a root that hold no table, and a name that queries need."""
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPES = {
    str(kind): kind
    for kind in (
        pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.float32(), pa.bool_(), pa.timestamp("us", tz="UTC"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Columns:
    """The tables of a root with their columns, and the knobs of each family."""

    tables: Mapping[str, pa.Schema]
    """By name, beside the partition `sweep`."""
    knobs: Mapping[str, tuple[Knob, ...]]
    """By family."""

    @property
    def packed(self) -> tuple[str, ...]:
        """The tables whose rows belong to packs, `trials` first.  What was asked for stands whoever trains it."""
        return tuple(table for table in self.tables if table not in (ASKED, LIVE))


def columns_of(declared: Mapping[str, bytes], notice: Callable[[str], None]) -> Columns:
    """The columns of a root with these files of families, by path; what of them cannot be used is told to `notice`."""
    tables, knobs = _own(), {FIRST_FAMILY: OWN_KNOBS[FIRST_FAMILY]}
    for path in sorted(declared):
        try:
            name, columns = _declared(declared[path])
        except (ValueError, TypeError, KeyError, AttributeError):
            notice(f"left out {path}, which must hold a name and columns by table; got {declared[path][:60]!r}")
            continue
        for table in columns:
            fields = tables.setdefault(table, list(_KEY))
            fields += list(_new(columns[table], fields, path, notice))
        said = {c["name"]: Knob(c["name"], c.get("default")) for c in columns.get("trials", ()) if c.get("knob")}
        knobs[name] = tuple(({knob.name: knob for knob in knobs.get(name, ())} | said).values())
    tables[LIVE] = [*tables["curves"], LIVE_SINCE]
    return Columns({table: pa.schema(fields) for table, fields in tables.items()}, knobs)


def _own() -> dict[str, list[pa.Field]]:
    """The tables that every root has: those of the first family, and what was asked for."""
    return {table: list(arrow_schema(table)) for table in (*TABLES, ASKED)}


def _declared(data: bytes) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """A family's name, and its columns by table."""
    family = json.loads(data)
    columns = {
        str(table): [{**column, "name": str(column["name"]), "type": str(column["type"])} for column in listed]
        for table, listed in family["columns"].items()
        if _TABLE_NAME.fullmatch(table) and table not in _TAKEN
    }
    return str(family["name"]), columns


def _new(
    columns: Iterable[Mapping[str, Any]], known: Iterable[pa.Field], path: str, notice: Callable[[str], None]
) -> Iterator[pa.Field]:
    """The columns that are not known yet; SQL takes upper and lower case for the same."""
    types = {field.name.lower(): field.type for field in known} | {"sweep": pa.string()}
    for column in columns:
        name, kind = column["name"], _type(column["type"])
        if kind is None:
            notice(f"left out column {name} of {path}: type {column['type']!r} is none of {', '.join(_TYPES)}")
        elif name.lower() not in types:
            types[name.lower()] = kind
            yield pa.field(name, kind, metadata={"doc": str(column.get("doc", ""))})
        elif types[name.lower()] != kind:
            notice(f"column {name} of {path} is shown as {types[name.lower()]}, which another family says it is")


def _type(text: str) -> pa.DataType | None:
    if items := re.fullmatch(r"list<\w+: (.+?)(?: not null)?>", text):
        inside = _type(items[1])
        return None if inside is None else pa.list_(inside)
    return _TYPES.get(text)
