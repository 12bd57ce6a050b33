"""The packed engine on a CPU: many trials of one shape, gradients written out by hand, one trial in cache at a time.

Trials that read the same samples and the same embedding form a group, which draws and embeds a chunk of steps
once.  Each of its trials then trains the whole chunk while its parameters stay in cache.  A trial's
operations have the same shapes and the same order whoever else is in the pack, and none runs over two trials,
so its bits cannot depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt16
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.data.embedding import orthonormal_map
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.cpu import elementwise, gemm
from monosweep.model.engines.cpu.compiled_step import is_fused, is_gram, is_half, train_chunk
from monosweep.model.engines.cpu.products import products
from monosweep.model.families.two_layer.config import REPROJECTS, TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.decay import DECAY_SHARES, bias_decay_table
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.families.two_layer.weights import activate, activation_slope, initial_weights, masks
from monosweep.model.member import MemberState
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

STORES = {"params": "", "exp_avg": "exp_avg.", "exp_avg_sq": "exp_avg_sq."}
"""What is kept of every trial, a row each, and how a `MemberState` names the tensors in it."""
CHUNK_BYTES = 2**21
"""What one chunk of steps' features would take with their zeros: enough steps to hide the cost of drawing, few enough
for what is made of them to stay in cache."""
MAX_CHUNK = 128
BLOCK_BYTES = 4 * 2**20
"""Activations of one block of samples; a larger batch is worked through in blocks, so that they stay in cache."""
MIN_BLOCK = 256


@dataclass(frozen=True, slots=True)
class _Chunk:
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


class _Group:
    """Trials that share a data stream and an embedding.

    Args:
        config: any of them.
        maps: P and, for the reprojector, Q.
        step: what trains them.
    """

    def __init__(self, config: TwoLayerConfig, maps: Mapping[str, Tensor], step: _Step) -> None:
        self.config, self._step, self._stream = config, step, FeatureStream(stream_key(config))
        self._starts = np.arange(0, config.samples_per_step, step.rows)
        columns = {name: np.ascontiguousarray(values.numpy().T) for name, values in maps.items()}
        self._read, self._target_map = columns["embedding"], columns.get("target_map")

    def chunk(self, first: int, n_steps: int) -> _Chunk:
        """Draw and embed the samples of some steps: x = P f, and what the network is to answer.

        Only present features are added up, sample by sample, so no sample's bits depend on how many are drawn at once.
        """
        cells, values = self._stream.steps(first, n_steps)
        values = values.astype(self._read.dtype)
        batch, shape = self.config.samples_per_step, (n_steps, self.config.samples_per_step, self.config.d_embed)
        x = _mapped(cells, values, self._read, shape)
        dense = None if self._target_map is None else _mapped(cells, values, self._target_map, shape)
        if self._step.halves is not None:
            x, exact = np.empty(x.shape, np.uint16), x
            elementwise.to_bf16(exact, x)
        starts = np.append(np.add.outer(np.arange(n_steps) * batch, self._starts).ravel(), n_steps * batch)
        bounds = np.searchsorted(cells, starts * self.config.n_features)
        return _Chunk(x, cells, _ANSWERS[self.config.task](values), bounds, dense)


_ANSWERS: Meanings[Callable[[ndarray], ndarray]] = Meanings(
    "task", {"decoder": np.array, "abs": np.abs, "reprojector": np.array}
)
"""Of present features' strengths, what the network is to answer there, by task; for `reprojector`, `dense` is."""


def _maps(config: TwoLayerConfig) -> dict[str, Tensor]:
    """P and, for the reprojector, Q, in the type of the trial."""
    purposes = ("embedding", "target_map") if REPROJECTS[config.task] else ("embedding",)
    sizes, dtype = (config.n_features, config.d_embed), DTYPES[config.precision]
    return {purpose: orthonormal_map(config.seed, purpose, *sizes).to(dtype) for purpose in purposes}


def _mapped(
    cells: Int64[ndarray, " present"], values: Float[ndarray, " present"], read: Float[ndarray, "n_features d_embed"],
    shape: tuple[int, int, int],
) -> Float[ndarray, "steps batch d_embed"]:  # fmt: skip
    """P f of every sample, P given by its columns."""
    out = np.empty(shape, read.dtype)
    elementwise.embed(cells, values, read, out.reshape(-1, shape[2]))
    return out


