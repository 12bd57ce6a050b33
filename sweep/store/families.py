"""What a root says of its families: what their columns mean and, of a user's own, the text that they are made from.

    launch -> Store.write_family -> families/NAME.json -> views of analysis; replay and workers that need the text

So results stay readable, and trials replayable, where a user's file is not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monosweep.model.config import FIRST_FAMILY, ConfigError, field_defaults
from monosweep.model.families import describe, remember, source_of
from monosweep.model.families.source import Source
from monosweep.model.family import Description
from monosweep.sweep.store.files import DamagedError, Storage
from monosweep.sweep.store.schema import LIVE, SHARED, TABLES, columns, tables_of

FOLDER = "families"
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = ("asked", "checkpoints", FOLDER, "live", LIVE, "quarantine", "raw", "sweeps", "weights")


def write_family(storage: Storage, name: str) -> None:
    """Say in the root what a family is.

    Raises:
        ConfigError: if a table or column of it means another thing here.
    """
    told = about(name)
    _check(told, [about(FIRST_FAMILY), *known_families(storage)])
    storage.put(_file(name, source_of(name)), json.dumps(told, indent=2).encode())


def _check(told: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> None:
    """Whether each column has one name and one type in the whole root; SQL takes upper and lower case for the same."""
    known = {
        (table, column["name"].lower()): (column, other["name"])
        for other in others for table, listed in other["columns"].items() for column in listed
    }  # fmt: skip
    for table, listed in told["columns"].items():
        if table not in TABLES:
            check_table(told["name"], table)
        own = Counter(column["name"].lower() for column in listed) + Counter(["sweep"])
        for column in listed:
            name, kind = column["name"], column["type"]
            if own[name.lower()] > 1:
                raise ConfigError(f"{told['name']}: {table} has a column {name} already; give this one another name")
            there, whose = known.get((table, name.lower()), (column, ""))
            if (there["name"], there["type"]) != (name, kind):
                here = f"{there['name']} {there['type']} in {whose}, which this root holds too"
                fix = "give it another name, or use another root"
                raise ConfigError(f"column {name} of {table} is {kind} in {told['name']}, and {here}; {fix}")


def check_table(whose: str, table: str) -> None:
    """Whether a table may be called so.

    Raises:
        ConfigError: if not.
    """
    if table in _TAKEN or not _TABLE_NAME.fullmatch(table):
        raise ConfigError(
            f"{whose}: table {table!r} must be a word in small letters that no folder of a root is called "
            f"({', '.join(_TAKEN)}); give it another name"
        )


def about(name: str) -> dict[str, Any]:
    """A family as the root has it: name, columns by table, and a user's text."""
    family, source = describe(name), source_of(name)
    return {
        "name": name,
        "columns": {table: _columns(table, family) for table in tables_of(family)},
        "digest": source.digest if source else None,
        "file": source.file if source else None,
        "class": source.class_name if source else None,
        "text": source.text if source else None,
    }


def _columns(table: str, family: Description) -> list[dict[str, Any]]:
    defaults = field_defaults(family.config)
    return [
        {
            "name": column.name, "type": str(column.type), "doc": column.doc,
            "knob": table == "trials" and column.name in defaults, "default": defaults.get(column.name),
        }
        for column in columns(table, family)
    ]  # fmt: skip


def _file(name: str, source: Source | None) -> str:
    """`two_layer.json`, or `my_toy.py-MyToy-DIGEST.json`, so that two versions of a file stand side by side."""
    return f"{FOLDER}/{name}.json" if source is None else f"{FOLDER}/{name.replace(':', '-')}-{source.digest}.json"


def known_families(storage: Storage) -> list[dict[str, Any]]:
    """What the root says of its families, in no order; none in a root of schema version 1.

    Raises:
        DamagedError: if what stands there was not written by monosweep.
    """
    return [_told(storage, name) for name in storage.names(FOLDER, ".json")]


def _told(storage: Storage, name: str) -> dict[str, Any]:
    try:
        told = dict(json.loads(storage.get(name)))
        if isinstance(told["name"], str) and isinstance(told["columns"], dict):
            return told
    except (ValueError, TypeError, KeyError):
        pass
    raise DamagedError(
        f"cannot use {storage.path(name)}: it must say what a family's columns mean, as a launch writes it; remove it "
        f"and launch again"
    )


def load_families(storage: Storage) -> None:
    """Make the users' families of a root known to this process, by running their text; a file that was read means more.

    Raises:
        ConfigError: if one of them defines no family.
    """
    for told in known_families(storage):
        if told.get("text") and told.get("class"):
            remember(Source(told["file"], told["class"], told["text"]))


def known_tables(storage: Storage) -> tuple[str, ...]:
    """What trials leave in this root, `trials` first."""
    own = (table for told in known_families(storage) for table in told["columns"] if table not in SHARED)
    return (*TABLES, *(table for table in dict.fromkeys(own) if table not in TABLES))
