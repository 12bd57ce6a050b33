"""Packs with rows that were never trained: written in a millisecond, for tests of what becomes of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import Key, Provenance, arrow_table, trial_row

STEPS = (1, 2)
N_NEURONS = 3
_METRICS = {
    "loss": 0.5, "min_loss": 0.25, "n_mono": 3, "mono_per_feature": 3 / 16, "mono_per_neuron": 3 / 32, "n_dead": 0,
    "n_positive_bias": 5, "mean_bias": -0.5, "capacity_sum": 4.0, "features_by_n_mono": [13, 3],
}  # fmt: skip


def config(seed: int) -> TwoLayerConfig:
    """A small trial."""
    shape = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64}
    return TwoLayerConfig(**shape, feature_prob=1 / 8, n_steps=64, seed=seed)


def commit(
    store: Store, pack_id: str, seeds: Sequence[int], status: str = "completed", sweep: str = "s", loss: float = 1.0
) -> None:
    """Commit a pack of these trials: two points of each curve and three neurons for each trial."""
    keys = [Key(trial_id=config(seed).trial_id, pack_id=pack_id) for seed in seeds]
    provenance = Provenance(
        status=TrialStatus(status), error=None if status == "completed" else "why", last_step=64, wall_time_s=1.0,
        engine="packed", device="cpu", device_name="a processor", code_version="0", library_versions="none",
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    metrics = _METRICS if status == "completed" else None
    rows = {
        "trials": [trial_row(key, config(seed), metrics, provenance) for key, seed in zip(keys, seeds, strict=True)],
        "curves": [
            {"trial_id": key.trial_id, "pack_id": pack_id, "step": step, "loss": loss, "min_loss": loss, "n_mono": 0,
             "mean_bias": 0.0, "lr": 0.1}
            for key in keys for step in STEPS
        ],
        "neurons": [
            {"trial_id": key.trial_id, "pack_id": pack_id, "step": 64, "neuron": i, "r": 0.5, "bias": 0.0, "feature": 1,
             "norm_in": 1.0, "norm_out": 1.0}
            for key in keys for i in range(N_NEURONS)
        ],
    }  # fmt: skip
    store.commit(sweep, pack_id, {name: arrow_table(name, table) for name, table in rows.items()})
