"""A pack in, snapshots out: the training loop that every executor, the debugger and the notebook share.

No files and no Ray here: a trainer turns into bytes and back, and its owner decides where they go.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor

from monosweep.model.config import SHAPE_FIELDS, ConfigError, TrialConfig
from monosweep.model.data.stream import target_map
from monosweep.model.device import reproducible, resolve
from monosweep.model.engines.cpu.compiled_step import is_gram, is_half
from monosweep.model.engines.cpu.engine import CHUNK_BYTES, PackedEngine, block_rows
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.memory import device_bytes_per_member, device_bytes_per_pack
from monosweep.model.engines.layout import Layout
from monosweep.model.engines.solo import SoloEngine, check_optimizer
from monosweep.model.families.two_layer.metrics import (
    POSITIVE_BIAS,
    LossRecord,
    NeuronStats,
    capacities,
    features_by_n_mono,
    neuron_stats,
)
from monosweep.model.families.two_layer.network import Weights
from monosweep.model.precision import DTYPES
from monosweep.model.records import CurvePoint, Metrics, NeuronRecord, TrialStatus
from monosweep.model.schedule import loss_window, lr_at, next_recorded, recorded_steps

EngineName = Literal["auto", "packed", "solo"]
RecordNeurons = Literal["final", "log2"]
Engine = PackedEngine | StackedEngine | SoloEngine
_TILE_BYTES = 2**21
"""Metrics are computed for as many members at once as fit in cache: fewer calls, and no more memory to speak of."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pack at a recorded step."""

    step: int
    final: bool
    points: list[CurvePoint | None]
    """One per member; None for a member that has diverged."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """All that one trial's rows are made of."""

    config: TrialConfig
    status: TrialStatus
    error: str | None
    last_step: int
    metrics: Metrics | None
    """None unless the trial completed."""
    curve: dict[str, ndarray]
    """Columns of `CurvePoint`."""
    neurons: dict[str, ndarray]
    """Columns of `NeuronRecord`."""
    wall_time_s: float
    """This trial's equal share of the pack's training time."""


