"""The commit: rows of members of a pack that have ended, never in the place of better ones.

    worker, or the driver for a trial that nobody can train -> Store.commit -> trials|curves|neurons/sweep=NAME/part-…

`trials` is written last and is the commit.  Rows that say `stopped` or `failed` have names of their own
(`sweep.store.parts`), so a worker that was given up and ends nevertheless, its successor, and the driver that has
written its trial off never take each other's place.  All may stand there for a moment, and the views show the best;
whoever sees several removes the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.parts import LESSER, parquet, part_name


def commit(storage: Storage, sweep: str, pack_id: str, tables: Mapping[str, pa.Table]) -> None:
    """Write the rows of members of a pack.

    Raises:
        StoreError: if a file cannot be written; nothing of these members is visible then.
    """
    trial_ids = tables["trials"]["trial_id"].to_pylist()
    statuses = set(tables["trials"]["status"].to_pylist())
    ours = next((status for status in reversed(LESSER) if status in statuses), "")

    def name(table: str, lesser: str) -> str:
        return part_name(table, sweep, pack_id, trial_ids, lesser)

    rest = [table for table in tables if table != "trials"]
    for table in (*rest, "trials"):
        storage.put(name(table, ours), parquet(tables[table]))
    # All look for the others' rows once their own are there, so whoever is last sees all.
    there = [kind for kind in ("", *LESSER) if kind == ours or storage.exists(name("trials", kind))]
    for lesser in there[1:]:
        for table in ("trials", *rest):
            storage.remove(name(table, lesser))
