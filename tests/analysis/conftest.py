"""A small results root with the troubles of a real one, written with the real schema.

The numbers follow the `quick` sweep: at zero bias more monosemantic neurons with rising lr, at bias -1 many
everywhere, the loss about the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from monosweep.analysis.papers.jermyn2022.batches import SMALL
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import SCHEMA_VERSION, Key, Provenance, arrow_table, trial_row

from .paper_tables import Row, ideal_network, ideal_rows

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE: dict[str, Any] = {
    "n_features": 64, "d_embed": 16, "n_neurons": 128, "feature_prob": 1 / 32, "batch_size": 256,
    "n_steps": 5000,
}  # fmt: skip
RATES = (0.003, 0.01, 0.02, 0.03)
MONO = {0.0: (0.02, 0.14, 0.30, 0.34), -1.0: (0.37, 0.40, 0.40, 0.38)}
"""bias_offset -> monosemantic neurons per feature at each rate."""


@dataclass(frozen=True)
class Made:
    """A results root under construction."""

    path: Path

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        marker = {"format": "monosweep results", "schema_version": SCHEMA_VERSION}
        (self.path / "monosweep.json").write_text(json.dumps(marker))

    def write(
        self, table: str, sweep: str, pack_id: str, rows: Sequence[dict[str, Any]], lacks: Sequence[str] = ()
    ) -> Path:
        """One part; `lacks` are columns that an older version did not have."""
        folder = self.path / table / f"sweep={sweep}"
        folder.mkdir(parents=True, exist_ok=True)
        data = arrow_table(table, [{**row, "pack_id": pack_id} for row in rows]).drop_columns(list(lacks))
        pq.write_table(data, folder / f"part-{pack_id}.parquet")
        return folder / f"part-{pack_id}.parquet"

    def commit(self, sweep: str, pack_id: str, trials: Sequence[dict[str, Any]]) -> None:
        """A whole pack: neurons and curves, then the trials."""
        self.write("neurons", sweep, pack_id, [n for t in trials for n in neurons_of(t)])
        self.write("curves", sweep, pack_id, [c for t in trials for c in curve_of(t)])
        self.write("trials", sweep, pack_id, trials)

    def weights(self, sweep: str, pack_id: str, trials: Sequence[dict[str, Any]], step: int = 5000) -> None:
        folder = self.path / "weights" / f"sweep={sweep}"
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"{t['trial_id']}/{k}": v for t in trials for k, v in weights_of(t).items()}
        save_file(tensors, folder / f"part-{pack_id}-step{step:010d}.safetensors")


def trial(
    pack_id: str = "p0",
    status: TrialStatus = TrialStatus.COMPLETED,
    at: float = 0.0,
    error: str | None = None,
    metrics: dict[str, Any] | None = None,
    **config: Any,
) -> dict[str, Any]:
    """A row of `trials`, finished `at` seconds after the start; its numbers follow from the config."""
    made = TwoLayerConfig.from_dict({**BASE, **config})
    provenance = Provenance(
        status=status, error=error, last_step=made.n_steps, wall_time_s=2.5, engine="packed", device="cpu",
        device_name="a processor", code_version="0.1.0", library_versions="torch 2.13.0",
        finished_at=START + timedelta(seconds=at),
    )  # fmt: skip
    row = trial_row(Key(trial_id=made.trial_id, pack_id=pack_id), made, None, provenance)
    return {**row, **(_metrics(made) if status is TrialStatus.COMPLETED else {}), **(metrics or {})}


def _metrics(config: TwoLayerConfig) -> dict[str, Any]:
    rng = np.random.default_rng(config.seed)
    family = MONO[min(MONO, key=lambda b: abs(b - config.bias_offset))]
    mono = float(np.interp(np.log(config.lr), np.log(RATES), family)) + rng.normal(0, 0.015)
    n_mono = max(0, round(mono * config.n_features))
    loss = 0.274 - 0.003 * (config.bias_offset < 0) + 0.002 * abs(np.log(config.lr / 0.01))
    loss += rng.normal(0, 7e-4)
    n_poly = 17 if config.bias_offset < 0 else config.n_neurons - n_mono - 10
    return {
        "loss": float(loss), "min_loss": float(loss) * 0.97, "n_mono": n_mono,
        "mono_per_feature": n_mono / config.n_features, "mono_per_neuron": n_mono / config.n_neurons,
        "n_dead": 2, "n_positive_bias": n_poly, "mean_bias": -0.05 if config.bias_offset else 0.02,
        "capacity_sum": 15.5, "features_by_n_mono": [config.n_features - n_mono, n_mono],
    }  # fmt: skip


def curve_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Recorded steps of a completed trial: loss falls, mono rises late, bias drifts."""
    steps = sorted({2**i for i in range(13)} | {row["n_steps"]})
    for step in steps if row.get("loss") else []:
        done = np.log2(step) / np.log2(row["n_steps"])
        start, excess = row["bias_offset"], 0.4 * (1 - done) ** 0.7
        yield {
            "trial_id": row["trial_id"], "pack_id": row["pack_id"], "step": step,
            "loss": row["loss"] + excess, "min_loss": row["min_loss"] + excess,
            "n_mono": round(row["n_mono"] * max(0.0, 2 * done - 1) ** 1.5), "lr": row["lr"],
            "mean_bias": start + (row["mean_bias"] - start) * done**3,
        }  # fmt: skip