class _Step:
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

    def train(self, member: _Member, chunk: _Chunk) -> Float64[ndarray, " steps"]:
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

    def _train_step(self, member: _Member, chunk: _Chunk, index: int) -> float:
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

    def _finish_gradients(self, member: _Member) -> None:
        """Add what does not depend on the samples."""
        if member.bias_reg:
            self.bias_grads += (member.bias - member.bias_target) * member.bias_reg
        if member.mask is not None:
            self.grads *= member.mask

    def _decay_share(self, member: _Member, before: Float[ndarray, "d_embed k"]) -> Float[ndarray, " k"]:
        """How much of the bias decay each neuron feels, 0 to 1 (`bias_decay_mode`)."""
        now, then = ({"w_in": torch.from_numpy(encoder).T} for encoder in (member.encoder, before))
        now["bias"] = torch.from_numpy(member.bias)
        silent = torch.from_numpy(~self.active)
        share = DECAY_SHARES[self.config.bias_decay_mode](now, then, {"silent": silent}, member.config.lr)
        return share.numpy()

    def _gradients(self, member: _Member, chunk: _Chunk, index: int, samples: slice, present: slice) -> float:
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


class _Member:
    """One trial's rows of the pack's storage, and its schedule over the current chunk.

    Args:
        rows: parameters and both moments.
        mask: 1 where a connection exists, else 0; None if all do.
        joined: where the engine's clock stood when the trial began, or would have stood.
    """

    def __init__(
        self, config: TwoLayerConfig, layout: Layout, rows: Sequence[Float[ndarray, " row"]], mask: ndarray | None,
        joined: int,
    ) -> None:  # fmt: skip
        self.config, self.mask, self.dtype = config, mask, rows[0].dtype
        self.joined, self.stream = joined, stream_key(config)
        self.rows = tuple(rows)
        self.encoder, self.decoder = layout.encoder_of(rows[0]), layout.decoder_of(rows[0])
        self.bias = rows[0][layout.segments[1]]
        self.segments = [[row[segment] for row in rows] for segment in layout.segments]
        # Both in units of the gradients, which lack a factor of 2 / batch.
        self.l1 = self.dtype.type(config.l1 / 2)
        self.bias_reg = self.dtype.type(config.bias_reg * config.samples_per_step)
        self.bias_target = self.dtype.type(config.bias_reg_target)
        self.lr = self.bias_decay = np.empty(0, self.dtype)


