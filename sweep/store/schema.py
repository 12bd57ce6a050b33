"""Rows and their Arrow schemas, generated from the dataclasses; no column is typed twice.  Torch-free.

    TrialConfig + Metrics + Provenance -> trials     CurvePoint -> curves     NeuronRecord -> neurons
    Asked -> asked

Every table of what trials left also has `trial_id` and `pack_id` in front.  All have the Hive partition `sweep`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from monosweep.model.config import TrialConfig
from monosweep.model.records import CurvePoint, Float32, Int32, Metrics, NeuronRecord, TrialStatus

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or goes, or older versions would misread a root; a new nullable column does
not raise it.  1: a part held a whole pack and was named by it, slashes in names were dashes in paths and in the column
`sweep`, and no table said what was asked for."""

TABLES = ("trials", "curves", "neurons")
"""What trials leave."""
ASKED = "asked"
"""What sweeps were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where, when and by what a trial was trained, and how it ended."""

    status: TrialStatus
    """`completed`, `diverged` (loss or parameters became non-finite), `failed` (an error) or `stopped`."""
    error: str | None = None
    """Why the trial did not complete; null if it did."""
    last_step: int
    """Optimiser steps done; below n_steps where the trial did not complete."""
    wall_time_s: float
    """This trial's equal share of its pack's training time, in seconds."""
    engine: str
    """`packed` or `solo`."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    """The processor's or GPU's own name; rows are bit-reproducible on the same one."""
    code_version: str
    """What trained the trial: the version of monosweep, a digest of its sources and, where they were a git checkout,
    its commit (`edited` if they differed from it), as in 0.1.0+src.3f2a9c81d0e4.git.7ff8610."""
    library_versions: str
    """Versions of Python, torch, numpy and pyarrow."""
    schema_version: int = SCHEMA_VERSION
    """Version of this table's layout."""
    finished_at: datetime
    """When the row was made; UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """Which trial and pack a row belongs to."""

    trial_id: str
    """Sixteen hexadecimal digits: a hash of the config; the same trial has the same id everywhere."""
    pack_id: str
    """Hash of the trial_ids that were to be trained together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """That a sweep was asked for a trial."""

    trial_id: str
    """The trial, as in `trials`; it has a row there once it has ended, under the sweep that trained it."""
    config: str
    """What it is trained from: the config's fields as JSON."""
    asked_at: datetime
    """When a launch of this sweep first asked for it; UTC."""


@dataclass(frozen=True, slots=True)
class Column:
    """One documented column."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool


_PARTS: dict[str, tuple[type, ...]] = {
    "trials": (Key, TrialConfig, Metrics, Provenance),
    "curves": (Key, CurvePoint),
    "neurons": (Key, NeuronRecord),
    ASKED: (Asked,),
}
_NULLABLE_PARTS = (Metrics,)
"""A trial that did not complete has no metrics."""
_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), TrialStatus: pa.string(),
    Int32: pa.int32(), Float32: pa.float32(), list[int]: pa.list_(pa.int64()),
    datetime: pa.timestamp("us", tz="UTC"),
}  # fmt: skip


@cache
def columns(table: str) -> tuple[Column, ...]:
    """The columns of `trials`, `curves`, `neurons` or `asked`, in order."""
    return tuple(column for part in _PARTS[table] for column in _columns_of(part))


@cache
def arrow_schema(table: str) -> pa.Schema:
    """Arrow schema of `table`, with the columns' documentation and the version as metadata."""
    described = [pa.field(c.name, c.type, c.nullable, metadata={"doc": c.doc}) for c in columns(table)]
    return pa.schema(described, metadata={"monosweep_schema_version": str(SCHEMA_VERSION)})


def arrow_table(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """`rows` as an Arrow table of exactly this schema; a column that a row lacks is null.

    Raises:
        pa.ArrowInvalid: if a value does not fit its column.
    """
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(table))


def trial_row(
    key: Key, config: TrialConfig, metrics: Metrics | None, provenance: Provenance
) -> dict[str, Any]:
    """One row of `trials`."""
    parts: tuple[Any, ...] = (key, config, provenance) + (() if metrics is None else (metrics,))
    row = {name: getattr(part, name) for part in parts for name in _names(part.__class__)}
    row["status"] = str(provenance.status)
    return row


@cache
def _names(part: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(part))


def config_of(row: Mapping[str, Any]) -> TrialConfig:
    """The config that a row of `trials` was trained from; a knob that an older part lacks has its default."""
    return TrialConfig.from_dict({f.name: row[f.name] for f in fields(TrialConfig) if row[f.name] is not None})


def markdown(table: str) -> str:
    """The documentation of `table` as a Markdown table (used by the README)."""
    lines = ["| column | type | meaning |", "|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.doc.replace('|', chr(92) + '|')} |" for c in columns(table)]
    return "\n".join(lines)


def _columns_of(part: type) -> list[Column]:
    hints, docs = get_type_hints(part, include_extras=True), field_docs(part)
    return [
        Column(f.name, _arrow_type(hints[f.name]), docs[f.name], _nullable(part, hints[f.name]))
        for f in fields(part)
    ]


def _nullable(part: type, hint: Any) -> bool:
    return part in _NULLABLE_PARTS or (part is not TrialConfig and NoneType in get_args(hint))


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _ARROW:
        return _ARROW[hint]
    if get_origin(hint) is Literal:
        return pa.string()
    (kind,) = set(get_args(hint)) - {NoneType}
    return _ARROW[kind]


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, as one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant), field.target.id
            docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs
