"""The packed engine on a GPU: a whole pack in every operation, sampling included, and no Python between two steps.

    schedule of a chunk -> device;  per eight steps: one CUDA graph (samples, gradients, LAMB, decay);  losses -> host

A pack has a fixed number of rows.  All that differs between trials is read from buffers that stay where they are, so
who leaves or joins changes numbers and records nothing anew; a row that is nobody's costs its share of the products,
of which `products` wants whole groups.
Only when more than half of the rows are nobody's, or somebody comes for whom there is no room, are the buffers made,
and the graphs recorded, anew.
While the host looks at losses, or at the weights of a recorded step, the device trains the next chunk; `_held` is what
was there before it.  Nothing is tried at run time: where the device fails, `DeviceError` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import ConfigError, DeviceError
from monosweep.model.engines.cpu.engine import STORES
from monosweep.model.engines.cpu.pack import non_finite
from monosweep.model.engines.gpu import elementwise, graph
from monosweep.model.engines.gpu.copies import Arriving, aside, leave, mark, send, to_host
from monosweep.model.engines.gpu.elementwise import Elementwise
from monosweep.model.engines.gpu.graph import Captured
from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.engines.gpu.products import group_size, matmul_settings, whole_groups
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.engines.gpu.step import StackedStep
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.decay import bias_decay_table
from monosweep.model.families.two_layer.weights import initial_weights
from monosweep.model.member import MemberState
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import is_recorded, lr_table, next_recorded

CHUNK_STEPS = 64
"""Steps between two looks at the losses."""
LOOK_STEPS = 256
"""Most that is trained while the host looks at a recorded step; a pack that is told to stop trains so much more."""
WORTH_CAPTURING = 64
"""Steps that pay for recording them."""
STEPS_AT_ONCE = 8
"""Steps that one recording holds, so that a small pack's steps need not wait for the host to launch them."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Steps that the device has been asked for."""

    n_steps: int
    losses: Arriving


