"""The packed engine on a GPU: the same arithmetic as `model.packed`, over stacked trials at once.

A tile is all trials that share a data stream; each operation runs over the whole tile.  Samples are drawn as
on a CPU, bit for bit, and sent to the device, so a trial sees the same data wherever it is trained.
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

from model.config import ConfigError, TrialConfig
from model.device import DTYPES
from model.features import FeatureStream, embedding, stream_key, target_map
from model.lamb import lamb_step
from model.layout import Layout
from model.network import Weights, activate, activation_slope, initial_weights
from model.packed import mask_row, non_finite, stream_groups
from model.schedule import bias_decay_at, lr_at

_STORES = ("params", "exp_avg", "exp_avg_sq")
CHUNK_STEPS = 16
"""Steps between two looks at the losses."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """One step's input and target for a tile."""

    x: Float[Tensor, "batch d_plus_1"]
    """Embedded samples and a column of ones."""
    cells: Int64[Tensor, " present"] | None
    """Where the target is not zero, in the flattened (batch, n_out) output; None if it is dense."""
    target: Tensor
    """The target at `cells` (present,), or all of it (batch, n_out)."""


class _Tile:
    """Trials that share a data stream and an embedding, and their buffers.

    Args:
        members: their places in the pack.
        configs: their configs.
    """

    def __init__(self, members: list[int], configs: Sequence[TrialConfig], layout: Layout, device: str) -> None:
        config, n = configs[0], len(configs)
        self.members, self.configs, self.layout = members, configs, layout
        self.embedding = embedding(config).to(device, DTYPES[config.precision])
        self.target_map = target_map(config).to(self.embedding) if config.task == "reprojector" else None
        self._stream = FeatureStream(stream_key(config))
        batch = config.samples_per_step
        self._dense = self._zeros(batch * config.n_features)
        hidden, outer = (n, batch, layout.n_neurons), (n, batch, layout.n_out)
        self.e, self.h, self.dh = (self._zeros(*hidden) for _ in range(3))
        self.error, self.square = (self._zeros(*outer) for _ in range(2))
        self.grads, self.update = (self._zeros(n, layout.row) for _ in range(2))
        self.l1 = self.tensor([c.l1 / batch for c in configs]).view(-1, 1, 1)
        self.bias_reg, self.bias_target, self.peak_lr = (
            self.tensor(values).view(-1, 1)
            for values in zip(*((c.bias_reg, c.bias_reg_target, c.lr) for c in configs), strict=True)
        )
        self.decay_mode = config.bias_decay_mode
        row = mask_row(layout, config)
        self.mask = None if row is None else torch.from_numpy(row).to(self.embedding)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self.embedding.dtype, device=self.embedding.device)

    def tensor(self, values: object) -> Tensor:
        """`values` on this tile's device."""
        return torch.tensor(values, dtype=self.embedding.dtype, device=self.embedding.device)

    def samples(self, step: int) -> _Samples:
        """Draw and embed the samples of one step: x = P f, and what the network is to answer."""
        batch = self._stream.batch(step)
        cells = torch.from_numpy(batch.cells).to(self._dense.device)
        values = torch.from_numpy(batch.values).to(self._dense)
        self._dense[cells] = values
        f = self._dense.view(batch.shape)
        x = torch.cat([f @ self.embedding.T, torch.ones_like(f[:, :1])], dim=1)
        if self.target_map is not None:
            samples = _Samples(x, None, f @ self.target_map.T)
        else:
            samples = _Samples(x, cells, values.abs())
        self._dense[cells] = 0
        return samples

    def step(
        self,
        rows: tuple[Tensor, Tensor, Tensor],
        samples: _Samples,
        lr: Float[Tensor, " tile"],
        bias_decay: Float[Tensor, " tile"],
    ) -> Float[Tensor, " tile"]:
        """One optimiser step of every trial in the tile; their task losses before it.

        Args:
            rows: parameters and both moments, (tile, row) each, changed in place.
        """
        encoder, decoder = self.layout.encoder(rows[0]), self.layout.decoder(rows[0])
        batch = len(samples.x)
        x = samples.x.expand(len(encoder), *samples.x.shape)

        torch.bmm(x, encoder, out=self.e)
        activate(self.configs[0].activation, self.e, out=self.h)
        torch.bmm(self.h, decoder.mT, out=self.error)
        self._subtract_target(samples)
        loss = torch.square(self.error, out=self.square).sum(dim=(1, 2)) / batch

        # L = Σ error² / batch, so dL/dy = 2 error / batch; the factor is applied inside the products.
        g_encoder, g_decoder = self.layout.encoder(self.grads), self.layout.decoder(self.grads)
        torch.baddbmm(g_decoder, self.error.mT, self.h, beta=0, alpha=2 / batch, out=g_decoder)
        torch.baddbmm(self.dh, self.error, decoder, beta=0, alpha=2 / batch, out=self.dh)
        if any(c.l1 for c in self.configs):
            self.dh.addcmul_(torch.sign(self.h), self.l1)
        self.dh.mul_(activation_slope(self.configs[0].activation, self.e))
        torch.bmm(x.mT, self.dh, out=g_encoder)

        g_encoder[:, -1].add_((encoder[:, -1] - self.bias_target) * (2 * self.bias_reg))
        if self.mask is not None:
            self.grads.mul_(self.mask)

        before = encoder[:, :-1].clone() if self.decay_mode == "tied_to_update" else None
        lamb_step(rows[0], self.grads, *rows[1:], self.update, self.layout.segments, lr)
        encoder[:, -1].mul_(1 - bias_decay.unsqueeze(1) * self._decay_share(encoder, before))
        return loss

    def _decay_share(self, encoder: Tensor, before: Tensor | None) -> Tensor:
        """How much of the bias decay each neuron feels, (tile, n_neurons), 0 to 1 (`bias_decay_mode`)."""
        if self.decay_mode == "per_neuron":
            return (self.h <= 0).all(dim=1).to(encoder)
        if before is not None:
            moved = torch.linalg.vector_norm(encoder[:, :-1] - before, dim=1)
            size = torch.linalg.vector_norm(encoder[:, :-1], dim=1)
            return (1 - torch.where(size > 0, moved / size, 0.0) / self.peak_lr).clamp_min(0)
        return torch.ones_like(encoder[:, -1])

    def _subtract_target(self, samples: _Samples) -> None:
        if samples.cells is None:
            self.error.sub_(samples.target)
        else:
            flat = self.error.view(len(self.error), -1)
            flat.index_add_(1, samples.cells, samples.target.expand(len(flat), -1), alpha=-1)

    def schedules(self, steps: range) -> tuple[Tensor, Tensor]:
        """Learning rates and bias decays of some steps, (steps, tile) each."""
        lr = self.tensor([[lr_at(c, s) for c in self.configs] for s in steps])
        return lr, self.tensor([[bias_decay_at(c, s) for c in self.configs] for s in steps])


