"""Rows and their Arrow schemas, generated from the dataclasses; no column is typed twice.  Torch-free.

    config + Losses + metrics + Provenance -> trials     CurvePoint + curve -> curves     a family's own tables
    Asked -> asked

What is written small is the family's (`model.families`): a table has columns of several, null in others' rows.  Every
table of what trials left also has `trial_id` and `pack_id` in front.  All have the Hive partition `sweep`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from monosweep.model.config import FIRST_FAMILY, ConfigError, TrialConfig, config_fields, field_types
from monosweep.model.families import OURS, config_of, config_of_trial, load
from monosweep.model.family import Description
from monosweep.model.records import Float32, Int32, TrialStatus

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or goes, or older versions would misread a root; a new nullable column does
not raise it.  1: a part held a whole pack and was named by it, slashes in names were dashes in paths and in the column
`sweep`, and no table said what was asked for."""

SHARED = ("trials", "curves")
"""What trials of all families leave."""
TABLES = (*SHARED, *OURS[FIRST_FAMILY].tables)
"""What every root has: what trials of the first family leave.  Roots say of themselves what others leave in them."""
ASKED = "asked"
LIVE = "live_curves"
"""What analysis calls the points of packs in training (`sweep.store.live`)."""
LIVE_SINCE = pa.field(
    "updated_at", pa.timestamp("us", tz="UTC"), metadata={"doc": "When the pack's worker last said so; UTC."}
)
"""The column that they have besides those of `curves`."""
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
    """`packed`, `vmapped` or `solo`; `packed, fused, captured` where a GPU's kernels and a CUDA graph did the work;
    `function` of a trial that is no network."""
    device: str
    """`cpu` or `cuda`; where it ended."""
    device_name: str
    """The processor's or GPU's own name; rows are bit-reproducible on the same one.  Of several that trained the trial
    after one another, each with ` + ` between; so too in the next two."""
    code_version: str
    """What trained the trial: the version of monosweep, a digest of its sources and, where they were a git checkout,
    its commit (`edited` if they differed from it), as in 0.1.0+src.3f2a9c81d0e4.git.7ff8610."""
    library_versions: str
    """Versions of Python, torch, numpy and pyarrow; of a trial that is no network of SciPy in place of torch."""
    schema_version: int = SCHEMA_VERSION
    """Version of this table's layout."""
    finished_at: datetime
    """When the row was made; UTC."""
    family_digest: str | None = None
    """Of a user's file: a digest of the code in it, which is part of the trial id; null for families of ours."""


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


def _parts(table: str, family: Description) -> tuple[type, ...]:
    shared: dict[str, tuple[type, ...]] = {
        "trials": (Key, family.config, family.losses, family.metrics, Provenance),
        "curves": (Key, family.point, family.curve),
        ASKED: (Asked,),
    }
    return shared[table] if table in shared else (Key, family.tables[table])


_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), TrialStatus: pa.string(),
    Int32: pa.int32(), Float32: pa.float32(), list[int]: pa.list_(pa.int64()),
    datetime: pa.timestamp("us", tz="UTC"),
}  # fmt: skip


FIRST = OURS[FIRST_FAMILY]
_ALWAYS = ("batch_size",)
"""Fields of a config that may be left out, and have a value in every config all the same."""
_NAMES: dict[type, tuple[str, ...]] = {part: tuple(f.name for f in fields(part)) for part in (Key, Provenance)}


def columns(table: str, family: Description = FIRST) -> tuple[Column, ...]:
    """The columns that a family's trials have in `trials`, `curves`, `asked` or a table of its own, in order."""
    nullable = (family.losses, family.metrics)  # a trial that did not complete has no metrics
    return tuple(column for part in _parts(table, family) for column in _columns_of(part, part in nullable))


def tables_of(family: Description) -> tuple[str, ...]:
    """The tables that a family's trials leave."""
    return (*SHARED, *family.tables)