class PackTrainer:
    """Trains a pack from recorded step to recorded step; can be saved and continued between any two calls.

    Args:
        configs: trials that agree on `model.config.SHAPE_FIELDS`; an optimizer other than Lamb trains alone.
        device: `auto`, `cpu` or `cuda`.
        record_neurons: keep neurons at the end only, or at every recorded step.
        engine: `auto` takes the packed engine wherever it can train the pack.

    Raises:
        ConfigError: if the trials cannot share a pack, or the device or optimizer does not exist.

    >>> config = TrialConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=4)
    >>> [snapshot.step for snapshot in PackTrainer([config], device="cpu")]
    [1, 2, 4]
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        device: str = "auto",
        record_neurons: RecordNeurons = "final",
        engine: EngineName = "auto",
    ) -> None:
        self.configs = tuple(configs)
        self.device = resolve(device)
        self.record_neurons: RecordNeurons = record_neurons
        _check_pack(self.configs, engine)
        with reproducible(self.device):
            self._engine = _make_engine(self.configs, self.device, engine)
        self._record = LossRecord(self.configs)
        self._curves: list[list[CurvePoint]] = [[] for _ in configs]
        self._neurons: list[list[ndarray]] = [[] for _ in configs]
        self._ended: dict[int, tuple[int, str]] = {}
        self._seconds = 0.0

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._engine.step

    @property
    def n_steps(self) -> int:
        """Optimiser steps in all."""
        return self.configs[0].n_steps

    @property
    def done(self) -> bool:
        """Whether nothing is left to train: the last step is reached, or every member has diverged."""
        return self.step == self.n_steps or len(self._ended) == len(self.configs)

    @property
    def engine(self) -> str:
        """`packed` or `solo`."""
        return self._engine.name

    @property
    def diverged(self) -> dict[int, str]:
        """Members that have diverged, by place, with the reason."""
        return {member: reason for member, (_, reason) in self._ended.items()}

    def __iter__(self) -> Iterator[Snapshot]:
        """Train to the end, yielding every snapshot."""
        while not self.done:
            snapshot = self.advance()
            assert snapshot is not None
            yield snapshot

    def advance(self, max_seconds: float = math.inf) -> Snapshot | None:
        """Train to the next recorded step and return it, or return None once about `max_seconds` have passed;
        always trains something.

        Where the trainer is interrupted does not change a bit of what it trains.
        """
        start = time.perf_counter()
        target = next_recorded(self.step, self.n_steps)
        with reproducible(self.device):
            while self.step < target and not self.done:
                self._train(min(target - self.step, self._engine.chunk))
                if time.perf_counter() - start >= max_seconds and not self._is_ahead():
                    break
            reached = self.step == target or self.done
            snapshot = self._snapshot() if reached else None
        self._seconds += time.perf_counter() - start
        return snapshot

    def _train(self, n_steps: int) -> None:
        first = self.step + 1
        losses = self._engine.advance(n_steps)
        self._record.push(losses)
        for member in np.flatnonzero(~np.isfinite(losses).all(axis=0)):
            step = first + int(np.argmin(np.isfinite(losses[:, member])))
            self._end(int(member), step, f"the loss became non-finite at step {step}")

    def _end(self, member: int, step: int, reason: str) -> None:
        if member not in self._ended:
            self._ended[member] = (step, reason)
            self._engine.freeze(member)

    def _snapshot(self) -> Snapshot:
        for member, overflowed in enumerate(self._engine.overflowed()):
            if overflowed:
                self._end(member, self.step, f"parameters or moments became non-finite by step {self.step}")
        alive = [member for member in range(len(self.configs)) if member not in self._ended]
        self._run_ahead()
        losses, least = self._record.losses(), self._record.min_losses()
        points: list[CurvePoint | None] = [None] * len(self.configs)
        for members in _tiles(alive, self.configs[0]):
            for member, point in zip(members, self._points(members, losses, least), strict=True):
                points[member] = point
        return Snapshot(self.step, self.done, points)

    def _run_ahead(self) -> None:
        """Have a GPU train on while the host looks at the weights that it has trained."""
        if isinstance(self._engine, StackedEngine) and not self.done:
            target = next_recorded(self.step, self.n_steps)
            self._engine.run_ahead(target - self.step)

    def _is_ahead(self) -> bool:
        return isinstance(self._engine, StackedEngine) and self._engine.ahead

    def _points(
        self, members: list[int], losses: Float64[ndarray, " pack"], least: Float64[ndarray, " pack"]
    ) -> list[CurvePoint]:
        """Record some members as they are now."""
        weights, stats = self._look(members)
        n_mono, mean_bias = stats.mono.sum(dim=1).tolist(), _stacked_bias(weights).double().mean(dim=1).tolist()
        points = [
            CurvePoint(
                step=self.step, loss=float(losses[member]), min_loss=float(least[member]), n_mono=n_mono[i],
                mean_bias=mean_bias[i], lr=lr_at(self.configs[member], self.step),
            )
            for i, member in enumerate(members)
        ]  # fmt: skip
        for member, point in zip(members, points, strict=True):
            self._curves[member].append(point)
        if self.record_neurons == "log2" or self.step == self.n_steps:
            for member, columns in zip(members, _neuron_columns(self.step, weights, stats), strict=True):
                self._neurons[member].append(columns)
        return points

    def _look(self, members: list[int]) -> tuple[list[Weights], NeuronStats]:
        weights = [self._engine.weights(member) for member in members]
        return weights, neuron_stats([self.configs[m] for m in members], weights, self._embeddings(members))

    def _embeddings(self, members: list[int]) -> list[Tensor]:
        return [self._engine.embedding(member) for member in members]

    def results(self) -> list[TrialResult]:
        """Every member's rows.

        Raises:
            RuntimeError: if the pack is not done.
        """
        if not self.done:
            raise RuntimeError(f"results come at the end; the pack is at step {self.step} of {self.n_steps}")
        with reproducible(self.device):
            metrics: dict[int, Metrics] = {}
            alive = [member for member in range(len(self.configs)) if member not in self._ended]
            for members in _tiles(alive, self.configs[0]):
                metrics |= zip(members, self._metrics(members), strict=True)
        return [self._result(member, metrics.get(member)) for member in range(len(self.configs))]

    def _result(self, member: int, metrics: Metrics | None) -> TrialResult:
        step, reason = self._ended.get(member, (self.step, None))
        return TrialResult(
            config=self.configs[member],
            status=TrialStatus.COMPLETED if reason is None else TrialStatus.DIVERGED,
            error=reason,
            last_step=step,
            metrics=metrics,
            curve=_columns(CurvePoint, np.array([_values(p) for p in self._curves[member]], np.float64)),
            neurons=_columns(NeuronRecord, _stack(self._neurons[member], len(_fields(NeuronRecord)))),
            wall_time_s=self._seconds / len(self.configs),
        )

    def _metrics(self, members: list[int]) -> list[Metrics]:
        config, (weights, stats) = self.configs[0], self._look(members)
        encoders = [w.w_in @ p for w, p in zip(weights, self._embeddings(members), strict=True)]
        columns = zip(
            [self._curves[member][-1] for member in members],
            stats.dead.sum(dim=1).tolist(),
            (_stacked_bias(weights) > POSITIVE_BIAS).sum(dim=1).tolist(),
            capacities(torch.stack(encoders)).sum(dim=1).tolist(),
            features_by_n_mono(config.n_features, stats),
            strict=True,
        )
        return [
            Metrics(
                loss=last.loss,
                min_loss=last.min_loss,
                n_mono=last.n_mono,
                mono_per_feature=last.n_mono / config.n_features,
                mono_per_neuron=last.n_mono / config.n_neurons,
                n_dead=n_dead,
                n_positive_bias=n_positive,
                mean_bias=last.mean_bias,
                capacity_sum=capacity,
                features_by_n_mono=by_n_mono,
            )
            for last, n_dead, n_positive, capacity, by_n_mono in columns
        ]

    def weights_bytes(self) -> bytes:
        """The members' weights as safetensors: `{trial_id}/w_in`, `bias`, `w_out`, `embedding`, `target_map`.

        Members that have diverged are left out.
        """
        tensors: dict[str, Tensor] = {}
        for member, config in enumerate(self.configs):
            if member in self._ended:
                continue
            weights = self._engine.weights(member)
            named = {"w_in": weights.w_in, "bias": weights.bias, "w_out": weights.w_out}
            named["embedding"] = self._engine.embedding(member)
            if config.task == "reprojector":
                named["target_map"] = target_map(config).to(weights.w_in)
            tensors |= {f"{config.trial_id}/{k}": v.cpu().clone() for k, v in named.items()}
        return _serialise(tensors, {"step": str(self.step)})

    def to_bytes(self) -> bytes:
        """A checkpoint (safetensors): state, records and configs; `from_bytes` continues bit for bit."""
        tensors = {f"engine.{k}": v.cpu() for k, v in self._engine.state().items()}
        tensors["recent"] = torch.from_numpy(self._record.recent)
        tensors["least"] = torch.from_numpy(self._record.least)
        for member, snapshots in enumerate(self._neurons):
            if snapshots:
                tensors[f"neurons.{member}"] = torch.from_numpy(np.stack(snapshots))
        about = {
            "configs": [c.to_dict() for c in self.configs],
            "step": self.step,
            "engine": self.engine,
            "record_neurons": self.record_neurons,
            "curves": [[asdict(p) for p in curve] for curve in self._curves],
            "ended": [[m, *why] for m, why in self._ended.items()],
            "seconds": self._seconds,
        }
        return _serialise(tensors, {_FORMAT: json.dumps(about)})

    @classmethod
    def from_bytes(cls, data: bytes, device: str = "auto") -> PackTrainer:
        """Continue from a checkpoint.

        Raises:
            ConfigError: if `data` is not a whole checkpoint of this format.
        """
        about, tensors = _read(data)
        configs = [TrialConfig.from_dict(c) for c in about["configs"]]
        trainer = cls(configs, device, about["record_neurons"], about["engine"])
        trainer._restore(about, tensors)
        return trainer

    def _restore(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        engine_state = {k.removeprefix("engine."): v for k, v in tensors.items() if k.startswith("engine.")}
        self._engine.load(engine_state, about["step"])
        self._record.recent[:] = tensors["recent"].numpy()
        self._record.least[:] = tensors["least"].numpy()
        self._record.step = about["step"]
        self._curves = [[CurvePoint(**p) for p in curve] for curve in about["curves"]]
        for member in range(len(self.configs)):
            if (saved := tensors.get(f"neurons.{member}")) is not None:
                self._neurons[member] = list(saved.numpy())
        for member, step, reason in about["ended"]:
            self._end(member, step, reason)
        self._seconds = about["seconds"]


_FORMAT = "monosweep_checkpoint_1"


def part_of_checkpoint(data: bytes, configs: Sequence[TrialConfig]) -> bytes:
    """The checkpoint of some members of a pack, cut out of the pack's own; they go on bit for bit.

    Raises:
        ConfigError: if `data` is no checkpoint, or holds other trials.
    """
    about, tensors = _read(data)
    saved = [TrialConfig.from_dict(c) for c in about["configs"]]
    if not set(saved).issuperset(configs):
        raise ConfigError("a part of a checkpoint needs members of its pack; got other trials")
    places = [saved.index(config) for config in configs]
    ended = {member: why for member, *why in about["ended"]}
    part = {k: v[places] for k, v in tensors.items() if not k.startswith("neurons.")}
    part["recent"] = _latest(tensors["recent"][places], about["step"], LossRecord(tuple(configs)).recent.shape[1])
    part |= {f"neurons.{i}": v for i, m in enumerate(places) if (v := tensors.get(f"neurons.{m}")) is not None}
    about |= {
        "configs": [about["configs"][m] for m in places],
        "curves": [about["curves"][m] for m in places],
        "ended": [[i, *ended[m]] for i, m in enumerate(places) if m in ended],
        "seconds": about["seconds"] * len(places) / len(saved),
    }
    return _serialise(part, {_FORMAT: json.dumps(about)})


def _latest(
    recent: Float64[Tensor, "pack size"], step: int, size: int
) -> Float64[Tensor, "pack newsize"]:
    """The last `size` losses of a `LossRecord`, as one that keeps no more holds them."""
    steps = torch.arange(step - size, step)
    kept = recent.new_zeros(len(recent), size)
    kept[:, steps % size] = recent[:, steps % recent.shape[1]]
    return kept


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint says of itself, and its tensors."""
    try:
        return json.loads(_metadata(data)[_FORMAT]), safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"not a monosweep checkpoint ({error}); delete it to start over") from None