def neurons_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The neurons at the end: monosemantic ones with negative bias, the others with positive bias or dead."""
    rng = np.random.default_rng(row["seed"] + 7)
    for neuron in range(row["n_neurons"] if row.get("loss") else 0):
        mono, poly = neuron < row["n_mono"], neuron < row["n_mono"] + row["n_positive_bias"]
        bias = rng.normal(-0.12, 0.02) if mono else rng.normal(0.2, 0.06) if poly else rng.normal(-0.5, 0.1)
        yield {
            "trial_id": row["trial_id"], "pack_id": row["pack_id"], "step": row["n_steps"], "neuron": neuron,
            "r": 1.0 if mono else float(rng.uniform(0.02, 0.3)) if poly else 0.0, "bias": float(bias),
            "feature": int(rng.integers(row["n_features"])), "norm_in": 1.0, "norm_out": 1.0,
        }  # fmt: skip


def weights_of(row: dict[str, Any]) -> dict[str, np.ndarray]:
    """A network with row['n_mono'] neurons along a feature each; the rest answer many features."""
    rng = np.random.default_rng(row["seed"])
    k, n, d = row["n_neurons"], row["n_features"], row["d_embed"]
    u = np.linalg.svd(rng.normal(size=(n, d)), full_matrices=False)[0]
    embedding = (u / np.linalg.norm(u, axis=1, keepdims=True)).T
    w_in, bias = rng.normal(0, 0.35, (k, d)), np.abs(rng.normal(0.1, 0.05, k))
    owners = rng.permutation(k)[: row["n_mono"]]
    w_in[owners], bias[owners] = embedding[:, rng.permutation(n)[: row["n_mono"]]].T, -0.93
    tensors = {"w_in": w_in, "bias": bias, "w_out": np.linalg.pinv(w_in @ embedding), "embedding": embedding}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}


def quick_trials(pack_id: str, seeds: Sequence[int] = (0, 1), **config: Any) -> list[dict[str, Any]]:
    """The quick sweep's grid."""
    knobs = [(b, 0.12 if b else 0.0, lr, s) for b in MONO for lr in RATES for s in seeds]
    return [trial(pack_id, bias_offset=b, bias_decay=decay, lr=lr, seed=s, **config) for b, decay, lr, s in knobs]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """An empty results root."""
    return Made(tmp_path / "results")


@pytest.fixture(scope="session")
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made, trials = Made(tmp_path_factory.mktemp("quick") / "results"), quick_trials("p0")
    made.commit("quick", "p0", trials)
    made.weights("quick", "p0", trials)
    return made


@pytest.fixture
def quick(_quick: Made, made: Made) -> Made:
    """The quick sweep, finished, with weights; a copy that may be spoilt."""
    shutil.copytree(_quick.path, made.path, dirs_exist_ok=True)
    return made


@pytest.fixture
def troubled(quick: Made) -> Made:
    """The quick sweep and what else may happen to a root; two trials beside the quick ones are shown.

    A retry that repeats two of its trials (later), a failure that was retried, a trial that diverged and one
    that failed, an older part without two of the columns, and a pack that was killed before its commit.
    """
    again = [dict(t, pack_id="p1", loss=9.0) for t in quick_trials("p1")[:2]]
    for row in again:
        row["finished_at"] = START + timedelta(hours=1)
    quick.commit("quick", "p1", again)
    failed_first = trial("p2", TrialStatus.FAILED, -60, "ran out of memory", lr=0.003, seed=0)
    quick.write("trials", "quick", "p2", [failed_first])
    diverged = trial("p3", TrialStatus.DIVERGED, 5, "loss is nan at step 40", lr=1e6)
    failed = trial("p3", TrialStatus.FAILED, 5, "worker died", lr=0.5)
    quick.write("trials", "other", "p3", [diverged, failed])
    old = [trial("p4", lr=0.007, seed=s) for s in (0, 1)]
    quick.write("trials", "older", "p4", old, lacks=["capacity_sum", "device_name"])
    killed = trial("p5", lr=0.009)
    quick.write("curves", "quick", "p5", list(curve_of(killed)))
    quick.write("neurons", "quick", "p5", list(neurons_of(killed)))
    return quick


STEPS = (1, 1024, 15872)
"""At which `small` has neurons."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """All batches of the small size as the paper describes them, one seed, not to be changed; LR1, LR3 and RP1 with
    neurons, and with E3 with weights."""
    made = Made(tmp_path_factory.mktemp("small") / "results")
    rows = [{k: v for k, v in row.items() if k != "sweep"} for row in ideal_rows(SMALL, seeds=1)]
    kept = [r for r in rows if any(SMALL.batches[b].holds(r) for b in ("LR1", "LR3", "RP1", "E3"))]
    made.write("neurons", "s", "p0", [n for r in kept if r["n_steps"] == STEPS[-1] for n in _growing(r)])
    made.write("curves", "s", "p0", [c for r in rows for c in curve_of(r)])
    made.write("trials", "s", "p0", rows)
    (made.path / "weights" / "sweep=s").mkdir(parents=True)
    weights = {f"{r['trial_id']}/{k}": v.copy() for r in kept for k, v in ideal_network().items()}
    save_file(weights, made.path / "weights" / "sweep=s" / "part-p0-step0000015872.safetensors")
    return made


def _growing(row: Row) -> list[Row]:
    """Neurons at three steps; the later, the larger is r."""
    final = list(neurons_of(row))
    return [{**n, "step": step, "r": n["r"] * i / 2} for i, step in enumerate(STEPS) for n in final]
