"""The packed engine on a CPU: many trials of one shape, gradients written out by hand, one trial in cache at a time.

Trials that read the same samples and the same embedding form a group, which draws and embeds a chunk of steps
once.  Each of its trials then trains the whole chunk while its parameters stay in cache.  A trial's
operations have the same shapes and the same order whoever else is in the pack, and none runs over two trials,
so its bits cannot depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.engines.cpu import gemm
from monosweep.model.engines.cpu.member import Member
from monosweep.model.engines.cpu.samples import Group, maps
from monosweep.model.engines.cpu.step import Step
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.decay import bias_decay_table
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.weights import initial_weights, masks
from monosweep.model.member import MemberState
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

STORES = {"params": "", "exp_avg": "exp_avg.", "exp_avg_sq": "exp_avg_sq."}
"""What is kept of every trial, a row each, and how a `MemberState` names the tensors in it."""
CHUNK_BYTES = 2**21
"""What one chunk of steps' features would take with their zeros: enough steps to hide the cost of drawing, few enough
for what is made of them to stay in cache."""
MAX_CHUNK = 128


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
        self._members: list[Member | None] = [None] * len(configs)
        self._clock = 0
        self._groups: dict[tuple[object, int], Group] = {}
        self._step = Step(configs[0], self.layout)
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

    def _together(self) -> list[tuple[Group, list[int]]]:
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
                self._groups[key] = Group(config, self._maps_of(config), self._step)
        return [(self._groups[key], slots) for key, slots in found.items()]

    def _member(self, slot: int) -> Member:
        member = self._members[slot]
        assert member is not None, "the slot is empty"
        return member

    def _train_group(self, group: Group, slots: list[int], losses: Float64[ndarray, "chunk slots"]) -> None:
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
        self._members[slot] = Member(config, self.layout, rows, self._mask_of(config), self._clock - state.step)

    def _mask_of(self, config: TwoLayerConfig) -> Float[ndarray, " row"] | None:
        """Of a member of the same seed, if there is one."""
        alike = [member for member in self._members if member and member.config.seed == config.seed]
        return alike[0].mask if alike else mask_row(self.layout, config)

    def _point_at_rows(self) -> None:
        """Members' views of the storage, which has moved."""
        for slot, member in enumerate(self._members):
            if member:
                rows = [self._stores[store][slot].numpy() for store in STORES]
                self._members[slot] = Member(member.config, self.layout, rows, member.mask, member.joined)

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
            self._maps[config.seed] = maps(config)
        return self._maps[config.seed]

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        bad = non_finite(self._stores)
        return [overflowed and member is not None for overflowed, member in zip(bad, self._members, strict=True)]


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