class StackedEngine:
    """Trains a pack of trials of one shape on one device.

    Args:
        configs: two-layer networks that agree on their shape, with optimizer Lamb.
        device: `cuda`, or `cpu` to test it.
        kernels: whether our own kernels do what is no product; left out, on whatever is no CPU.
    """

    name = "packed"

    def __init__(self, configs: Sequence[TwoLayerConfig], device: str, kernels: bool | None = None) -> None:
        self._device, self._kernels = device, device != "cpu" if kernels is None else kernels
        self._captures = device == "cuda"
        self._joining: dict[int, MemberState] = {}
        """Who has been put in and found no room."""
        with self._guarded():
            self._build({slot: MemberState(config=config) for slot, config in enumerate(configs)}, len(configs))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """No trial can make these operations fail: on a GPU, whatever is raised is the device's or its software's."""
        try:
            yield
        except (torch.OutOfMemoryError, ConfigError):
            raise
        except Exception as error:
            if self._device != "cuda":
                raise
            lines = str(error).strip().splitlines() or [""]
            raise DeviceError(f"the GPU or its software failed ({type(error).__name__}: {lines[0]})") from error

    def _build(self, members: Mapping[int, MemberState], n_slots: int) -> None:
        """Buffers with a row for each of these members, as they are; a slot without one is empty."""
        configs: list[Any] = [state.config for state in members.values()]
        done, n = [state.step for state in members.values()], whole_groups(len(members), group_size(configs[0]))
        self.config: TwoLayerConfig = configs[0]
        """Of any trial."""
        self.layout, dtype = PaddedLayout.of(self.config), DTYPES[self.config.precision]
        self._row_of: list[int | None] = [None] * n_slots
        self._members: list[tuple[Any, int] | None] = [None] * n
        """Config and steps done of each row's trial."""
        self._stores = self._zeros(len(STORES), n, self.layout.row, dtype=dtype)
        """Parameters and both moments, a row each."""
        self._held = torch.zeros_like(self._stores)
        self._held_at: torch.cuda.Event | None = None
        self._next: _Chunk | None = None
        """What has been asked of the device beyond the steps that are done; then `_held` is as they left it."""
        self._samples = DeviceSamples(configs, done, n, self._device, self._kernels)
        self._math = StackedStep(self.config, self.layout, n, self._device, _parts(self._kernels))
        self._rates = self._zeros(LOOK_STEPS, 2, n, dtype=dtype)
        """Learning rate and bias decay of each step of the chunk."""
        self._losses = self._zeros(LOOK_STEPS, n, dtype=dtype)
        self._index = self._zeros(1, dtype=torch.int64)
        """Which step of the chunk is next; counted on the device, where a recorded step can read it."""
        self._draw = Captured(self._samples.streams.draw)
        self._train_step, self._train_steps = Captured(self._one_step), Captured(self._some_steps)
        for row, (slot, state) in enumerate(members.items()):
            self._write(row, slot, state)

    def _zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    @property
    def captured(self) -> bool:
        """Whether steps are replayed from a CUDA graph."""
        return self._train_step.captured

    @property
    def how(self) -> str:
        """As in the column `engine`."""
        how = ["packed"] + ["fused"] * self._kernels + ["captured"] * self.captured
        return ", ".join(how)

    @property
    def chunk(self) -> int:
        """As the contract says."""
        return self._next.n_steps if self._next else CHUNK_STEPS

    @property
    def steps(self) -> list[int]:
        """As the contract says."""
        done = [0 if row is None else self._of(row)[1] for row in self._row_of]
        for slot, state in self._joining.items():
            done[slot] = state.step
        return done

    def _of(self, row: int) -> tuple[Any, int]:
        member = self._members[row]
        assert member is not None, "the row is nobody's"
        return member

    def _there(self) -> dict[int, tuple[Any, int]]:
        """Config and steps done of those who are there, by row."""
        return {row: member for row, member in enumerate(self._members) if member}

    def advance(self, n_steps: int) -> Float64[ndarray, "steps slots"]:
        """As the contract says."""
        with self._guarded(), matmul_settings(self.config.precision):
            self._seat(smaller=True)
            self._capture()
            out = np.full((n_steps, len(self._row_of)), math.nan)
            done = 0
            while done < n_steps and self._there():
                some = min(self.chunk, n_steps - done)
                self._train(some, out[done : done + some])
                done += some
        return out

    def _train(self, n_steps: int, out: Float64[ndarray, "steps slots"]) -> None:
        chunk = self._next
        as_thought = chunk is None or chunk.n_steps == n_steps
        if chunk is None or not as_thought:
            self._take_back()
            chunk = self._run(n_steps)
        self._next = None
        self._members = [member and (member[0], member[1] + n_steps) for member in self._members]
        self._samples.passed(n_steps)
        if as_thought:
            self._go_on()
        losses = chunk.losses.numpy()
        for slot, row in enumerate(self._row_of):
            if row is not None:
                out[:, slot] = losses[:, row]

    def _go_on(self) -> None:
        """Ask the device for what will be asked for next, unless somebody is about to leave."""
        there = self._there().values()
        if not there or any(done >= config.n_steps for config, done in there):
            return
        looked_at = any(is_recorded(done, config.n_steps) for config, done in there)
        to_look = min(next_recorded(done, config.n_steps) - done for config, done in there)
        self._hold()
        self._next = self._run(min(LOOK_STEPS if looked_at else CHUNK_STEPS, to_look))

    def _hold(self) -> None:
        self._held.copy_(self._stores)
        self._held_at = mark(self._device == "cuda")

    def _take_back(self) -> None:
        """Have the device be where the steps that are done have left it."""
        if self._next is not None:
            self._next = None
            self._restore()

    def _restore(self) -> None:
        self._stores.copy_(self._held)
        self._samples.seek()

    def _run(self, n_steps: int) -> _Chunk:
        """Train on from where the members are; nothing in here waits for the device."""
        there = self._there()
        configs, done = [config for config, _ in there.values()], [done for _, done in there.values()]
        rates = np.zeros((n_steps, 2, len(self._members)))
        if there:
            rates[:, 0, list(there)] = lr_table(configs, done, n_steps)
            rates[:, 1, list(there)] = bias_decay_table(configs, done, n_steps)
        send(rates, self._rates[:n_steps])
        self._index.zero_()
        ran = drawn = 0
        while ran < n_steps:
            if ran == drawn:
                drawn += self._samples.left(ran)
            if ran == drawn:
                self._draw()
                drawn += self._samples.drawn(ran)
            some = min(n_steps, drawn) - ran >= STEPS_AT_ONCE
            (self._train_steps if some else self._train_step)()
            ran += STEPS_AT_ONCE if some else 1
        return _Chunk(n_steps, leave(self._losses[:n_steps]))

    def _one_step(self) -> None:
        lr, bias_decay = self._rates.index_select(0, self._index).squeeze(0).unbind(0)
        self._samples.fill()
        params, first, second = self._stores.unbind(0)
        loss = self._math((params, first, second), self._samples, lr, bias_decay)
        self._losses.index_copy_(0, self._index, loss.unsqueeze(0))
        self._index.add_(1)

    def _some_steps(self) -> None:
        for _ in range(STEPS_AT_ONCE):
            self._one_step()

    def _capture(self) -> None:
        """Record the draws and the steps, if that pays; changes no state."""
        worth = any(config.n_steps - done >= WORTH_CAPTURING for config, done in self._there().values())
        if self.captured or not self._captures or not worth:
            return
        self._take_back()
        self._hold()
        graph.capture([self._draw, self._train_step, self._train_steps])
        self._restore()

    @contextmanager
    def _found(self) -> Iterator[Tensor]:
        """Parameters and moments as the steps that are done have left them, to be read while the device goes on."""
        with self._guarded():
            if self._next is None:
                yield self._stores
                return
            with aside(self._held_at):
                yield self._held

    def _row(self, slot: int) -> int:
        if slot in self._joining:
            self._seat()
        row = self._row_of[slot]
        assert row is not None, "the slot is empty"
        return row

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; on the host."""
        row = self._row(slot)
        with self._found() as stores:
            return self.layout.named(to_host(stores[0, row]))

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; on the host, without masks, which the engine has put into the weights."""
        return self._samples.fixed(self._row(slot))

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        self._seat()
        with self._found() as stores:
            bad = non_finite(dict(zip(STORES, stores, strict=True)))
        return [row is not None and bad[row] for row in self._row_of]

    def take(self, slot: int) -> MemberState:
        """As the contract says."""
        if slot in self._joining:
            state = self._joining[slot]
            return MemberState(config=state.config, step=state.step, tensors=state.tensors)
        row, tensors = self._row(slot), dict[str, Tensor]()
        with self._found() as stores:
            host = to_host(stores[:, row])
        for store, prefix in zip(host, STORES.values(), strict=True):
            tensors |= {f"{prefix}{name}": tensor.clone() for name, tensor in self.layout.named(store).items()}
        config, done = self._of(row)
        return MemberState(config=config, step=done, tensors=tensors)

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says: into a row that is nobody's, if there is one and it has room for the trial's samples;
        else all buffers are made anew, once they are needed."""
        self._row_of += [None] * (slot + 1 - len(self._row_of))
        self._joining.pop(slot, None)
        with self._guarded():
            row = self._row_of[slot]
            if row is not None:
                self._leave(slot, row)
            if state is None:
                return
            config: Any = state.config
            free = [row for row, member in enumerate(self._members) if member is None]
            if free and self._samples.has_room(config, state.step):
                self._take_back()
                self._write(free[0] if row is None else row, slot, state)
            else:
                self._joining[slot] = state

    def _leave(self, slot: int, row: int) -> None:
        self._row_of[slot], self._members[row] = None, None
        self._math.put(row, None)
        self._samples.put(row, None, 0)

    def _write(self, row: int, slot: int, state: MemberState) -> None:
        config: Any = state.config
        given = state.tensors or initial_weights(config).named()
        host = torch.zeros(len(STORES), self.layout.row, dtype=self._stores.dtype)
        for store, prefix in zip(host, STORES.values(), strict=True):
            if state.tensors or not prefix:
                self.layout.write(store, given, prefix)
        self._stores[:, row].copy_(host)
        self._math.put(row, config)
        self._samples.put(row, config, state.step)
        self._row_of[slot], self._members[row] = row, (config, state.step)

    def _seat(self, *, smaller: bool = False) -> None:
        """Buffers for those who have found no room, or `smaller` ones, once more than half of the rows are nobody's."""
        n = len(self._there())
        fewer = 2 * n < len(self._members) > whole_groups(n, group_size(self.config))
        if self._joining or (smaller and n and fewer):
            seated = [slot for slot, row in enumerate(self._row_of) if row is not None]
            members = {slot: self.take(slot) for slot in sorted([*seated, *self._joining])}
            self._joining = {}
            with self._guarded():
                self._build(members, len(self._row_of))


def _parts(kernels: bool) -> Elementwise:
    """What does all but the products."""
    if not kernels:
        return elementwise
    from monosweep.model.engines.gpu import kernels as fused  # Triton, which only torch's builds for GPUs bring

    return fused
