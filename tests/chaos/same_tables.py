"""Whether a sweep that was disturbed has the same tables as one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from monosweep.sweep.store.root import Store

_CLOCKS = ("wall_time_s", "finished_at", "pack_id")
"""Columns in which two sweeps of the same trials may differ."""
_TABLES = ("trials", "curves", "neurons")


def read_rows(root: Path | str, table: str = "trials") -> list[dict[str, Any]]:
    """All rows of a table, without their clocks, in an order of their own."""
    dataset = ds.dataset(f"{root}/{table}", format="parquet", exclude_invalid_files=False)
    columns = [name for name in dataset.schema.names if name not in _CLOCKS]
    rows = dataset.to_table(columns=columns).to_pylist()
    return sorted(rows, key=lambda row: [str(row.get(k)) for k in ("trial_id", "step", "neuron")])


def assert_same(out: Path, undisturbed: Path) -> None:
    """One row per trial, whole curves, and every number the same bits as if nothing had happened."""
    index, expected = Store.open(str(out)).index(), Store.open(str(undisturbed)).index()
    assert (index.statuses, index.n_hidden, index.unreadable) == (expected.statuses, 0, ())
    for table in _TABLES:
        if not (undisturbed / table).exists():  # its family has no such table
            assert not (out / table).exists()
            continue
        assert read_rows(out, table) == read_rows(undisturbed, table)
