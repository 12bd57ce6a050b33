"""The packed engine of models of superposition on a CPU.

FeatureStream -> _Group -> step.train_chunk -> losses
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import OPTIMIZERS, Meanings
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.cpu.elementwise import lamb_constants
from monosweep.model.engines.cpu.pack import CHUNK_BYTES, CpuEngine
from monosweep.model.engines.cpu.superposition.step import ADAM, ADAMW, ALIGN, LAMB, SGD, samples_of, train_chunk
from monosweep.model.families.superposition.config import SuperpositionConfig
from monosweep.model.families.superposition.network import Superposition, stream_key
from monosweep.model.optimizers import STATES
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

BLOCK_BYTES = 2**20
"""Features and answers of one block of samples: what stays in cache."""
_UPDATES = Meanings("optimizer", {"Lamb": LAMB, "Adam": ADAM, "AdamW": ADAMW, "SGD": SGD})
_NUMBERS = ("weight_decay", "beta1", "beta2", "eps", "momentum")
_PASSES = {"relu": True, "none": False}
"""Whether answers go through a ReLU, by the activations that are trained here."""


def trains(config: SuperpositionConfig) -> bool:
    """Whether trials of this shape are trained here; a layer that stays the identity changes nothing."""
    plain = config.activation in _PASSES and config.hidden != "trained"
    return plain and config.optimizer in OPTIMIZERS and config.precision in ("fp32", "fp64")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a trial's tensors lie in a row: w, then the bias."""

    n: int
    m: int

    @property
    def row(self) -> int:
        """Elements of a row."""
        return (self.m + 1) * self.n

    def named(self, row: Float[Tensor, " row"]) -> Mapping[str, Tensor]:
        """A trial's tensors as its family names them, as views."""
        return {"w": row[: self.m * self.n].view(self.m, self.n), "bias": row[self.m * self.n :]}

    def write(self, row: Float[Tensor, " row"], tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Copy a trial's tensors, or others with such a prefix, into a row."""
        for name, own in self.named(row).items():
            own.copy_(tensors[prefix + name])


@dataclass(slots=True)
class _Member:
    config: SuperpositionConfig
    joined: int
    stream: object
    rows: tuple[Float[ndarray, " row"], ...]
    """Parameters and what the optimizer keeps, three in all."""
    importance: Float[ndarray, " n"]
    settings: tuple[Any, ...]
    """As `train_chunk` reads them."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """Those samples of some steps that hold a feature, as `samples_of` finds them."""

    columns: Int32[ndarray, " present"]
    features: Int32[ndarray, " present"]
    values: Float[ndarray, " present"]
    bounds: Int64[ndarray, " steps_plus_1"]
    counts: Int32[ndarray, " steps"]


class _Group:
    """Trials that read one stream."""

    def __init__(self, config: SuperpositionConfig) -> None:
        self._config, self._dtype = config, torch.zeros(0, dtype=DTYPES[config.precision]).numpy().dtype
        independent = config.presence == "independent"
        self._stream = FeatureStream(stream_key(config)) if independent else None
        self._sampler = Superposition.sampler(config)

    def chunk(self, first: int, n_steps: int) -> _Samples:
        """Draw some steps."""
        cells, values = self._stream.steps(first, n_steps) if self._stream else self._dense(first, n_steps)
        columns, features = (np.empty(len(cells), np.int32) for _ in range(2))
        bounds, counts = np.empty(n_steps + 1, np.int64), np.empty(n_steps, np.int32)
        samples_of(
            cells, self._config.n_features, self._config.samples_per_step, n_steps, columns, features, bounds, counts
        )
        return _Samples(columns, features, values.astype(self._dtype), bounds, counts)

    def _dense(self, first: int, n_steps: int) -> tuple[Int64[ndarray, " present"], Float[ndarray, " present"]]:
        drawn = np.concatenate([self._sampler(first + i)["x"].numpy().ravel() for i in range(n_steps)])
        cells = np.flatnonzero(drawn)
        return cells, drawn[cells]


class SuperpositionEngine(CpuEngine[_Member, _Group]):
    """Trains a pack of models of superposition of one shape on one thread of a CPU.

    Args:
        configs: trials that agree on their shape, which `trains` knows.
    """

    layout: Layout

    def __init__(self, configs: Sequence[SuperpositionConfig]) -> None:
        config, kept = configs[0], STATES[configs[0].optimizer]
        n, m = config.n_features, config.d_hidden
        self._dtype = torch.zeros(0, dtype=DTYPES[config.precision]).numpy().dtype
        block = block_rows(config)
        self._sizes = n, m, config.samples_per_step, block, _PASSES[config.activation]
        layout = Layout(n, m)
        lengths = (*(layout.row,) * 4, (m + 1) * block, m * block, n * block, n * block)
        self._buffers = tuple(_aligned(length, self._dtype) for length in lengths)
        super().__init__(configs, layout, {"params": "", **{name: f"{name}." for name in kept}})

    def _start(self, config: SuperpositionConfig) -> Mapping[str, Tensor]:
        return Superposition.start(config)

    def _held(self, config: SuperpositionConfig, rows: Sequence[Float[ndarray, " row"]], joined: int) -> _Member:
        importance = Superposition.fixed(config)["importance"].numpy().astype(self._dtype)
        own = (*rows, rows[-1])[:3]  # SGD keeps but one
        return _Member(config, joined, config.stream(), own, importance, self._settings(config))

    def _settings(self, config: SuperpositionConfig) -> tuple[Any, ...]:
        """Which update, LAMB's constants, and the numbers of the others; gradients lack a factor of 2 / batch."""
        factor = 2 / config.samples_per_step
        decay, beta1, beta2, eps, momentum = (_number(config, name) for name in _NUMBERS)
        numbers = decay, 1 - beta1, beta2, eps, momentum, factor, 1 - beta2
        constants = tuple(lamb_constants(self._dtype, factor))
        return (_UPDATES[config.optimizer], constants, *(self._dtype.type(number) for number in numbers))

    def _group(self, member: _Member) -> _Group:
        return _Group(member.config)

    def _train(
        self, group: _Group, members: Sequence[_Member], done: int, n_steps: int
    ) -> Float64[ndarray, "steps members"]:
        chunk = group.chunk(done + 1, n_steps)
        samples = chunk.columns, chunk.features, chunk.values, chunk.bounds, chunk.counts
        rates = lr_table([member.config for member in members], [done] * len(members), n_steps).T
        steps, losses = np.arange(done + 1, done + n_steps + 1), np.empty((len(members), n_steps))
        for member, lr, loss in zip(members, rates.astype(self._dtype, order="C"), losses, strict=True):
            first, second = (1 - _number(member.config, name) ** steps for name in ("beta1", "beta2"))
            rate = lr, first.astype(self._dtype), np.sqrt(second).astype(self._dtype)
            train_chunk(
                member.rows, member.importance, samples, rate, member.settings, self._buffers, self._sizes, loss
            )
        return losses.T

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""
        config = self._member(slot).config
        return {name: tensor.to(DTYPES[config.precision]) for name, tensor in Superposition.fixed(config).items()}


def _number(config: SuperpositionConfig, name: str) -> float:
    """One of an optimizer's numbers; 0 where another optimizer has it."""
    value: float | None = getattr(config, name)
    return 0.0 if value is None else value


def block_rows(config: SuperpositionConfig) -> int:
    """Samples of one block, a multiple of `ALIGN`."""
    most = BLOCK_BYTES // (2 * config.n_features * DTYPES[config.precision].itemsize)
    return max(ALIGN, min(-(-config.samples_per_step // ALIGN) * ALIGN, most // ALIGN * ALIGN))


def _aligned(length: int, dtype: np.dtype[Any]) -> ndarray:
    """Zeros that begin where a cache line does: a library may multiply otherwise by where a matrix lies."""
    raw = np.zeros(length + 64 // dtype.itemsize, dtype)
    start = -raw.ctypes.data % 64 // dtype.itemsize
    return raw[start : start + length]


def superposition_bytes(config: SuperpositionConfig) -> tuple[int, int]:
    """Bytes that a pack takes whatever its size, and for each member: parameters and moments, their copies while a
    checkpoint is written, and the data stream."""
    item, n, m = DTYPES[config.precision].itemsize, config.n_features, config.d_hidden
    present = 64 * max(1.0, n * config.feature_prob) * max(config.samples_per_step, CHUNK_BYTES / (n * item))
    buffers = block_rows(config) * (2 * n + 2 * m + 1) + 4 * (m + 1) * n
    return int(item * buffers + present), item * 9 * (m + 1) * n + int(present)