class StackedEngine:
    """Trains a pack of trials of one shape on one device.

    Args:
        configs: trials that agree on `SHAPE_FIELDS`, with optimizer Lamb.
        device: `cuda`, or `cpu` to test it.
    """

    name = "packed"
    chunk = CHUNK_STEPS

    def __init__(self, configs: tuple[TrialConfig, ...], device: str) -> None:
        if configs[0].precision == "bf16":
            raise ConfigError("precision bf16 is not supported on a GPU yet; use fp32, or --device cpu")
        self.configs, self.step, self.layout = configs, 0, Layout.of(configs[0])
        # Members of a tile stand together in storage; `_place` says where each member went.
        tiles = stream_groups(configs)
        order = [member for members in tiles for member in members]
        self._place = {member: place for place, member in enumerate(order)}
        self._order = torch.tensor([self._place[m] for m in range(len(configs))], device=device)
        dtype = DTYPES[configs[0].precision]
        self._stores = tuple(
            torch.zeros(len(configs), self.layout.row, dtype=dtype, device=device) for _ in range(3)
        )
        for member, config in enumerate(configs):
            self.layout.write(self._stores[0][self._place[member]], initial_weights(config))
        self._tiles = [_Tile(members, [configs[m] for m in members], self.layout, device) for members in tiles]
        self._tile_of = {member: tile for tile in self._tiles for member in tile.members}
        self._frozen: set[int] = set()

    def advance(self, n_steps: int) -> Float64[ndarray, "steps pack"]:
        """Train `n_steps` more; every trial's task loss at each, NaN where it is frozen."""
        steps = range(self.step + 1, self.step + 1 + n_steps)
        losses = torch.cat([self._train_tile(tile, steps) for tile in self._tiles], dim=1)
        self.step += n_steps
        out = losses[:, self._order].cpu().numpy().astype(np.float64)
        out[:, sorted(self._frozen)] = math.nan
        return out

    def _train_tile(self, tile: _Tile, steps: range) -> Float[Tensor, "steps tile"]:
        places = slice(self._place[tile.members[0]], self._place[tile.members[-1]] + 1)
        rows = (self._stores[0][places], self._stores[1][places], self._stores[2][places])
        lr, bias_decay = tile.schedules(steps)
        return torch.stack(
            [tile.step(rows, tile.samples(s), lr[i], bias_decay[i]) for i, s in enumerate(steps)]
        )

    def weights(self, member: int) -> Weights:
        """Parameters of one trial, as views of the storage."""
        return self.layout.weights(self._stores[0][self._place[member]])

    def embedding(self, member: int) -> Float[Tensor, "d_embed n_features"]:
        """P of one trial."""
        return self._tile_of[member].embedding

    def overflowed(self) -> list[bool]:
        """Which trials hold a non-finite parameter or moment."""
        return non_finite(self.state())

    def freeze(self, member: int) -> None:
        """Report nothing of this trial any more; its rows stay in the tile and touch no other."""
        self._frozen.add(member)

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs, in the pack's order."""
        return {name: store[self._order] for name, store in zip(_STORES, self._stores, strict=True)}

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue from `state` as it was after `step`."""
        for name, store in zip(_STORES, self._stores, strict=True):
            store[self._order] = state[name].to(store)
        self.step = step