def train_pack(configs: Sequence[TrialConfig], device: str = "auto") -> Iterator[Snapshot]:
    """Train a pack to the end, yielding snapshots at steps 1, 2, 4, … and the last.

    >>> config = TrialConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=2)
    >>> [(s.step, s.final) for s in train_pack([config], "cpu")]
    [(1, False), (2, True)]
    """
    return iter(PackTrainer(configs, device))


def bytes_per_member(config: TrialConfig, device: str = "cpu") -> int:
    """Memory of `device` that one more trial adds to a pack, in bytes; on a CPU: parameters and moments, their two
    copies while a checkpoint is written, records and data stream."""
    if device == "cuda":
        return device_bytes_per_member(config)
    layout, item = Layout.of(config), DTYPES[config.precision].itemsize
    recorded = len(list(recorded_steps(config.n_steps)))
    records = 8 * (loss_window(config, config.n_steps) + 9 * config.n_neurons) + 400 * recorded
    stream = config.d_embed * config.n_features * item + 2**20
    return item * 9 * layout.row + records + stream


def bytes_per_pack(config: TrialConfig, device: str = "cpu") -> int:
    """Memory of `device` that a pack needs whatever its size: libraries, buffers of one step and samples."""
    if device == "cuda":
        return device_bytes_per_pack(config)
    libraries = 800 * 2**20  # torch built for CUDA holds 680 MiB; built for CPUs 370
    layout, item = Layout.of(config), DTYPES[config.precision].itemsize
    batch, n_features = config.samples_per_step, config.n_features
    buffers = block_rows(config, layout) * (3 * layout.n_neurons + layout.n_out) + 2 * layout.row
    buffers += buffers // 2 * is_half(config)
    buffers += 2 * layout.n_neurons**2 * is_gram(config)
    samples = max(CHUNK_BYTES, batch * n_features * item) * 3 * config.d_embed / n_features
    present = 64 * max(1.0, n_features * config.feature_prob) * max(batch, CHUNK_BYTES / (n_features * item))
    return int(libraries + item * buffers + samples + present + max(_TILE_BYTES, _metric_bytes(config)))


