"""What a benchmark process repeats: steps of an engine, the bare matrix products, or a pass over memory.

A load is prepared once and then called again and again; each call does some work and returns how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from monosweep.model.device import reproducible
from monosweep.model.engines.cpu import elementwise
from monosweep.model.engines.cpu import gemm as products
from monosweep.model.engines.cpu.compiled_step import is_half
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.cpu.gemm import gemm
from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.engines.cpu.step import block_rows
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout

Kind = Literal["packed", "solo", "gemm", "numpy", "torch", "memory"]
Burst = Callable[[], float]
"""Does a little work; returns how much, in the unit of its kind."""


@dataclass(frozen=True, slots=True)
class Load:
    """Work for one process.

    `packed` and `solo` train and count model-steps; `gemm`, `numpy` and `torch` do only the five products of a
    step, as the packed engine's compiled steps call them or from Python, and count model-steps; `memory` adds two
    arrays into a third, together as large as what one step touches, and counts bytes.
    """

    kind: Kind
    configs: tuple[TwoLayerConfig, ...]
    """Trials of one shape; all but `packed` take the first."""

    def prepare(self) -> Burst:
        """Allocate everything."""
        if self.kind == "packed":
            return _packed(self.configs)
        if self.kind == "solo":
            return _solo(self.configs[0])
        if self.kind == "memory":
            return _memory(self.configs[0])
        if self.kind == "gemm":
            return _compiled_products(self.configs[0])
        return _products(self.configs[0], np.matmul if self.kind == "numpy" else _torch_matmul)


@contextmanager
def one_thread() -> Iterator[None]:
    """As a worker trains: by itself on its core, for the length of a block."""
    with reproducible("cpu"), products.one_thread():
        yield


def kernels() -> str:
    """What multiplies NumPy's matrices in this process."""
    return products.kernels()


def _packed(configs: tuple[TwoLayerConfig, ...]) -> Burst:
    engine = PackedEngine(configs)

    def burst() -> float:
        return float(engine.advance(engine.chunk).size)

    return burst


def _solo(config: TwoLayerConfig) -> Burst:
    engine = SoloEngine((config,), "cpu")

    def burst() -> float:
        return float(engine.advance(1).size)

    return burst


def _torch_matmul(a: ndarray, b: ndarray, out: ndarray) -> None:
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))


def _products(config: TwoLayerConfig, matmul: Callable[..., object]) -> Burst:
    """The products of `model.engines.cpu.engine`, in its layouts and blocks, float32."""
    x, encoder, decoder, h, error, out_encoder, out_decoder = _operands(config)
    out_h, out_error = np.empty_like(h), np.empty_like(error)

    def burst() -> float:
        for _ in range(math.ceil(config.samples_per_step / len(x))):
            matmul(x, encoder, out=out_h)
            matmul(h, decoder.T, out=out_error)
            matmul(error.T, h, out=out_decoder)
            matmul(error, decoder, out=out_h)
            matmul(x.T, h, out=out_encoder)
        return 1.0

    return burst


def _compiled_products(config: TwoLayerConfig) -> Burst:
    """The same without Python between them; of bfloat16 where compiled steps multiply that."""
    *operands, out_encoder, out_decoder = _operands(config)
    results = (np.empty_like(operands[3]), np.empty_like(operands[4]), out_encoder, out_decoder)
    if is_half(config):
        operands, exact = [np.empty(a.shape, np.uint16) for a in operands], operands
        for source, half in zip(exact, operands, strict=True):
            elementwise.to_bf16(source, half)
    blocks = math.ceil(config.samples_per_step / len(operands[0]))

    def burst() -> float:
        _multiply(*operands, *results, blocks)
        return 1.0

    return burst


@compiled
def _multiply(x, encoder, decoder, h, error, out_h, out_error, out_encoder, out_decoder, blocks):  # type: ignore[no-untyped-def]
    for block in range(blocks):
        gemm(x, False, encoder, False, out_h, False)
        gemm(h, False, decoder, True, out_error, False)
        gemm(error, True, h, False, out_decoder, block > 0)
        gemm(error, False, decoder, False, out_h, False)
        gemm(x, True, h, False, out_encoder, block > 0)


def _operands(config: TwoLayerConfig) -> list[Float32[ndarray, "rows columns"]]:
    """A block's x, the encoder, the decoder, h and the error; where the two gradients go."""
    layout, draw = Layout.of(config), np.random.default_rng(0)
    rows, d, k = block_rows(config, layout), layout.d_embed, layout.n_neurons
    shapes = ((rows, d), (d, k), (layout.n_out, k), (rows, k), (rows, layout.n_out), (d, k), (layout.n_out, k))
    return [draw.standard_normal(shape, np.float32) for shape in shapes]


def _memory(config: TwoLayerConfig) -> Burst:
    layout = Layout.of(config)
    touched = block_rows(config, layout) * (2 * layout.n_neurons + layout.n_out) + 4 * layout.row
    a, b, c = (np.ones(math.ceil(touched / 3), np.float32) for _ in range(3))

    def burst() -> float:
        np.add(a, b, out=c)
        return float(a.nbytes + b.nbytes + c.nbytes)

    return burst
