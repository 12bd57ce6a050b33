"""What packs in training have recorded so far: seen by queries while they train, never counted.

    worker -> Store.write_live -> live/sweep=NAME/PACKID.parquet -> analysis: the view live_curves

A pack's file is written over again while it trains, and goes when it ends.  What a dead worker has left is
too old to be shown, and goes when its sweep is launched again.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.schema import LIVE_SINCE

if TYPE_CHECKING:
    from monosweep.sweep.store.files import Storage

FOLDER, SUFFIX = "live", ".parquet"


def written(points: pa.Table) -> bytes:
    """A pack's points (of the schema of `curves`), and when they were written."""
    now = pa.array([datetime.now(UTC)] * points.num_rows, LIVE_SINCE.type)
    sink = io.BytesIO()
    import pyarrow.parquet as pq  # a query, which reads them by DuckDB, does not wait for it

    pq.write_table(points.append_column(LIVE_SINCE, now), sink)
    return sink.getvalue()


def name_of(sweep: str, pack_id: str) -> str:
    """The file of a pack."""
    return f"{FOLDER}/sweep={in_path(sweep)}/{pack_id}{SUFFIX}"


def clear(storage: Storage, sweep: str) -> None:
    """Remove what packs of a sweep have left; nothing of it is in training."""
    storage.remove_many(storage.names(f"{FOLDER}/sweep={in_path(sweep)}", SUFFIX))
