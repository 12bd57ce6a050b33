"""The view live_curves: what packs in training have recorded so far, shown and never counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosweep.analysis import open_root
from monosweep.analysis.tables.live import STALE_S
from monosweep.sweep.store.live import clear
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import arrow_table

from ..conftest import Made, curve_of, trial


def points(row: dict[str, Any], n: int = 4) -> pa.Table:
    return arrow_table("curves", list(curve_of(row))[:n])


def test_packs_in_training_are_shown_and_not_counted(quick: Made) -> None:
    store, root = Store.open(str(quick.path)), open_root(quick.path)
    assert not root.live_curves
    young, there = trial("p7", seed=70), trial("p0", bias_offset=0.0, lr=0.003, seed=0)
    assert root.row(there["trial_id"])
    store.write_live("deep/one", "p7", pa.concat_tables([points(young), points(there)]))
    (first, *_), rows = root.live_curves.arrow().to_pylist(), root.live_curves.order("step")
    assert rows.arrow()["step"].to_pylist() == [1, 2, 4, 8]
    assert {name: first[name] for name in ("sweep", "trial_id", "step")} == {
        "sweep": "deep/one", "trial_id": young["trial_id"], "step": 1,
    }  # fmt: skip
    assert first["loss"] == next(curve_of(young))["loss"]
    assert datetime.now(UTC) - first["updated_at"] < timedelta(minutes=1)
    assert len(root.curves) == 16 * 14 and len(root.trials) == 16 and not any(root.hidden_rows().values())
    store.write_live("deep/one", "p7", points(young, 6))
    assert len(rows) == 6
    quick.commit("deep.one", "p7", [young])
    assert not rows


def test_what_a_dead_worker_has_left_is_not_shown(quick: Made) -> None:
    store, row = Store.open(str(quick.path)), trial("p7", seed=70)
    store.write_live("s", "p7", points(row))
    (file,) = (quick.path / "live").rglob("*.parquet")
    table = pq.read_table(file, partitioning=None)
    for age_s, n in ((STALE_S / 2, 4), (STALE_S + 1, 0)):
        then = pa.array([datetime.now(UTC) - timedelta(seconds=age_s)] * 4, table.schema.field("updated_at").type)
        pq.write_table(table.set_column(table.schema.get_field_index("updated_at"), "updated_at", then), file)
        assert len(open_root(quick.path).live_curves) == n
    clear(store, "other")
    assert file.exists()
    clear(store, "s")
    assert not file.exists()


@pytest.mark.parametrize("lacks", ["mean_bias", "loss"])
def test_columns_that_a_pack_lacks_are_null(quick: Made, lacks: str) -> None:
    """So are those of another type; a file that cannot be read, or is being written, is none."""
    store, row = Store.open(str(quick.path)), trial("p7", seed=70)
    without = points(row).drop_columns([lacks]).append_column(lacks, pa.array(["word"] * 4))
    store.write_live("s", "p7", without)
    store.write_live("s", "p8", points(trial("p8", seed=71)))
    (quick.path / "live" / "sweep=s" / "p9.parquet").write_bytes(b"PAR1 nonsense PAR1")
    (quick.path / "live" / "sweep=s" / ".p6.parquet").write_bytes(b"half")
    found = open_root(quick.path).live_curves.order("pack_id, step").arrow()
    assert found[lacks].null_count == 4 and found["step"].to_pylist() == [1, 2, 4, 8] * 2


def test_a_sweep_alone_in_training_is_seen(made: Made) -> None:
    """Before any trial has ended there is no folder of trials."""
    Store.open(str(made.path)).write_live("s", "p7", points(trial("p7", seed=70)))
    answer = open_root(made.path).sql("select max(step) as step, count(distinct trial_id) as n from live_curves")
    assert answer.to_pylist() == [{"step": 8, "n": 1}]
