"""Any family, packed: its loss of one trial, differentiated and mapped over the members by `torch.func`.

Members' tensors are stacked, an update rule works on the stacks, and no operation of a family sees two members.  How a
library multiplies a stack of matrices may depend on how many there are: members are equal to those trained alone to
`TOLERANCE`, not always to the bit.

On a CPU a stack is only so large that what is computed of its samples stays in cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import OPTIMIZERS, TrialConfig
from monosweep.model.families import family_of
from monosweep.model.family import Family, shared
from monosweep.model.heap import keep_freed_memory
from monosweep.model.member import MemberState
from monosweep.model.optimizers import STATES, update
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

if TYPE_CHECKING:
    from monosweep.model.family import Sampler

_AFTER = Family.after.__func__  # type: ignore[attr-defined]
WORTHWHILE_S = 2.0
"""Seconds that a pack has trained before its gradients are traced, which takes that long once a process."""
STACK_BYTES = 5 * 2**19
"""Of the samples of a stack's step on a CPU, about: few enough for its cache, enough to hide what calling an operation
costs."""
TOLERANCE = 1e-5
"""Relative difference of single-precision losses between packs, at most, over some hundred steps."""


class VmappedEngine:
    """Trains a pack of any family with Lamb, Adam, AdamW or SGD.

    Args:
        configs: trials of one shape.
        device: `cpu` or `cuda`.
    """

    name = how = "vmapped"
    chunk = 16

    def __init__(self, configs: Sequence[TrialConfig], device: str) -> None:
        self._family, self._device, self._dtype = family_of(configs[0]), device, DTYPES[configs[0].precision]
        self._slots: list[MemberState | None] = [MemberState(config=config) for config in configs]
        self._fixed: dict[int, dict[str, Tensor]] = {}
        self._stacks: list[_Stack] = []
        """Of all members, or none if there are others than they were made of."""
        self._in: dict[int, _Stack] = {}
        """By slot, the stack that has the member."""
        self._seconds = 0.0
        """How long these stacks have trained."""
        if device == "cpu":
            keep_freed_memory()

    @property
    def steps(self) -> list[int]:
        """As the contract says."""
        return [
            0 if state is None else state.step + (self._in[slot].done if self._in else 0)
            for slot, state in enumerate(self._slots)
        ]

    def advance(self, n_steps: int) -> Float64[ndarray, "steps slots"]:
        """As the contract says."""
        losses = np.full((n_steps, len(self._slots)), np.nan)
        if any(self._slots[slot] is None for slot in self._in):
            self._unstack()  # once for all who have left since the last steps
        if any(self._slots):
            start = time.perf_counter()
            for stack in self._stacked():
                losses[:, stack.slots] = stack.advance(n_steps, is_worth_tracing=self._seconds > WORTHWHILE_S)
            self._seconds += time.perf_counter() - start
        return losses

    def _unstack(self) -> None:
        self._slots = [None if held is None else self.take(slot) for slot, held in enumerate(self._slots)]
        self._stacks, self._in, self._seconds = [], {}, 0.0

    def take(self, slot: int) -> MemberState:
        """As the contract says."""
        state = self._slots[slot]
        assert state is not None, "an empty slot has nothing to take"
        if not self._in:
            return MemberState(config=state.config, step=state.step, tensors=state.tensors)
        stack = self._in[slot]
        return MemberState(config=state.config, step=state.step + stack.done, tensors=stack.take(slot))

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says."""
        if state is not None:
            self._unstack()
        self._slots[slot : slot + 1] = [state]
        self._fixed.pop(slot, None)

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""
        self._stacked()
        return self._in[slot].params(slot)

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""
        if slot not in self._fixed:
            state = self._slots[slot]
            assert state is not None
            fixed = self._family.fixed(state.config)
            self._fixed[slot] = {name: _placed(tensor, self._device, self._dtype) for name, tensor in fixed.items()}
        return self._fixed[slot]

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        bad = [False] * len(self._slots)
        for stack in self._stacked():
            for slot, overflowed in zip(stack.slots, stack.overflowed(), strict=True):
                bad[slot] = overflowed and self._slots[slot] is not None
        return bad

    def _stacked(self) -> Sequence[_Stack]:
        members = {slot: state for slot, state in enumerate(self._slots) if state is not None}
        if not self._stacks and members:
            for part in np.array_split(list(members), self._n_stacks(list(members.values()))):
                some = {int(slot): members[int(slot)] for slot in part}
                fixed = [self.fixed(slot) for slot in some]
                self._stacks.append(_Stack(self._family, some, fixed, self._dtype, self._device))
            self._in = {slot: stack for stack in self._stacks for slot in stack.slots}
            # What they held is in the stacks now.
            self._slots = [s and MemberState(config=s.config, step=s.step) for s in self._slots]
        return self._stacks

    def _n_stacks(self, members: Sequence[MemberState]) -> int:
        if self._device != "cpu":
            return 1
        first = members[0]
        batch = self._family.sampler(first.config)(first.step + 1)
        n_bytes = sum(tensor.numel() * self._dtype.itemsize for tensor in batch.values())
        return min(len(members), math.ceil(len(members) * n_bytes / STACK_BYTES) or 1)


