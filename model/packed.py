"""The packed engine: many trials of one shape at once, with gradients written out by hand.

Parameters, moments and gradients are rows of contiguous storage, one row a trial.  Trials that read the same
samples and the same embedding form a group, which draws and embeds them once.  Work is done in tiles: on a
CPU a tile is one trial, which stays in cache for a chunk of steps; on a GPU it is a whole group, one step at
a time.  Every operation on a trial therefore has the same shape whoever else is in the pack, and no sum ever
runs over two trials, so a trial's bits cannot depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from model.config import TrialConfig
from model.device import DTYPES
from model.features import FeatureStream, SparseBatch, embedding, stream_key, target_map
from model.lamb import lamb_step
from model.network import Weights, activate, activation_slope, initial_weights, n_out
from model.schedule import bias_factor_at, lr_at

ALIGN = 16
"""Each tensor starts at a multiple of so many elements, so that no kernel's choice depends on its place."""
CHUNK_BYTES = 2**20
"""Embedded samples kept for one chunk of steps: they stay in cache while a group passes over them."""
MAX_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Where w_in, bias and w_out lie in a trial's row of storage."""

    segments: tuple[slice, slice, slice]
    shapes: tuple[tuple[int, ...], ...]
    row: int
    """Elements of a row, padding included."""

    @classmethod
    def of(cls, config: TrialConfig) -> Layout:
        """The layout of all trials shaped like `config`."""
        d, k = config.d_embed, config.n_neurons
        shapes = ((k, d), (k,), (n_out(config), k))
        starts = [0]
        for shape in shapes:
            starts.append(starts[-1] + math.ceil(math.prod(shape) / ALIGN) * ALIGN)
        w_in, bias, w_out = (slice(s, s + math.prod(shape)) for s, shape in zip(starts, shapes, strict=False))
        return cls((w_in, bias, w_out), shapes, starts[-1])

    def views(self, rows: Float[Tensor, "tile row"]) -> tuple[Tensor, Tensor, Tensor]:
        """w_in (tile, k, d), bias (tile, k) and w_out (tile, n_out, k) as views of storage rows."""
        w_in, bias, w_out = (
            rows[:, segment].view(-1, *shape)
            for segment, shape in zip(self.segments, self.shapes, strict=True)
        )
        return w_in, bias, w_out


@dataclass(frozen=True, slots=True)
class _Samples:
    """One step's input and target for a group."""

    x: Float[Tensor, "batch d_embed"]
    cells: Int64[Tensor, " present"] | None
    """Where the target is not zero, in the flattened (batch, n_out) output; None if it is dense."""
    target: Tensor
    """The target at `cells` (present,), or all of it (batch, n_out)."""


class _Group:
    """Trials that share a data stream and an embedding.

    Args:
        members: their places in the pack.
        config: any of them.
        dense: zeros, batch · n_features of them; scratch that all groups share.
    """

    def __init__(self, members: list[int], config: TrialConfig, dense: Float[Tensor, " cells"]) -> None:
        self.members, self._dense = members, dense
        self.embedding = embedding(config).to(dense)
        self.target_map = target_map(config).to(dense) if config.task == "reprojector" else None
        self._stream = FeatureStream(stream_key(config))

    def samples(self, step: int) -> _Samples:
        """Draw and embed the samples of one step: x = P f, and what the network is to answer."""
        batch: SparseBatch = self._stream.batch(step)
        cells = torch.from_numpy(batch.cells).to(self._dense.device)
        values = torch.from_numpy(batch.values).to(self._dense)
        self._dense[cells] = values
        f = self._dense.view(batch.shape)
        x = f @ self.embedding.T
        if self.target_map is not None:
            samples = _Samples(x, None, f @ self.target_map.T)
        else:
            samples = _Samples(x, cells, values.abs())
        self._dense[cells] = 0
        return samples


