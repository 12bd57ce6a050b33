"""The view live_curves: what packs in training have recorded so far.  It is shown, marked as such, and never counted.

live/sweep=NAME/PACKID.parquet (sweep.store.live) -> live_points -> create_live
"""

from __future__ import annotations

import io

import duckdb
import pyarrow as pa

from monosweep.analysis.tables.storage import SWEEP_PREFIX, Files, identifier
from monosweep.sweep.store.live import FOLDER, SUFFIX
from monosweep.sweep.store.names import from_path
from monosweep.sweep.store.schema import LIVE, LIVE_SINCE

STALE_S = 180
"""A worker that has said nothing for so long, as a clock of its own says, is gone."""


def live_points(files: Files, schema: pa.Schema) -> pa.Table:
    """All points that are there, with the sweep in front; what goes or changes meanwhile is left out."""
    with_sweep = pa.schema([pa.field("sweep", pa.string()), *schema])
    found = [with_sweep.empty_table()]
    for path, _, _ in files.listing(FOLDER):
        folder, _, name = path.rpartition("/")
        if not name.endswith(SUFFIX) or name.startswith("."):
            continue
        try:
            import pyarrow.parquet as pq  # costs more than a query; most roots have nothing live

            points = pq.read_table(io.BytesIO(files.read(path)), partitioning=None)
        except (OSError, pa.ArrowException):
            continue
        sweep = from_path(folder.rpartition("/")[2].removeprefix(SWEEP_PREFIX))
        found.append(_conformed(points, with_sweep, sweep))
    return pa.concat_tables(found)


def create_live(connection: duckdb.DuckDBPyConnection, points: pa.Table) -> None:
    """The view over `points` that are not too old, of trials that have no row; needs raw.trials."""
    connection.register("_live", points)
    connection.execute("CREATE TABLE raw.live AS FROM _live")
    connection.unregister("_live")
    young = f"{identifier(LIVE_SINCE.name)} > now() - INTERVAL {STALE_S} SECOND"
    connection.execute(
        f"CREATE VIEW {identifier(LIVE)} AS SELECT * FROM raw.live ANTI JOIN raw.trials USING (trial_id) WHERE {young}"
    )


def _conformed(points: pa.Table, schema: pa.Schema, sweep: str) -> pa.Table:
    """With the columns of `schema`; NULL where a pack has none of that name and type."""
    n = points.num_rows
    columns = []
    for field in schema:
        there = field.name in points.column_names and points.schema.field(field.name).type == field.type
        columns.append(points[field.name] if there else pa.nulls(n, field.type))
    columns[0] = pa.array([sweep] * n, pa.string())
    return pa.table(columns, schema=schema)