class PackedEngine:
    """Trains a pack of two-layer networks of one shape on one thread of a CPU.

    Args:
        configs: trials that agree on their shape, with optimizer Lamb.
    """

    name = how = "packed"

    def __init__(self, configs: Sequence[TwoLayerConfig]) -> None:
        self.layout = Layout.of(configs[0])
        dtype = DTYPES[configs[0].precision]
        self._stores = {name: torch.zeros(len(configs), self.layout.row, dtype=dtype) for name in STORES}
        self._members: list[_Member | None] = [None] * len(configs)
        self._clock = 0
        self._groups: dict[tuple[object, int], _Group] = {}
        self._step = _Step(configs[0], self.layout)
        self._maps: dict[int, dict[str, Tensor]] = {}
        for slot, config in enumerate(configs):
            self.put(slot, MemberState(config=config))
        cells = configs[0].samples_per_step * configs[0].n_features
        self.chunk = int(np.clip(CHUNK_BYTES // (cells * dtype.itemsize), 1, MAX_CHUNK))
        """Steps that a group's samples are drawn for at once, and that a caller should ask for."""

    @property
    def steps(self) -> list[int]:
        """As the contract says."""
        return [self._clock - member.joined if member else 0 for member in self._members]

    def advance(self, n_steps: int) -> Float64[ndarray, "steps slots"]:
        """As the contract says."""
        losses = np.full((n_steps, len(self._members)), np.nan)
        with gemm.one_thread(), np.errstate(all="ignore"):  # a diverging trial says so by its loss
            for done in range(0, n_steps, self.chunk):
                chunk = losses[done : done + self.chunk]
                for group, slots in self._together():
                    self._train_group(group, slots, chunk)
                self._clock += len(chunk)
        return losses

    def _together(self) -> list[tuple[_Group, list[int]]]:
        """Members that read the same samples in the same steps: one stream, at the same step of it."""
        found: dict[tuple[object, int], list[int]] = {}
        for slot, member in enumerate(self._members):
            if member:
                found.setdefault((member.stream, member.joined), []).append(slot)
        self._groups = {key: group for key, group in self._groups.items() if key in found}
        seeds = {member.config.seed for member in self._members if member}
        self._maps = {seed: maps for seed, maps in self._maps.items() if seed in seeds}
        for key, slots in found.items():
            if key not in self._groups:
                config = self._member(slots[0]).config
                self._groups[key] = _Group(config, self._maps_of(config), self._step)
        return [(self._groups[key], slots) for key, slots in found.items()]

    def _member(self, slot: int) -> _Member:
        member = self._members[slot]
        assert member is not None, "the slot is empty"
        return member

    def _train_group(self, group: _Group, slots: list[int], losses: Float64[ndarray, "chunk slots"]) -> None:
        members = [self._member(slot) for slot in slots]
        configs, done = [member.config for member in members], self._clock - members[0].joined
        chunk, n = group.chunk(done + 1, len(losses)), len(losses)
        rates = lr_table(configs, [done] * len(configs), n).T.astype(self._step.dtype, order="C")
        decays = bias_decay_table(configs, [done] * len(configs), n).T.astype(self._step.dtype, order="C")
        for place, (slot, member) in enumerate(zip(slots, members, strict=True)):
            member.lr, member.bias_decay = rates[place], decays[place]
            losses[:, slot] = self._step.train(member, chunk)

    def take(self, slot: int) -> MemberState:
        """As the contract says."""
        config, tensors = self._member(slot).config, dict[str, Tensor]()
        for store, prefix in STORES.items():
            named = self.layout.named(self._stores[store][slot])
            tensors |= {f"{prefix}{name}": tensor.clone() for name, tensor in named.items()}
        return MemberState(config=config, step=self.steps[slot], tensors=tensors)

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says."""
        if slot == len(self._members):
            self._members.append(None)
            self._stores = {name: torch.cat([rows, rows[:1] * 0]) for name, rows in self._stores.items()}
            self._point_at_rows()
        if state is None:
            self._members[slot] = None
            return
        config: Any = state.config
        given = state.tensors or initial_weights(config).named()
        for store, prefix in STORES.items():
            row = self._stores[store][slot].zero_()
            if state.tensors or store == "params":
                self.layout.write(row, given, prefix)
        rows = [self._stores[store][slot].numpy() for store in STORES]
        self._members[slot] = _Member(config, self.layout, rows, self._mask_of(config), self._clock - state.step)

    def _mask_of(self, config: TwoLayerConfig) -> Float[ndarray, " row"] | None:
        """Of a member of the same seed, if there is one."""
        alike = [member for member in self._members if member and member.config.seed == config.seed]
        return alike[0].mask if alike else mask_row(self.layout, config)

    def _point_at_rows(self) -> None:
        """Members' views of the storage, which has moved."""
        for slot, member in enumerate(self._members):
            if member:
                rows = [self._stores[store][slot].numpy() for store in STORES]
                self._members[slot] = _Member(member.config, self.layout, rows, member.mask, member.joined)

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; views of the storage."""
        return self.layout.named(self._stores["params"][slot])

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; without masks, which the engine has put into the weights."""
        member = self._member(slot)
        return self._maps_of(member.config)

    def _maps_of(self, config: TwoLayerConfig) -> dict[str, Tensor]:
        """Drawn once for all members of a seed."""
        if config.seed not in self._maps:
            self._maps[config.seed] = _maps(config)
        return self._maps[config.seed]

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        bad = non_finite(self._stores)
        return [overflowed and member is not None for overflowed, member in zip(bad, self._members, strict=True)]


def block_rows(config: TwoLayerConfig, layout: Layout) -> int:
    """Samples of one block: the whole batch where its activations fit in cache, else a power of two."""
    per_sample = (2 * layout.n_neurons + layout.n_out) * DTYPES[config.precision].itemsize
    fitting = max(MIN_BLOCK, 1 << max(0, (BLOCK_BYTES // per_sample).bit_length() - 1))
    return min(config.samples_per_step, fitting)


def mask_row(layout: Layout, config: TwoLayerConfig) -> Float[ndarray, " row"] | None:
    """The masks of a sparse network in the layout of its parameters; None if it is dense."""
    if config.connectivity == 1:
        return None
    row = torch.zeros(layout.row, dtype=DTYPES[config.precision])
    layout.write(row, masks(config).named())
    return row.numpy()


def non_finite(stores: Mapping[str, Float[Tensor, "pack row"]]) -> list[bool]:
    """Which rows of any store hold a NaN or an infinity."""
    finite = torch.stack([torch.isfinite(store).all(dim=1) for store in stores.values()]).all(dim=0)
    return torch.logical_not(finite).tolist()
