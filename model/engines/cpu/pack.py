"""What the hand-tuned engines of a CPU have in common: rows of storage, members that come and go, groups that read the
same samples.

Trials that read the same samples form a group, which draws a chunk of steps once.  Each of its trials then trains the
whole chunk while its parameters stay in cache.  A trial's operations have the same shapes and the same order whoever
else is in the pack, and none runs over two trials, so its bits cannot depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.engines.cpu import gemm
from monosweep.model.member import MemberState
from monosweep.model.precision import DTYPES

CHUNK_BYTES = 2**21
"""What one chunk of steps' features would take with their zeros: enough steps to hide the cost of drawing, few enough
for what is made of them to stay in cache."""
MAX_CHUNK = 128


class Rows(Protocol):
    """How a trial's tensors lie in a row of storage."""

    @property
    def row(self) -> int:
        """Elements of a row."""

    def named(self, row: Float[Tensor, " row"]) -> Mapping[str, Tensor]:
        """A trial's tensors as its family names them, as views."""

    def write(self, row: Float[Tensor, " row"], tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Copy a trial's tensors, or others with such a prefix, into a row."""


class Held(Protocol):
    """One trial as an engine holds it."""

    @property
    def config(self) -> Any:
        """The trial's config."""

    @property
    def joined(self) -> int:
        """Where the engine's clock stood when the trial began, or would have stood."""

    @property
    def stream(self) -> object:
        """What its samples depend on."""


M = TypeVar("M", bound=Held)
G = TypeVar("G")


class CpuEngine(ABC, Generic[M, G]):
    """Trains a pack of one shape on one thread of a CPU.

    Args:
        configs: trials of one shape.
        layout: how each lies in a row.
        stores: what is kept of every trial, a row each, and how a `MemberState` names the tensors in it; `params` and
            what the optimizer keeps.
    """

    name = how = "packed"

    def __init__(self, configs: Sequence[Any], layout: Rows, stores: Mapping[str, str]) -> None:
        self.layout, self._prefixes, dtype = layout, stores, DTYPES[configs[0].precision]
        self._stores = {name: torch.zeros(len(configs), layout.row, dtype=dtype) for name in stores}
        self._members: list[M | None] = [None] * len(configs)
        self._views: dict[int, Mapping[str, Tensor]] = {}
        """Members' parameters, made when they are first asked for."""
        self._clock = 0
        self._groups: dict[tuple[object, int], G] = {}
        for slot, config in enumerate(configs):
            self.put(slot, MemberState(config=config))
        cells = configs[0].samples_per_step * configs[0].n_features
        self.chunk = int(np.clip(CHUNK_BYTES // (cells * dtype.itemsize), 1, MAX_CHUNK))
        """Steps that a group's samples are drawn for at once, and that a caller should ask for."""

    @abstractmethod
    def _start(self, config: Any) -> Mapping[str, Tensor]:
        """A trial's tensors before its first step."""

    @abstractmethod
    def _held(self, config: Any, rows: Sequence[Float[ndarray, " row"]], joined: int) -> M:
        """A trial that is put in."""

    @abstractmethod
    def _group(self, member: M) -> G:
        """The samples that this and other members read."""

    @abstractmethod
    def _train(self, group: G, members: Sequence[M], done: int, n_steps: int) -> Float64[ndarray, "steps members"]:
        """Train members of a group, which have done so many steps."""

    @abstractmethod
    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""

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
                    members = [self._member(slot) for slot in slots]
                    chunk[:, slots] = self._train(group, members, self._clock - members[0].joined, len(chunk))
                self._clock += len(chunk)
        return losses

    def _together(self) -> list[tuple[G, list[int]]]:
        """Members that read the same samples in the same steps: one stream, at the same step of it."""
        found: dict[tuple[object, int], list[int]] = {}
        for slot, member in enumerate(self._members):
            if member:
                found.setdefault((member.stream, member.joined), []).append(slot)
        self._groups = {key: group for key, group in self._groups.items() if key in found}
        for key, slots in found.items():
            if key not in self._groups:
                self._groups[key] = self._group(self._member(slots[0]))
        return [(self._groups[key], slots) for key, slots in found.items()]

    def _member(self, slot: int) -> M:
        member = self._members[slot]
        assert member is not None, "the slot is empty"
        return member

    def take(self, slot: int) -> MemberState:
        """As the contract says."""
        member, tensors = self._member(slot), dict[str, Tensor]()
        for store, prefix in self._prefixes.items():
            named = self.layout.named(self._stores[store][slot])
            tensors |= {f"{prefix}{name}": tensor.clone() for name, tensor in named.items()}
        return MemberState(config=member.config, step=self._clock - member.joined, tensors=tensors)

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says."""
        if slot == len(self._members):
            self._members.append(None)
            self._stores = {name: torch.cat([rows, rows[:1] * 0]) for name, rows in self._stores.items()}
            self._point_at_rows()
        if state is None:
            self._members[slot] = None
            self._views.pop(slot, None)  # which would keep storage that has been moved
            return
        given = state.tensors or self._start(state.config)
        for store, prefix in self._prefixes.items():
            row = self._stores[store][slot].zero_()
            if state.tensors or store == "params":
                self.layout.write(row, given, prefix)
        self._hold(slot, state.config, self._clock - state.step)

    def _hold(self, slot: int, config: Any, joined: int) -> None:
        rows = [rows[slot].numpy() for rows in self._stores.values()]
        self._members[slot] = self._held(config, rows, joined)
        self._views.pop(slot, None)

    def _point_at_rows(self) -> None:
        """Members' views of the storage, which has moved."""
        for slot, member in enumerate(self._members):
            if member:
                self._hold(slot, member.config, member.joined)

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; views of the storage."""
        if slot not in self._views:
            self._views[slot] = self.layout.named(self._stores["params"][slot])
        return self._views[slot]

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        bad = non_finite(self._stores)
        return [overflowed and member is not None for overflowed, member in zip(bad, self._members, strict=True)]


def non_finite(stores: Mapping[str, Float[Tensor, "pack row"]]) -> list[bool]:
    """Which rows of any store hold a NaN or an infinity: 0 times them is NaN, as is a sum with one."""
    finite = torch.stack([torch.isfinite(store.mul(0).sum(dim=1)) for store in stores.values()]).all(dim=0)
    return torch.logical_not(finite).tolist()