@cache
def _schema(table: str, config: Any) -> pa.Schema:
    """By the config's class, which stands for its family."""
    family = OURS[config.FAMILY] if config.FAMILY in OURS else _described(config)
    described = [pa.field(c.name, c.type, c.nullable, metadata={"doc": c.doc}) for c in columns(table, family)]
    return pa.schema(described, metadata={"monosweep_schema_version": str(SCHEMA_VERSION)})


def _described(config: type[TrialConfig]) -> Description:
    return load(config.SOURCE).describe()


def arrow_schema(table: str, family: Description = FIRST) -> pa.Schema:
    """Arrow schema of `table`, with the columns' documentation and the version as metadata."""
    kind: Any = family.config
    schema: pa.Schema = _schema(table, kind)
    return schema


def arrow_table(table: str, rows: Iterable[Mapping[str, Any]], family: Description = FIRST) -> pa.Table:
    """`rows` as an Arrow table of exactly this schema; a column that a row lacks is null.

    Raises:
        pa.ArrowInvalid: if a value does not fit its column.
    """
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(table, family))


def trial_row(
    key: Key, config: TrialConfig, metrics: Mapping[str, Any] | None, provenance: Provenance
) -> dict[str, Any]:
    """One row of `trials`."""
    row = {name: getattr(part, name) for part in (key, provenance) for name in _NAMES[type(part)]}
    return {**row, **config.to_dict(), **(metrics or {}), "status": str(provenance.status)}


def config_in(row: Mapping[str, Any]) -> TrialConfig:
    """The config that a row of `trials` was trained from; a knob that an older part lacks has its default.

    Raises:
        ConfigError: if it is of a family, or a version of a user's file, that is not known here.
    """
    given = {name: value for name, value in row.items() if value is not None}
    name = given.setdefault("family", FIRST_FAMILY)
    if name in OURS:
        return config_of({knob: given[knob] for knob in field_types(OURS[name].config) if knob in given})
    return config_of_trial(given, row["trial_id"])


def markdown(table: str, family: Description | None = None) -> str:
    """The documentation of `table` as a Markdown table (used by the README).

    Args:
        family: whose columns, without those that the first family with such a table has and means the same by; left
            out, all columns of that one.
    """
    first = next((one for one in OURS.values() if table in tables_of(one)), FIRST)
    of, known = family or first, set(columns(table, first)) if family else set()
    lines = ["| column | type | meaning |", "|---|---|---|"]
    lines += [
        f"| `{c.name}` | {c.type} | {c.doc.replace('|', chr(92) + '|')} |" for c in columns(table, of) if c not in known
    ]
    return "\n".join(lines)


def _columns_of(part: type, nullable: bool) -> list[Column]:
    hints, docs = get_type_hints(part, include_extras=True), field_docs(part)
    if is_config := issubclass(part, TrialConfig):
        hints = field_types(part)
    return [
        Column(
            f.name, _arrow_type(hints[f.name], f"{part.__name__}.{f.name}"), docs.get(f.name, ""),
            nullable or (NoneType in get_args(hints[f.name]) and not (is_config and f.name in _ALWAYS)),
        )
        for f in (config_fields(part) if is_config else fields(part))
    ]  # fmt: skip


def _arrow_type(hint: Any, what: str) -> pa.DataType:
    if get_origin(hint) is Literal:
        return pa.string()
    for kind in (hint, *(set(get_args(hint)) - {NoneType})):
        if kind in _ARROW:
            return _ARROW[kind]
    known = "a number, a word, true or false, or a list of whole numbers"
    raise ConfigError(f"{what} must be {known}, for it is a column; got {hint}")


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and of those that it extends, as one line."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if is_dataclass(owner):
            docs |= _own_docs(owner)
    return docs


def _own_docs(cls: type) -> dict[str, str]:
    own = inspect.get_annotations(cls)
    made = {f.name: str(f.metadata["doc"]) for f in fields(cls) if f.name in own and "doc" in f.metadata}
    if len(made) == len(own):  # a class that no file spells out
        return made
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(str(doc.value.value).split())
        for field, doc in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
    }  # fmt: skip