class _Tile:
    """Buffers for one step of some trials, and the step itself."""

    def __init__(self, config: TrialConfig, layout: Layout, size: int, device: str) -> None:
        self.config, self.layout = config, layout
        dtype = DTYPES[config.precision]
        b, k, out = config.samples_per_step, config.n_neurons, n_out(config)
        hidden, outer, row = (size, b, k), (size, b, out), (size, layout.row)
        # e, h, dL/dh; y - target, its square; gradients, update
        shapes: tuple[tuple[int, ...], ...] = (hidden, hidden, hidden, outer, outer, row, row)
        self.buffers = tuple(torch.zeros(shape, dtype=dtype, device=device) for shape in shapes)

    def step(
        self,
        rows: tuple[Tensor, Tensor, Tensor],
        samples: _Samples,
        lr: Float[Tensor, " tile"],
        bias_factor: Float[Tensor, " tile"],
        l1: Float[Tensor, " tile"] | None,
        loss_out: Float[Tensor, " tile"],
    ) -> None:
        """One optimiser step of every trial in the tile.

        Args:
            rows: parameters and both moments, (tile, row) each, changed in place.
            l1: L1 weights, or None where all are 0.
            loss_out: receives each trial's task loss before the update.
        """
        params, exp_avg, exp_avg_sq = rows
        w_in, bias, w_out = self.layout.views(params)
        n, batch = len(params), len(samples.x)
        e, h, dh, error, square, grads, update = (buffer[:n] for buffer in self.buffers)
        g_in, g_bias, g_out = self.layout.views(grads)
        x = samples.x.expand(n, *samples.x.shape)

        torch.baddbmm(bias.unsqueeze(1), x, w_in.mT, out=e)
        activate(self.config.activation, e, out=h)
        torch.bmm(h, w_out.mT, out=error)
        _subtract_target(error, samples)
        torch.square(error, out=square)
        torch.div(square.sum(dim=(1, 2)), batch, out=loss_out)

        # L = Σ error² / batch, so dL/dy = 2 error / batch; the factor is applied inside the products.
        torch.baddbmm(g_out, error.mT, h, beta=0, alpha=2 / batch, out=g_out)
        torch.baddbmm(dh, error, w_out, beta=0, alpha=2 / batch, out=dh)
        if l1 is not None:
            dh.add_(torch.sign(h).mul_(l1.view(-1, 1, 1) / batch))
        de = _times_slope(self.config.activation, dh, e)
        torch.bmm(de.mT, x, out=g_in)
        torch.sum(de, dim=1, out=g_bias)

        lamb_step(params, grads, exp_avg, exp_avg_sq, update, self.layout.segments, lr)
        bias.mul_(bias_factor.unsqueeze(1))


def _subtract_target(error: Float[Tensor, "tile batch n_out"], samples: _Samples) -> None:
    if samples.cells is None:
        error.sub_(samples.target)
    else:
        flat = error.view(len(error), -1)
        flat.index_add_(1, samples.cells, samples.target.expand(len(flat), -1), alpha=-1)


def _times_slope(
    activation: str, dh: Float[Tensor, "tile batch n_neurons"], e: Float[Tensor, "tile batch n_neurons"]
) -> Float[Tensor, "tile batch n_neurons"]:
    """dL/de, in the place of dL/dh."""
    if activation == "relu":
        torch.ops.aten.threshold_backward.grad_input(dh, e, 0, grad_input=dh)
        return dh
    return dh.mul_(activation_slope(activation, e))


