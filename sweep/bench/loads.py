"""What a benchmark process repeats: steps of an engine, the bare matrix products, or a pass over memory.

A load is prepared once and then called again and again; each call does some work and returns how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy import ndarray

from model.config import TrialConfig
from model.layout import Layout
from model.packed import PackedEngine, block_rows
from model.solo import SoloEngine

Kind = Literal["packed", "solo", "openblas", "torch", "memory"]
Burst = Callable[[], float]
"""Does a little work; returns how much, in the unit of its kind."""


@dataclass(frozen=True, slots=True)
class Load:
    """Work for one process.

    `packed` and `solo` train and count model-steps; `openblas` and `torch` do only the five products of a
    step, with NumPy or torch, and count model-steps; `memory` adds two arrays into a third, together as large
    as what one step touches, and counts bytes.
    """

    kind: Kind
    configs: tuple[TrialConfig, ...]
    """Trials of one shape; all but `packed` take the first."""

    def prepare(self) -> Burst:
        """Allocate everything."""
        if self.kind == "packed":
            return _packed(self.configs)
        if self.kind == "solo":
            return _solo(self.configs[0])
        if self.kind == "memory":
            return _memory(self.configs[0])
        return _products(self.configs[0], np.matmul if self.kind == "openblas" else _torch_matmul)


def _packed(configs: tuple[TrialConfig, ...]) -> Burst:
    engine = PackedEngine(configs)

    def burst() -> float:
        return float(engine.advance(engine.chunk).size)

    return burst


def _solo(config: TrialConfig) -> Burst:
    engine = SoloEngine((config,), "cpu")

    def burst() -> float:
        return float(engine.advance(1).size)

    return burst


def _torch_matmul(a: ndarray, b: ndarray, out: ndarray) -> None:
    torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))


def _products(config: TrialConfig, matmul: Callable[..., object]) -> Burst:
    """The products of `model.packed`, in its layouts and blocks."""
    layout, draw = Layout.of(config), np.random.default_rng(0)
    rows = block_rows(config, layout)
    x, h, error = (
        draw.standard_normal((rows, n), np.float32)
        for n in (layout.d_embed + 1, layout.n_neurons, layout.n_out)
    )
    encoder, decoder = (
        draw.standard_normal((n, layout.n_neurons), np.float32) for n in (layout.d_embed + 1, layout.n_out)
    )
    out_h, out_error, out_encoder, out_decoder = (np.empty_like(a) for a in (h, error, encoder, decoder))

    def burst() -> float:
        for _ in range(math.ceil(config.samples_per_step / rows)):
            matmul(x, encoder, out=out_h)
            matmul(h, decoder.T, out=out_error)
            matmul(error.T, h, out=out_decoder)
            matmul(error, decoder, out=out_h)
            matmul(x.T, h, out=out_encoder)
        return 1.0

    return burst


def _memory(config: TrialConfig) -> Burst:
    layout = Layout.of(config)
    touched = block_rows(config, layout) * (2 * layout.n_neurons + layout.n_out) + 4 * layout.row
    a, b, c = (np.ones(math.ceil(touched / 3), np.float32) for _ in range(3))

    def burst() -> float:
        np.add(a, b, out=c)
        return float(a.nbytes + b.nbytes + c.nbytes)

    return burst
