"""The packed engine of two-layer networks on a CPU: gradients written out by hand, one trial in cache at a time.

Trials that share samples share an embedding too, so a group's chunk is embedded once (`samples`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.engines.cpu.member import Member
from monosweep.model.engines.cpu.pack import CpuEngine
from monosweep.model.engines.cpu.samples import Group, maps
from monosweep.model.engines.cpu.step import Step
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.decay import bias_decay_table
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.weights import initial_weights, masks
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

STORES = {"params": "", "exp_avg": "exp_avg.", "exp_avg_sq": "exp_avg_sq."}
"""LAMB's moments."""


class PackedEngine(CpuEngine[Member, Group]):
    """Trains a pack of two-layer networks of one shape on one thread of a CPU.

    Args:
        configs: trials that agree on their shape, with optimizer Lamb.
    """

    layout: Layout

    def __init__(self, configs: Sequence[TwoLayerConfig]) -> None:
        layout = Layout.of(configs[0])
        self._step = Step(configs[0], layout)
        self._maps: dict[int, dict[str, Tensor]] = {}
        self._masks: dict[int, Float[ndarray, " row"] | None] = {}
        """Like the maps, those of a seed."""
        super().__init__(configs, layout, STORES)

    def _start(self, config: TwoLayerConfig) -> Mapping[str, Tensor]:
        return initial_weights(config).named()

    def _held(self, config: TwoLayerConfig, rows: Sequence[Float[ndarray, " row"]], joined: int) -> Member:
        if config.seed not in self._masks:
            self._masks[config.seed] = mask_row(self.layout, config)
        return Member(config, self.layout, rows, self._masks[config.seed], joined)

    def _group(self, member: Member) -> Group:
        return Group(member.config, self._maps_of(member.config), self._step)

    def _together(self) -> list[tuple[Group, list[int]]]:
        """As the base class says; without the maps and masks of those who have left."""
        seeds = {member.config.seed for member in self._members if member}
        self._maps = {seed: maps for seed, maps in self._maps.items() if seed in seeds}
        self._masks = {seed: mask for seed, mask in self._masks.items() if seed in seeds}
        return super()._together()

    def _train(
        self, group: Group, members: Sequence[Member], done: int, n_steps: int
    ) -> Float64[ndarray, "steps members"]:
        configs, chunk = [member.config for member in members], group.chunk(done + 1, n_steps)
        rates = lr_table(configs, [done] * len(configs), n_steps).T.astype(self._step.dtype, order="C")
        decays = bias_decay_table(configs, [done] * len(configs), n_steps).T.astype(self._step.dtype, order="C")
        losses = np.empty((n_steps, len(members)))
        for place, member in enumerate(members):
            member.lr, member.bias_decay = rates[place], decays[place]
            losses[:, place] = self._step.train(member, chunk)
        return losses

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; without masks, which the engine has put into the weights."""
        return self._maps_of(self._member(slot).config)

    def _maps_of(self, config: TwoLayerConfig) -> dict[str, Tensor]:
        """Drawn once for all members of a seed."""
        if config.seed not in self._maps:
            self._maps[config.seed] = maps(config)
        return self._maps[config.seed]


def mask_row(layout: Layout, config: TwoLayerConfig) -> Float[ndarray, " row"] | None:
    """The masks of a sparse network in the layout of its parameters; None if it is dense."""
    if config.connectivity == 1:
        return None
    row = torch.zeros(layout.row, dtype=DTYPES[config.precision])
    layout.write(row, masks(config).named())
    return row.numpy()