class PackedEngine:
    """Trains a pack of trials of one shape.

    Args:
        configs: trials that agree on `SHAPE_FIELDS`, with optimizer Lamb.
        device: `cpu` or `cuda`.
    """

    name = "packed"

    def __init__(self, configs: tuple[TrialConfig, ...], device: str) -> None:
        self.configs, self.device, self.step = configs, device, 0
        self.dtype = DTYPES[configs[0].precision]
        self.layout = Layout.of(configs[0])
        shape = (len(configs), self.layout.row)
        self.params, self.exp_avg, self.exp_avg_sq = (
            torch.zeros(shape, dtype=self.dtype, device=device) for _ in range(3)
        )
        for member, config in enumerate(configs):
            start = initial_weights(config)
            for view, value in zip(self._views(member), (start.w_in, start.bias, start.w_out), strict=True):
                view.copy_(value)
        self._alive = [True] * len(configs)
        cells = configs[0].samples_per_step * configs[0].n_features
        self._groups = _groups(configs, torch.zeros(cells, dtype=self.dtype, device=device))
        largest = 1 if device == "cpu" else max(len(g.members) for g in self._groups)
        self._tile = _Tile(configs[0], self.layout, largest, device)

    def advance(self, n_steps: int) -> Float64[ndarray, "steps pack"]:
        """Train `n_steps` more; every trial's task loss at each."""
        losses = torch.full((n_steps, len(self.configs)), math.nan, dtype=self.dtype, device=self.device)
        done = 0
        while done < n_steps:
            chunk = min(n_steps - done, self.chunk)
            for group in self._groups:
                self._train_group(group, losses[done : done + chunk])
            done += chunk
            self.step += chunk
        return losses.cpu().numpy().astype(np.float64)

    @property
    def chunk(self) -> int:
        """Steps that a group's samples are drawn for at once, and that a caller should ask for."""
        config = self.configs[0]
        per_step = config.samples_per_step * config.d_embed * 4
        return int(np.clip(CHUNK_BYTES // per_step, 1, MAX_CHUNK))

    def _train_group(self, group: _Group, losses: Float[Tensor, "chunk pack"]) -> None:
        members = [m for m in group.members if self._alive[m]]
        if not members:
            return
        samples = [group.samples(self.step + 1 + i) for i in range(len(losses))]
        for tile in [[m] for m in members] if self.device == "cpu" else [members]:
            self._train_tile(tile, samples, losses)

    def _train_tile(
        self, members: list[int], samples: Sequence[_Samples], losses: Float[Tensor, "chunk pack"]
    ) -> None:
        contiguous = members == list(range(members[0], members[-1] + 1))
        stores = (self.params, self.exp_avg, self.exp_avg_sq)
        rows = tuple(s[members[0] : members[-1] + 1] if contiguous else s[members] for s in stores)
        configs = [self.configs[m] for m in members]
        lr, factor = self._schedules(configs, len(samples))
        l1 = self._tensor([c.l1 for c in configs]) if any(c.l1 for c in configs) else None
        out = torch.empty(len(samples), len(members), dtype=self.dtype, device=self.device)
        for i, at in enumerate(samples):
            self._tile.step(rows, at, lr[i], factor[i], l1, out[i])  # type: ignore[arg-type]
        losses[:, members] = out
        if not contiguous:
            for store, row in zip(stores, rows, strict=True):
                store[members] = row

    def _schedules(self, configs: Sequence[TrialConfig], chunk: int) -> tuple[Tensor, Tensor]:
        """Learning rates and bias factors of the next steps, (chunk, tile) each."""
        steps = range(self.step + 1, self.step + 1 + chunk)
        lr = self._tensor([[lr_at(c, s) for c in configs] for s in steps])
        return lr, self._tensor([[bias_factor_at(c, s) for c in configs] for s in steps])

    def _tensor(self, values: object) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)

    def _views(self, member: int) -> tuple[Tensor, Tensor, Tensor]:
        w_in, bias, w_out = self.layout.views(self.params[member : member + 1])
        return w_in[0], bias[0], w_out[0]

    def weights(self, member: int) -> Weights:
        """Parameters of one trial, as views of the storage."""
        w_in, bias, w_out = self._views(member)
        return Weights(w_in=w_in, bias=bias, w_out=w_out)

    def overflowed(self) -> list[bool]:
        """Which trials hold a non-finite parameter or moment."""
        finite = torch.ones(len(self.configs), dtype=torch.bool, device=self.device)
        for store in (self.params, self.exp_avg, self.exp_avg_sq):
            finite &= torch.isfinite(store).all(dim=1)
        return torch.logical_not(finite).tolist()

    def freeze(self, member: int) -> None:
        """Train this trial no further; its neighbours go on as they were."""
        self._alive[member] = False

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs."""
        return {"params": self.params, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue from `state` as it was after `step`."""
        for name, store in self.state().items():
            store.copy_(state[name])
        self.step = step


def _groups(configs: Sequence[TrialConfig], dense: Tensor) -> list[_Group]:
    members: dict[object, list[int]] = {}
    for member, config in enumerate(configs):
        members.setdefault(stream_key(config), []).append(member)
    return [_Group(m, configs[m[0]], dense) for m in members.values()]
