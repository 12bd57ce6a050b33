"""The tables of a root, and their columns."""

from __future__ import annotations

import pyarrow as pa

from monosweep.sweep.store import schema

ASKED = "asked"
"""The table of what sweeps were asked for.  It has no packs: its rows stand whether their trials have ended or not."""
TABLES = tuple(dict.fromkeys((*schema.TABLES, ASKED)))
_ASKED = (("trial_id", pa.string()), ("config", pa.string()), ("asked_at", pa.timestamp("us", tz="UTC")))


def schema_of(table: str) -> pa.Schema:
    """The columns of a table, beside the partition `sweep`."""
    return pa.schema(_ASKED) if table == ASKED else schema.arrow_schema(table)
