"""The commit: rows of members of a pack that have ended, never in the place of better ones.

    worker, or the driver for a trial that nobody can train -> Store.commit -> trials|curves|neurons/sweep=NAME/part-…

`trials` is written last and is the commit.  Rows that say `failed` have a name of their own (`sweep.store.parts`), so a
worker that was given up and ends nevertheless, and the driver that has written its trial off, never take each other's
place.  Both rows may stand there for a moment, and the views show the better one; whoever sees both removes the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from monosweep.model.records import TrialStatus
from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.parts import parquet, part_name


def commit(storage: Storage, sweep: str, pack_id: str, tables: Mapping[str, pa.Table]) -> None:
    """Write the rows of members of a pack.

    Raises:
        StoreError: if a file cannot be written; nothing of these members is visible then.
    """
    trial_ids = tables["trials"]["trial_id"].to_pylist()
    failed = str(TrialStatus.FAILED) in tables["trials"]["status"].to_pylist()

    def name(table: str, failed: bool) -> str:
        return part_name(table, sweep, pack_id, trial_ids, failed)

    for table in (*(table for table in tables if table != "trials"), "trials"):
        storage.put(name(table, failed), parquet(tables[table]))
    # Both sides look for the other's rows once their own are there, so at least one of them sees both.
    if storage.exists(name("trials", not failed)):
        for table in ("trials", *(table for table in tables if table != "trials")):
            storage.remove(name(table, failed=True))