def _check_pack(configs: tuple[TrialConfig, ...], engine: EngineName) -> None:
    if not configs:
        raise ConfigError("a pack needs at least one trial; got none")
    for name in SHAPE_FIELDS:
        values = sorted({getattr(c, name) for c in configs})
        if len(values) > 1:
            raise ConfigError(f"trials of one pack must agree on {name}; got {values}; use several packs")
    check_optimizer(configs[0])
    optimizer = configs[0].optimizer
    if engine == "packed" and optimizer != "Lamb":
        raise ConfigError(f"the packed engine trains with Lamb only; got {optimizer}; use the solo engine")
    if len(configs) > 1 and (engine == "solo" or optimizer != "Lamb"):
        raise ConfigError(f"the solo engine trains one trial at a time; got {len(configs)}; use packs of one")


def _make_engine(configs: tuple[TrialConfig, ...], device: str, engine: EngineName) -> Engine:
    packed = engine == "packed" or (engine == "auto" and configs[0].optimizer == "Lamb")
    if not packed:
        return SoloEngine(configs, device)
    return PackedEngine(configs) if device == "cpu" else StackedEngine(configs, device)


def _tiles(members: list[int], config: TrialConfig) -> list[list[int]]:
    """Members whose metrics are computed at once."""
    size = max(1, int(_TILE_BYTES // _metric_bytes(config)))
    return [members[i : i + size] for i in range(0, len(members), size)]


def _metric_bytes(config: TrialConfig) -> int:
    """Temporary memory of one member's metrics."""
    return 8 * (3 * config.n_neurons * config.n_features + 4 * config.n_features**2)


def _stacked_bias(weights: list[Weights]) -> Float[Tensor, "pack n_neurons"]:
    return torch.stack([w.bias for w in weights])


def _neuron_columns(
    step: int, weights: list[Weights], stats: NeuronStats
) -> Float64[ndarray, "pack columns n_neurons"]:
    """Columns of `NeuronRecord` of some members."""
    bias = _stacked_bias(weights)
    columns = {
        "step": torch.full(bias.shape, step),
        "neuron": torch.arange(bias.shape[1]).expand_as(bias),
        "r": stats.r,
        "bias": bias,
        "feature": stats.feature,
        "norm_in": torch.linalg.vector_norm(torch.stack([w.w_in.T for w in weights]), dim=1),
        "norm_out": torch.linalg.vector_norm(torch.stack([w.w_out for w in weights]), dim=1),
    }
    return np.stack([columns[name].cpu().double().numpy() for name in _fields(NeuronRecord)], axis=1)


def _values(point: CurvePoint) -> list[int | float]:
    return [getattr(point, name) for name in _fields(CurvePoint)]


def _stack(snapshots: list[ndarray], n_columns: int) -> ndarray:
    return np.concatenate(snapshots, axis=1).T if snapshots else np.empty((0, n_columns))


def _columns(record: type, table: ndarray) -> dict[str, ndarray]:
    """The columns of a float64 table by the record's field names; whole numbers as int64."""
    types = _fields(record)
    columns = table.reshape(-1, len(types)).T
    return {name: column.astype(kind) for (name, kind), column in zip(types.items(), columns, strict=True)}


@cache
def _fields(record: type) -> dict[str, type]:
    """Names of a record's fields, and the type that a column of it has here."""
    return {f.name: np.int64 if "int" in str(f.type).lower() else np.float64 for f in fields(record)}


def _serialise(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    data: bytes = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}, metadata)
    return data


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + length:
        raise ValueError("the file is cut short")
    return json.loads(data[8 : 8 + length])["__metadata__"]  # type: ignore[no-any-return]