@dataclass(frozen=True, slots=True)
class _Stream:
    """A data stream from some step on."""

    sampler: Sampler
    first: int
    """Steps that its members had done."""
    members: list[int]


class _Stack:
    """Members of a pack as they were put in, side by side; who comes or goes makes a new one."""

    def __init__(
        self, family: type[Family], members: Mapping[int, MemberState], fixed: Sequence[Mapping[str, Tensor]],
        dtype: torch.dtype, device: str,
    ) -> None:  # fmt: skip
        self.slots, self.done = list(members), 0
        self._family, self._dtype, self._device = family, dtype, device
        states = list(members.values())
        self._configs, self._first = [state.config for state in states], [state.step for state in states]
        given = [state.tensors or family.start(state.config) for state in states]
        self._optimizer = self._configs[0].optimizer
        kinds = STATES[self._optimizer]
        self._names = tuple(name for name in given[0] if not name.startswith(tuple(f"{kind}." for kind in kinds)))
        self._params = self._of(given, self._names)
        self._states = {
            kind: {name: self._state(given, f"{kind}.{name}", name) for name in self._names} for kind in kinds
        }
        """What the optimizer keeps, by kind and tensor."""
        own = OPTIMIZERS[self._optimizer]
        self._settings = {name: self._tensor([getattr(config, name) for config in self._configs]) for name in own}
        self._fixed = self._of(fixed, tuple(fixed[0]))
        self._knobs = self._numbers([family.knobs(config) for config in self._configs])
        self._streams = self._of_members()
        self._set_up()

    def _set_up(self) -> None:
        family, about = self._family, shared(self._configs[0])

        def objective(params: Any, fixed: Any, batch: Any, knobs: Any) -> tuple[Tensor, tuple[Tensor, Any]]:
            found = family.loss(about, params, fixed, batch, knobs)
            return found.objective, (found.reported, dict(found.passed))

        # One stream for all is no stack of copies.
        batches = None if len(self._streams) == 1 else 0
        gradients = torch.func.grad(objective, has_aux=True)
        self._gradients: Callable[..., Any] = torch.func.vmap(gradients, in_dims=(0, 0, batches, 0))
        self._traced = False
        changes = getattr(family.after, "__func__", family.after) is not _AFTER
        self._after = torch.func.vmap(lambda *given: dict(family.after(about, *given))) if changes else None

    def _of(self, given: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
        return {name: torch.stack([_placed(one[name], self._device, self._dtype) for one in given]) for name in names}

    def _state(self, given: Sequence[Mapping[str, Tensor]], name: str, like: str) -> Tensor:
        return torch.stack([one.get(name, torch.zeros_like(one[like])).to(self._device, self._dtype) for one in given])

    def _numbers(self, given: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
        """(member) of each knob."""
        return {name: self._tensor([one[name] for one in given]) for name in given[0]}

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=self._dtype, device=self._device)

    def _of_members(self) -> list[_Stream]:
        """The members' data streams; who reads the same one at the same step shares its samples."""
        found: dict[Any, list[int]] = {}
        for member, config in enumerate(self._configs):
            found.setdefault((config.stream(), self._first[member]), []).append(member)
        return [_Stream(self._family.sampler(self._configs[m[0]]), self._first[m[0]], m) for m in found.values()]

    def advance(self, n_steps: int, is_worth_tracing: bool) -> Float64[ndarray, "steps members"]:
        rates = self._tensor(lr_table(self._configs, [first + self.done for first in self._first], n_steps))
        losses = torch.empty(n_steps, len(self._configs), dtype=torch.float64)
        for index in range(n_steps):
            losses[index] = self._step(rates[index], is_worth_tracing and not self._traced)
        return losses.numpy()

    def _step(self, lr: Tensor, trace: bool) -> Tensor:
        self.done += 1
        scheduled = [
            self._family.schedule(config, first + self.done)
            for config, first in zip(self._configs, self._first, strict=True)
        ]
        knobs = {**self._knobs, **self._numbers(scheduled)}
        before = {name: tensor.clone() for name, tensor in self._params.items()} if self._after else {}
        given = self._params, self._fixed, self._batch(), knobs
        if trace:
            self._gradients, self._traced = traced(self._gradients, given), True
        grads, (loss, passed) = self._gradients(*given)
        steps = torch.tensor([first + self.done for first in self._first], dtype=torch.float64, device=self._device)
        for name in self._names:
            # Of stacks that lie in one piece these are views, so what is stepped is the stacks themselves.
            states = {kind: tensors[name].view(len(lr), -1) for kind, tensors in self._states.items()}
            params, slopes = self._params[name].view(len(lr), -1), grads[name].reshape(len(lr), -1)
            update(self._optimizer, params, slopes, states, lr, self._settings, steps)
        if self._after:
            after = self._params | self._after(self._params, before, passed, knobs)
            self._params = {name: after[name].contiguous() for name in self._names}
        losses: Tensor = loss.detach().cpu().double()
        return losses

    def _batch(self) -> dict[str, Tensor]:
        drawn = [stream.sampler(stream.first + self.done) for stream in self._streams]
        placed = [{name: _placed(tensor, self._device, self._dtype) for name, tensor in one.items()} for one in drawn]
        if len(placed) == 1:
            return placed[0]
        of = {member: batch for batch, stream in zip(placed, self._streams, strict=True) for member in stream.members}
        return {name: torch.stack([of[m][name] for m in range(len(self._configs))]) for name in placed[0]}

    def params(self, slot: int) -> dict[str, Tensor]:
        member = self.slots.index(slot)
        return {name: tensor[member] for name, tensor in self._params.items()}

    def take(self, slot: int) -> dict[str, Tensor]:
        member = self.slots.index(slot)
        stacks = dict(self._params)
        for kind, tensors in self._states.items():
            stacks |= {f"{kind}.{name}": tensor for name, tensor in tensors.items()}
        return {name: tensor[member].cpu().clone() for name, tensor in stacks.items()}

    def overflowed(self) -> list[bool]:
        finite = torch.ones(len(self.slots), dtype=torch.bool, device=self._device)
        for tensors in (self._params, *self._states.values()):
            for tensor in tensors.values():
                finite &= torch.isfinite(tensor.reshape(len(tensor), -1)).all(dim=1)
        return torch.logical_not(finite).tolist()


def traced(function: Callable[..., Any], given: tuple[Any, ...]) -> Callable[..., Any]:
    """A function as the list of operations that it does to tensors of these shapes: the same bits in half the time,
    without what `torch.func` does around each; the function itself where it cannot be told so."""
    from torch.fx.experimental.proxy_tensor import make_fx  # its first use imports torch's compiler

    try:
        return make_fx(function)(*given)
    except Exception:  # whatever a user's code does that a trace does not know
        return function


def _placed(tensor: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
