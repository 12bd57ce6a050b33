"""What a user's metrics say of trials that have ended: a table named after their file, one part for each sweep.

    measure -> declare, write_measured -> FILE/sweep=NAME/part-merged-….parquet, families/FILE.measured.json

A part holds all that was measured of a sweep's trials, and measuring again replaces it: rows of `trials` stay as they
are.  It names the units of those trials, so views show it with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Any

import pyarrow as pa

from monosweep.model.config import ConfigError
from monosweep.model.families import OURS
from monosweep.model.family import Description
from monosweep.model.records import Int32
from monosweep.sweep.store.families import FOLDER, check_table, known_families
from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.parts import merged_name, pack_of, parquet
from monosweep.sweep.store.read import listed, packs_in, read, units_in
from monosweep.sweep.store.schema import FIRST, TABLES, Column, columns

_STEP = "Optimiser steps done when the weights were kept."
_DIGEST = "Of the file's code, with the family that it is for: as the column `family_digest` of trials trained with it."
_FAILURE = "What the file raised; null where it did not."


def measured_columns(table: str, metrics: Mapping[str, tuple[Any, str]]) -> tuple[Column, ...]:
    """The columns of such a table, from the types and meanings of its metrics."""
    given = [("step", Int32, _STEP), *((name, kind | None, doc) for name, (kind, doc) in metrics.items())]
    given += [("digest", str, _DIGEST), ("failure", str | None, _FAILURE)]
    record = make_dataclass("Measured", [(name, kind, field(metadata={"doc": doc})) for name, kind, doc in given])
    return columns(table, Description(FIRST.config, tables={table: record}))


def declare(storage: Storage, file: str, text: str, table: str, listed_columns: Sequence[Column]) -> None:
    """Say in the root what the columns of such a table mean; those of an earlier version of the file stay known.

    Raises:
        ConfigError: if the table is another's, or a column was of another type before.
    """
    check_table(file, table)
    if table in {*TABLES, *(name for family in OURS.values() for name in family.tables)}:
        raise ConfigError(f"{file} would fill the table {table}, which has rows of training; give it another name")
    own = {c.name: {"name": c.name, "type": str(c.type), "doc": c.doc, "knob": False} for c in listed_columns}
    for told in known_families(storage):
        for column in told["columns"].get(table, ()):
            if told["name"] != file:
                raise ConfigError(f"table {table} is of {told['name']} in this root; give {file} another name")
            if own.setdefault(column["name"], column)["type"] != column["type"]:
                was, now = column["type"], own[column["name"]]["type"]
                raise ConfigError(f"{file}: {column['name']} was {was} before, and is {now}; give it another name")
    told = {"name": file, "columns": {table: list(own.values())}, "file": file, "class": None, "text": text}
    storage.put(f"{FOLDER}/{table}.measured.json", json.dumps(told, indent=2).encode())


def write_measured(
    storage: Storage, table: str, sweep: str, rows: Sequence[Mapping[str, Any]], listed_columns: Sequence[Column]
) -> None:
    """Have these rows, which name trial_id and pack_id, take the place of what was measured of a sweep before."""
    packs = {row["pack_id"] for row in rows}
    names = [name for name in read(storage, "trials", ["trial_id"], sweep).parts if packs & packs_in(storage, name)]
    units = {unit for name in names for unit in units_in(storage, name) if pack_of(unit) in packs}
    schema = pa.schema([pa.field(c.name, c.type, c.nullable, metadata={"doc": c.doc}) for c in listed_columns])
    part = merged_name(table, sweep, units)
    before = [name for name in listed(storage, table, sweep) if name != part]
    storage.put(part, parquet(pa.Table.from_pylist(list(rows), schema=schema), units))
    storage.remove_many(before)
