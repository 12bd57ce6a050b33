"""Rows whose trials were never committed are in no view, also where those trials are committed later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monosweep.analysis.tables.root import open_root
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.results import TrialResult
from monosweep.model.trainer import PackTrainer
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.root import Store
from monosweep.sweep.work.rows import tables_from


@pytest.fixture
def pack() -> Pack:
    shape = {"n_features": 16, "d_embed": 4, "n_neurons": 8, "batch_size": 8, "n_steps": 8}
    return Pack(tuple(TwoLayerConfig(**shape, seed=seed) for seed in range(3)))  # type: ignore[arg-type]


def committed(store: Store, pack: Pack, *leavers: TrialResult) -> None:
    store.commit("s", pack.pack_id, tables_from(pack.pack_id, leavers, "packed", "cpu"))


def died_committing(monkeypatch: pytest.MonkeyPatch, store: Store, pack: Pack, *leavers: TrialResult) -> None:
    """As a worker does that is killed before the part that counts."""
    put = Store.put

    def until_trials(self: Store, name: str, *args: Any, **options: Any) -> None:
        if name.startswith("trials/"):
            raise KeyboardInterrupt
        put(self, name, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", until_trials)
        with pytest.raises(KeyboardInterrupt):
            committed(store, pack, *leavers)


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("orphan", ["a subset", "all", "others"])
def test_a_part_without_its_trials_shows_nothing(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, orphan: str, compacted: bool
) -> None:
    """Members leave otherwise when a pack is trained again, and the parts that they leave have other names then."""
    store, trainer = Store.create(str(tmp_path / "results")), PackTrainer(pack.configs, "cpu")
    list(trainer)
    a, b, c = trainer.results()
    died_committing(monkeypatch, store, pack, *{"a subset": (a,), "all": (a, b, c), "others": (b, c)}[orphan])
    root = open_root(store.root)
    assert root.sql("select * from curves").num_rows == root.sql("select * from neurons").num_rows == 0
    committed(store, pack, a, b)
    committed(store, pack, c)
    n_hidden = {"a subset": 1, "all": 3, "others": 2}[orphan]
    if compacted:
        compact(store, grace_s=0)
    root = open_root(store.root)
    for table, n_rows in (("curves", 4), ("neurons", 8)):
        counts = root.sql(f"select trial_id, count(*) as n from {table} group by all").to_pylist()
        assert {row["trial_id"]: row["n"] for row in counts} == {x.config.trial_id: n_rows for x in (a, b, c)}
        assert root.hidden_rows()[table] == n_hidden * n_rows
    assert root.sql("select * from trials").num_rows == 3


def test_replaying_compares_with_the_curve_that_is_shown(
    tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, trainer = Store.create(str(tmp_path / "results")), PackTrainer(pack.configs, "cpu")
    list(trainer)
    a, b, c = trainer.results()
    died_committing(monkeypatch, store, pack, a, b, c)
    trial_id = a.config.trial_id
    assert store.curve_rows(trial_id, pack.pack_id) == []
    a.curve["loss"][-1] = 0.125  # type: ignore[index]
    committed(store, pack, a)
    assert store.curve_rows(trial_id, pack.pack_id)[-1]["loss"] == 0.125
    assert len(store.curve_rows(trial_id, pack.pack_id)) == 4
