"""One optimiser step after another of one trial, its gradients written out by hand: compiled where it can be, else in
Python between compiled passes.

    Chunk, Member -> Step.train -> losses        Member's rows: changed in place
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt16
from numpy import ndarray

from monosweep.model.engines.cpu import elementwise
from monosweep.model.engines.cpu.compiled_step import is_fused, is_gram, is_half, train_chunk
from monosweep.model.engines.cpu.member import Member
from monosweep.model.engines.cpu.products import products
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.decay import DECAY_SHARES
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.weights import activate, activation_slope
from monosweep.model.precision import DTYPES

BLOCK_BYTES = 4 * 2**20
"""Activations of one block of samples; a larger batch is worked through in blocks, so that they stay in cache."""
MIN_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """Inputs and targets of some consecutive steps of a group."""

    x: Float[ndarray, "steps batch d_embed"] | UInt16[ndarray, "steps batch d_embed"]
    """Embedded samples; rounded to bfloat16 for compiled steps that multiply it."""
    cells: Int64[ndarray, " present"]
    """Where features are present, counted through the chunk's samples."""
    values: Float[ndarray, " present"]
    """The target there."""
    bounds: Int64[ndarray, " blocks"]
    """Where each block of samples begins among the cells, and the end."""
    dense: Float[ndarray, "steps batch d_embed"] | None
    """The target of `reprojector`; the others' lies at `cells`."""


