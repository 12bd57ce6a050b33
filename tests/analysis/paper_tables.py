"""Tables in which the paper's findings are all true, made from the presets' own trials; and ways to make them false."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from monosweep.analysis.papers.jermyn2022.batches import Scale
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from monosweep.sweep.store.schema import Key, Provenance, trial_row

Row = dict[str, Any]


def ideal_rows(scale: Scale, *names: str, seeds: int = 3, noise: float = 0.002) -> list[Row]:
    """Rows of the batches `names` (all if none is given) as the paper describes them, with a little noise."""
    presets = [f"{scale.name}/{name}" for name in names] or [scale.name]
    sets = [f"seed={list(range(seeds))}", "repeats=1"]
    configs = {c.trial_id: c for name in presets for c in expand(load_spec(name, sets))}
    return [row_of(config, scale, noise) for config in configs.values()]


def row_of(config: TwoLayerConfig, scale: Scale, noise: float = 0.0) -> Row:
    provenance = Provenance(
        status=TrialStatus.COMPLETED, last_step=config.n_steps, wall_time_s=1.0, engine="packed", device="cpu",
        device_name="a processor", code_version="0.1.0", library_versions="",
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    rng = np.random.default_rng(int(config.trial_id[:8], 16))
    mono, loss = (value * (1 + noise * rng.normal()) for value in _described(config, scale))
    n, k, lifted = config.n_features, config.n_neurons, _rate(config) >= 1
    n_mono = round(mono * n)
    metrics = {
        "loss": loss, "min_loss": 0.95 * loss, "n_mono": n_mono, "mono_per_feature": mono,
        "mono_per_neuron": mono * n / k, "n_dead": k // 20 if lifted else 0, "n_positive_bias": config.d_embed + 1,
        "mean_bias": 0.1 - 0.5 * _rate(config), "capacity_sum": float(config.d_embed),
        "features_by_n_mono": [max(0, n - n_mono), min(n, n_mono)],
    }  # fmt: skip
    return trial_row(Key(trial_id=config.trial_id, pack_id="p0"), config, None, provenance) | metrics | {"sweep": "s"}


def _rate(config: TwoLayerConfig) -> float:
    """0 at lr .001, 1 at .03."""
    return math.log(config.lr / 0.001) / math.log(30) + 1e-9


def _described(config: TwoLayerConfig, scale: Scale) -> tuple[float, float]:
    """(monosemantic neurons per feature, loss) as the paper has them."""
    if config.task == "abs":
        mono = 0.1 + 0.6 * _rate(config)
        if config.n_steps == scale.long_steps:
            mono = 0.4 - 0.15 * math.log10(config.bias_decay)
        return mono, 3 - mono
    if config.task == "reprojector":
        return 0.95, 0.2
    if config.activation == "gelu":
        return 0.8 * math.exp(-((config.bias_offset + 1) ** 2)), 0.3
    octaves = math.log2(config.n_neurons * config.connectivity / config.n_features)
    loss = 0.27 - 0.5 * min(0, octaves) - 0.002 * max(0, octaves)
    if config.connectivity < 1:
        return 0.8, 1.05 * loss
    if config.bias_offset >= scale.bias_threshold(config.feature_prob):
        if config.l1:
            return (0.8 if config.l1 == 1e-3 else 0.3), loss * (2 if config.l1 > 0.05 else 1)
        return (0.02 + 0.95 * _rate(config)) * 2 ** min(0, octaves - 1), loss
    loss *= 1 if octaves <= -2 else 1.02 if octaves <= 0 else 0.99
    return 0.95 * _by_density(config, scale) * 2 ** (octaves - 1 - 0.415 * (abs(octaves) - 1)), loss


def _by_density(config: TwoLayerConfig, scale: Scale) -> float:
    x = math.log2(config.feature_prob * config.n_features / config.d_embed / 0.25)
    if x > 0:
        return max(0.0, 1 - x / 3)
    return 1.0 if config.n_steps == scale.long_steps else 2 ** (0.2 * x)


def _where(condition: Callable[[Row], bool], **changes: Any) -> Callable[[Row], Row]:
    """A row changed where `condition` holds; a change is a value or a function of the row."""

    def spoil(row: Row) -> Row:
        if not condition(row):
            return row
        return row | {k: v(row) if callable(v) else v for k, v in changes.items()}

    return spoil


def _scaled(name: str, factor: float) -> Callable[[Row], float]:
    return lambda row: float(row[name] * factor)


def _turned(name: str) -> Callable[[Row], float]:
    return lambda row: 1.0 - float(row[name])


def _zero(row: Row) -> bool:
    return bool(row["bias_offset"] == 0)


def _abs(row: Row) -> bool:
    return bool(row["task"] == "abs")


def _always(row: Row) -> bool:
    return True


MONO = "mono_per_feature"
SPOILT: dict[str, Callable[[Row], Row]] = {
    "LR1 same loss": _where(lambda r: _zero(r) and r["lr"] > 0.02, min_loss=_scaled("min_loss", 1.2)),
    "LR1 more mono": _where(_zero, **{MONO: _turned(MONO)}),
    "LR1 lower bias": _where(_zero, mean_bias=_turned("mean_bias")),
    "LR1 all features": _where(_zero, features_by_n_mono=lambda r: [r["n_features"] - 9, 9]),
    "LR1 one each": _where(_zero, features_by_n_mono=lambda r: [0, r["n_features"] // 2, r["n_features"] // 2]),
    "LR3 mono": _where(lambda r: r["bias_offset"] == -1 and r["lr"] == 0.005, **{MONO: 0.1}),
    "LR3 loss": _where(lambda r: r["bias_offset"] == -1, loss=_scaled("loss", 1.05)),
    "LR3 d + 1": _where(_always, n_positive_bias=_scaled("n_positive_bias", 1.3)),
    "LR3 unused": _where(_always, n_dead=7),
    "B level": _where(_always, mono_per_neuron=_scaled("mono_per_neuron", 0.2)),
    "B drop": _where(_always, mono_per_neuron=0.4),
    "G3 peak": _where(lambda r: r["activation"] == "gelu", **{MONO: lambda r: 0.8 if r["bias_offset"] < -1.6 else 0.4}),
    "K0 loss falls": _where(lambda r: r["n_neurons"] == r["n_features"], loss=99.0),
    "K0 loss levels": _where(lambda r: r["n_neurons"] == r["n_features"], loss=1.0),
    "K1 narrow": _where(lambda r: _zero(r) and 4 * r["n_neurons"] <= r["n_features"], loss=_scaled("loss", 1.1)),
    "K1 middle": _where(lambda r: _zero(r) and r["n_neurons"] <= r["n_features"], loss=_scaled("loss", 1.1)),
    "K1 wide": _where(lambda r: _zero(r) and r["n_neurons"] > r["n_features"], loss=_scaled("loss", 0.9)),
    "K1 peak": _where(lambda r: 8 * r["n_neurons"] == r["n_features"], mono_per_neuron=0.99),
    "ER1 loss": _where(lambda r: r["connectivity"] < 1, loss=_scaled("loss", 0.9)),
    "E1 peak": _where(lambda r: r["feature_prob"] < 1 / 200, **{MONO: 2.0}),
    "E1 decline": _where(_always, **{MONO: _scaled("feature_prob", 1.0)}),
    "E1 none": _where(lambda r: r["feature_prob"] > 0.2, **{MONO: 0.2}),
    "E1 smooth": _where(lambda r: r["n_features"] * r["feature_prob"] > 0.3 * r["d_embed"], **{MONO: 0.001}),
    "E3 recovers": _where(lambda r: r["n_steps"] > 60000 and r["feature_prob"] < 1 / 60, **{MONO: 0.0}),
    "RP1 one each": _where(lambda r: r["task"] == "reprojector", **{MONO: 0.1}),
    "LR5 loss": _where(_abs, min_loss=_scaled(MONO, 1.0)),
    "D1 loss": _where(_abs, min_loss=_scaled(MONO, 1.0)),
    "LR5 rate": _where(_abs, **{MONO: _scaled("n_neurons", 0.0)}),
    "D1 decay": _where(_abs, **{MONO: _scaled("bias_decay", 1.0)}),
    "RG1 best": _where(lambda r: r["l1"] > 0, **{MONO: _scaled(MONO, 0.1)}),
}
"""For every claim on rows of trials alone a change that makes it false at either size."""


def frame() -> np.ndarray:
    """An embedding of 128 features in 32 dimensions: four orthonormal bases whose overlaps are .375 at most."""
    walsh = np.ones((1, 1))
    for _ in range(5):
        walsh = np.block([[walsh, walsh], [walsh, -walsh]])
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        one, two = rng.choice([-1.0, 1.0], (2, 32))
        if max(np.abs(walsh @ signs).max() for signs in (one, two, one * two)) <= 12:
            turned = [walsh, one[:, None] * walsh, two[:, None] * walsh]
            return np.hstack([np.eye(32), *(basis / 32**0.5 for basis in turned)])
    raise AssertionError("no such signs")


def ideal_network(kink: float = 0.4) -> dict[str, np.ndarray]:
    """256 neurons as section 5 describes them: 64 of positive bias that make half of the features' projection in
    opposite pairs, 128 monosemantic ones that wake at `kink`, and 64 that never do."""
    embedding = frame()
    poly_in = np.vstack([np.eye(32), -np.eye(32)])
    poly_out = np.hstack([embedding.T, -embedding.T]) / 8  # their map is PᵀP/4: P is a tight frame of 4 bases
    mono_out = np.eye(128) * 0.75 / (1 - kink)
    tensors = {
        "w_in": np.vstack([poly_in, embedding.T, np.zeros((64, 32))]),
        "bias": np.concatenate([np.full(64, 2.0), np.full(128, -kink), np.full(64, -5.0)]),
        "w_out": np.hstack([poly_out, mono_out, np.zeros((128, 64))]),
        "embedding": embedding,
    }
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}
