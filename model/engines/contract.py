"""What every engine does: train the members of a pack, each at a step of its own, and give them out and take them in.

put(slot, state) ──> advance(n) ──> losses        params(slot), fixed(slot): what `look` looks at
take(slot) <── …                                   put(slot, None): the slot is empty, its work is gone
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.member import MemberState


class Engine(Protocol):
    """Trains trials of one shape; slots are numbered from 0."""

    @property
    def name(self) -> str:
        """`packed`, `vmapped` or `solo`."""

    @property
    def how(self) -> str:
        """The name, and how the device is made to train: what the column `engine` says."""

    @property
    def chunk(self) -> int:
        """Steps that a caller should ask for at once."""

    @property
    def steps(self) -> list[int]:
        """Optimiser steps that the member in each slot has done."""

    def advance(self, n_steps: int) -> Float64[ndarray, "steps slots"]:
        """Train every member `n_steps` more; its task loss at each, before the update, and NaN for empty slots."""

    def take(self, slot: int) -> MemberState:
        """A copy of what the member in a slot is: config, step and tensors."""

    def put(self, slot: int, state: MemberState | None) -> None:
        """Have a slot hold this member, or nobody; the first slot behind the last is a new one."""

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """A member's trained tensors as they are now; not to be written to, and good until the next call."""

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """A member's fixed tensors."""

    def overflowed(self) -> list[bool]:
        """Which slots hold a non-finite parameter or moment."""