class Step:
    """Buffers for the steps of one trial after another, and the step itself."""

    def __init__(self, config: TwoLayerConfig, layout: Layout) -> None:
        self.config, self.layout = config, layout
        self.dtype = torch.zeros(0, dtype=DTYPES[config.precision]).numpy().dtype
        self.products = products(config.precision)
        self.encoder: Any = None
        self.decoder: Any = None
        self.rows = block_rows(config, layout)
        self.blocks = math.ceil(config.samples_per_step / self.rows)
        hidden, outer = (self.rows, layout.n_neurons), (self.rows, layout.n_out)
        self.h, self.dh, self.slope = (np.zeros(hidden, self.dtype) for _ in range(3))
        self.error = np.zeros(outer, self.dtype)
        self.grads, self.update = (np.zeros(layout.row, self.dtype) for _ in range(2))
        self.bias_grads = self.grads[layout.segments[1]]
        self.active = np.zeros(layout.n_neurons, bool)
        """Which neurons answered any sample of the step; kept for `per_neuron` only."""
        # Gradients lack the factor 2 / batch of dL/dy = 2 error / batch until LAMB reads them.
        self.constants = tuple(elementwise.lamb_constants(self.dtype, 2 / config.samples_per_step))
        self.fused = is_fused(config)
        """Whether a chunk's steps are compiled into one function; they mean the same either way."""
        square = (layout.n_neurons,) * 2 if self.fused and is_gram(config) else (0, 0)
        self.gram = np.zeros(square, self.dtype), np.zeros(square, self.dtype)
        halves = tuple(np.zeros(shape, np.uint16) for shape in (hidden, hidden, outer, layout.row))
        self.halves = halves if self.fused and is_half(config) else None

    def train(self, member: Member, chunk: Chunk) -> Float64[ndarray, " steps"]:
        """Train one trial on a chunk; its task loss before each step."""
        if not self.fused:
            return np.array([self._train_step(member, chunk, index) for index in range(len(chunk.x))])
        losses, none = np.empty(len(chunk.x)), np.empty((0, 0, 0), self.dtype)
        train_chunk(
            member.rows,
            none.ravel() if member.mask is None else member.mask,
            (chunk.x, chunk.cells, chunk.values, none if chunk.dense is None else chunk.dense, chunk.bounds),
            (member.lr, member.bias_decay, member.l1, member.bias_reg, member.bias_target),
            (self.h, self.dh, self.error),
            self.halves,
            self.gram,
            (self.grads, self.update),
            self.constants,
            (self.layout.d_embed, self.layout.n_neurons, self.layout.n_out, self.layout.segments[2].start),
            losses,
        )
        return losses

    def _train_step(self, member: Member, chunk: Chunk, index: int) -> float:
        """One optimiser step, the chunk's step `index`; the task loss before it."""
        batch, total = self.config.samples_per_step, 0.0
        for block in range(self.blocks):
            lo, hi = block * self.rows, min((block + 1) * self.rows, batch)
            place = index * self.blocks + block
            present = slice(chunk.bounds[place], chunk.bounds[place + 1])
            total += self._gradients(member, chunk, index, slice(lo, hi), present)
        self._finish_gradients(member)
        before = member.encoder.copy() if self.config.bias_decay_mode == "tied_to_update" else member.encoder
        for rows, segment in zip(member.segments, self.layout.segments, strict=True):
            elementwise.lamb(*rows, self.grads[segment], self.update[segment], self.constants, member.lr[index])
        if member.bias_decay[index]:
            member.bias *= 1 - member.bias_decay[index] * self._decay_share(member, before)
        return total / batch

    def _finish_gradients(self, member: Member) -> None:
        """Add what does not depend on the samples."""
        if member.bias_reg:
            self.bias_grads += (member.bias - member.bias_target) * member.bias_reg
        if member.mask is not None:
            self.grads *= member.mask

    def _decay_share(self, member: Member, before: Float[ndarray, "d_embed k"]) -> Float[ndarray, " k"]:
        """How much of the bias decay each neuron feels, 0 to 1 (`bias_decay_mode`)."""
        now, then = ({"w_in": torch.from_numpy(encoder).T} for encoder in (member.encoder, before))
        now["bias"] = torch.from_numpy(member.bias)
        silent = torch.from_numpy(~self.active)
        share = DECAY_SHARES[self.config.bias_decay_mode](now, then, {"silent": silent}, member.config.lr)
        return share.numpy()

    def _gradients(self, member: Member, chunk: Chunk, index: int, samples: slice, present: slice) -> float:
        """Gradients over some samples, up to the factor 2 / batch; Σ error² over them."""
        n, operand, product = samples.stop - samples.start, self.products.operand, self.products.product
        h, dh, error = self.h[:n], self.dh[:n], self.error[:n]
        x = operand("x", chunk.x[index, samples])
        if samples.start == 0:
            self.encoder, self.decoder = operand("encoder", member.encoder), operand("decoder", member.decoder)
        product(x, self.encoder, h)
        self._activate(h, member.bias)
        if self.config.bias_decay_mode == "per_neuron":
            answered = (h > 0).any(axis=0)
            np.logical_or(self.active & bool(samples.start), answered, out=self.active)
        answers = operand("h", h)
        product(answers, self.decoder, error, trans_b=True)
        if chunk.dense is None:
            offset = (index * self.config.samples_per_step + samples.start) * self.layout.n_out
            loss = elementwise.subtract_sparse(error, chunk.cells[present], chunk.values[present], offset)
        else:
            loss = elementwise.subtract_dense(error, chunk.dense[index, samples])
        errors = operand("error", error)
        product(errors, answers, self.layout.decoder_of(self.grads), trans_a=True, add=samples.start > 0)
        product(errors, self.decoder, dh)
        self._times_slope(dh, h, member.l1, fresh=samples.start == 0)
        dh = operand("dh", dh)
        product(x, dh, self.layout.encoder_of(self.grads), trans_a=True, add=samples.start > 0)
        return float(loss)

    def _activate(self, h: Float[ndarray, "n n_neurons"], bias: Float[ndarray, " n_neurons"]) -> None:
        """act(e + b) in the place of e; keeps the slope where it cannot be told from h."""
        if TOLD_BY_ANSWER[self.config.activation]:
            elementwise.relu(h, bias)
            return
        elementwise.add_bias(h, bias)
        e = torch.from_numpy(h)
        torch.from_numpy(self.slope[: len(h)]).copy_(activation_slope(self.config.activation, e))
        activate(self.config.activation, e, out=e)

    def _times_slope(self, dh: ndarray, h: ndarray, l1: np.floating, fresh: bool) -> None:
        """dL/de in the place of dL/dh, and the bias' gradient; `l1` is the L1 weight in the gradients' units.

        Args:
            fresh: whether this is the step's first block.
        """
        if TOLD_BY_ANSWER[self.config.activation]:
            elementwise.relu_slope(dh, h, l1, self.bias_grads, fresh)
            return
        if l1:
            dh += l1 * np.sign(h)
        dh *= self.slope[: len(dh)]
        elementwise.add_columns(dh, self.bias_grads, fresh)


def block_rows(config: TwoLayerConfig, layout: Layout) -> int:
    """Samples of one block: the whole batch where its activations fit in cache, else a power of two."""
    per_sample = (2 * layout.n_neurons + layout.n_out) * DTYPES[config.precision].itemsize
    fitting = max(MIN_BLOCK, 1 << max(0, (BLOCK_BYTES // per_sample).bit_length() - 1))
    return min(config.samples_per_step, fitting)
