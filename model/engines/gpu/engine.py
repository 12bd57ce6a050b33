"""The packed engine on a GPU: a whole pack in every operation, sampling included, and no Python between two steps.

    schedule of a chunk -> device;  per eight steps: one CUDA graph (samples, gradients, LAMB, decay);  losses -> host

A trial sees the same data wherever it is trained (`sampling`).  Elementwise work is done by fused kernels
where these compute what torch computes.  Where the device cannot record the steps, or a recorded one does not give the
same bits, the same functions are called step by step, as they are on a CPU in tests.
No machine with a GPU was at hand when this was written: what is tested is the arithmetic, on a CPU, that of the kernels
in Triton's interpreter, and that nothing in a step or a draw waits for the device; recording and replaying, and the
kernels as they are compiled, have tests that run where torch finds a GPU.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.engines.cpu.engine import STORES, non_finite
from monosweep.model.engines.gpu.copies import aside, send, to_host
from monosweep.model.engines.gpu.graph import Captured, capture_checked
from monosweep.model.engines.gpu.products import matmul_settings
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.engines.gpu.step import StackedStep
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.decay import bias_decay_table
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.weights import initial_weights
from monosweep.model.member import MemberState
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_table

CHUNK_STEPS = 64
"""Steps between two looks at the losses."""
CHUNKS_AHEAD = 4
"""Most that is trained while the host looks at a snapshot; a pack that is told to stop trains so much more."""
WORTH_CAPTURING = 64
"""Steps that pay for recording them."""
STEPS_AT_ONCE = 8
"""Steps that one recording holds, so that a small pack's steps need not wait for the host to launch them."""
TOLERANCE = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 3e-2}
"""How far from torch's a trial's fused steps may end, as a share of the way that they go, by `precision`."""
_FUSED_REHEARSED = 2
_Rehearse = Callable[[int], list[Tensor]]


class StackedEngine:
    """Trains a pack of trials of one shape on one device.

    Args:
        configs: two-layer networks that agree on their shape, with optimizer Lamb.
        device: `cuda`, or `cpu` to test it.
    """

    name = "packed"

    def __init__(self, configs: Sequence[TwoLayerConfig], device: str) -> None:
        self._device = device
        self._joining: dict[int, MemberState] = {}
        """Who has been put in since the buffers were made."""
        self._build({slot: MemberState(config=config) for slot, config in enumerate(configs)}, len(configs))

    def _build(self, members: Mapping[int, MemberState], n_slots: int) -> None:
        """Buffers for these members, as they are; a slot without one is empty."""
        states = list(members.values())
        self.configs: tuple[Any, ...] = tuple(state.config for state in states)
        """Of each row of the stores."""
        self._row_of: list[int | None] = [None] * n_slots
        for row, slot in enumerate(members):
            self._row_of[slot] = row
        self.step = min(state.step for state in states)
        self._ahead_by = [state.step - self.step for state in states]
        """How many steps each row's member is ahead of `step`."""
        self.layout = Layout.of(self.configs[0])
        self._precision, dtype = self.configs[0].precision, DTYPES[self.configs[0].precision]
        stores = [torch.zeros(len(states), self.layout.row, dtype=dtype) for _ in STORES]
        for row, state in enumerate(states):
            given = state.tensors or initial_weights(self.configs[row]).named()
            for store, prefix in zip(stores, STORES.values(), strict=True):
                if state.tensors or not prefix:
                    self.layout.write(store[row], given, prefix)
        self._host: Tensor | None = stores[0]
        """Parameters on the host as they are at `step`; None if not copied yet."""
        self._on_its_way: torch.cuda.Event | None = None
        """What to wait for before `_host` is read."""
        self._host_stores: list[Tensor] | None = None
        """All stores on the host as they are at `step`; None if not copied yet."""
        params, first, second = (store.to(self._device, copy=True) for store in stores)
        self._stores = (params, first, second)
        self._held, self._ahead = self._stores, deque[Tensor]()
        """Parameters and moments at `step`, and the losses of the chunks that `_stores` are beyond it."""
        self._samples = DeviceSamples(self.configs, self._device, self._ahead_by)
        self._math = StackedStep(self.configs, self.layout, self._device)
        self._lr, self._bias_decay, self._losses = params.new_zeros(3, CHUNK_STEPS, len(self.configs)).unbind(0)
        self._index = torch.zeros(1, dtype=torch.int64, device=self._device)
        """Which step of the chunk is next; counted on the device, where a recorded step can read it."""
        self._train_step, self._train_steps = Captured(self._one_step), Captured(self._some_steps)
        self.fused = False
        """Whether fused kernels do the elementwise work."""
        self.captured = False
        """Whether steps are replayed from a CUDA graph."""
        worth = any(c.n_steps - done >= WORTH_CAPTURING for c, done in zip(self.configs, self._done(), strict=True))
        self.due = {"fuse", "capture"} if self._device == "cuda" and worth else set()
        """What to try before the first step."""

    @property
    def chunk(self) -> int:
        """As the contract says; where more has been trained than was asked for, as much as is given out at once."""
        return len(self._ahead[0]) if self._ahead else CHUNK_STEPS

    def advance(self, n_steps: int) -> Float64[ndarray, "steps slots"]:
        """As the contract says."""
        self._seat()
        with matmul_settings(self._precision):
            self._prepare()
            losses = np.concatenate([self._train(n) for n in _chunks(n_steps)])
        out = np.full((n_steps, len(self._row_of)), math.nan)
        for slot, row in enumerate(self._row_of):
            if row is not None:
                out[:, slot] = losses[:, row]
        return out

    def _done(self) -> list[int]:
        """Steps that each row's member has done."""
        return [self.step + ahead for ahead in self._ahead_by]

    @property
    def steps(self) -> list[int]:
        """As the contract says."""
        done = self._done()
        steps = [0 if row is None else done[row] for row in self._row_of]
        for slot, state in self._joining.items():
            steps[slot] = state.step
        return steps

    def _prepare(self) -> None:
        due, self.due = self.due, set()
        if "fuse" in due and self._precision in TOLERANCE:
            self.fuse()
        if "capture" in due:
            self.capture()

    def fuse(self) -> bool:
        """Have fused kernels do the elementwise work, if what they compute from the pack's parameters is within
        `TOLERANCE` of torch's; whether that could be done.  Changes no state.

        Otherwise training goes on without them, and one warning says why.
        """
        reason = "they do not compute what torch computes"
        with self._rehearsal() as rehearse:
            start, expected = self._stores[0].clone(), rehearse(_FUSED_REHEARSED)
            del self._math  # one step's buffers at a time
            try:
                from monosweep.model.engines.gpu.fused_step import (
                    FusedStep,  # Triton, which only torch's builds for GPUs bring
                )

                self._math = FusedStep(self.configs, self.layout, self._device)
                self._samples.scatter_with(self._math.scatter)
                self.fused = _close(rehearse(_FUSED_REHEARSED), expected, start, TOLERANCE[self._precision])
            except Exception as error:  # Triton's and its compilers' have no base class of their own
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if not self.fused:
            self._math = StackedStep(self.configs, self.layout, self._device)
            self._samples.scatter_with(None)
            warnings.warn(f"training without fused kernels, which is slower: {reason}", RuntimeWarning, stacklevel=2)
        return self.fused

    def capture(self) -> bool:
        """Record the step and the draws as CUDA graphs; whether that could be done.  Changes no state."""
        calls = [*(stream.draw for stream in self._samples.streams), self._train_step]
        with self._rehearsal() as rehearse:
            if self._samples.left(1) >= STEPS_AT_ONCE:
                calls.append(self._train_steps)
            self.captured = capture_checked(calls, self._rewind, lambda: rehearse(STEPS_AT_ONCE + 1))
        return self.captured

    @contextmanager
    def _rehearsal(self) -> Iterator[_Rehearse]:
        """A function that trains some steps from the state as it is, with the samples of the first steps, and returns
        parameters and losses; the state is as it was after the block."""
        before, step = [store.clone() for store in self._stores], self.step

        def restore() -> None:
            for store, saved in zip(self._stores, before, strict=True):
                store.copy_(saved)

        def rehearse(n_steps: int) -> list[Tensor]:
            restore()
            self._run(n_steps)
            return [self._stores[0].clone(), self._losses[:n_steps].clone()]

        self.step, ahead = 0, self._samples.in_step()  # where every stream's first window begins
        try:
            yield rehearse
        finally:
            self.step = step
            self._samples.out_of_step(ahead)
            restore()

    @property
    def ahead(self) -> bool:
        """Whether more has been trained than `advance` has been asked for; then only what `run_ahead` found is kept."""
        return bool(self._ahead)

    def run_ahead(self, n_steps: int) -> None:
        """Set out for the next `n_steps`, or `CHUNKS_AHEAD` chunks, while the caller looks at `weights`, which set out
        for the host on a stream of their own.  All is as it was at `step` until `advance` is called, and again once it
        has been called for all that was trained ahead, a chunk at a time.
        """
        self._seat()
        self._held = (self._stores[0].clone(), self._stores[1].clone(), self._stores[2].clone())
        self._host, self._on_its_way = aside(self._held[0])
        step = self.step
        with matmul_settings(self._precision):
            for n in _chunks(min(n_steps, CHUNKS_AHEAD * CHUNK_STEPS)):
                self._run(n)
                self._ahead.append(self._losses[:n].clone())
                self.step += n
        self.step = step

    def _train(self, n_steps: int) -> Float64[ndarray, "steps pack"]:
        if not self._ahead:
            self._run(n_steps)
        losses = self._ahead.popleft() if self._ahead else self._losses[:n_steps]
        assert len(losses) == n_steps
        self._settle(self.step + n_steps)
        return losses.cpu().numpy().astype(np.float64)

    def _settle(self, step: int) -> None:
        """`_stores` are what the engine holds, at `step`, or at the end of what it has trained ahead."""
        self.step, self._held, self._host, self._on_its_way = step, self._stores, None, None
        self._host_stores = None

    def _run(self, n_steps: int) -> None:
        """Train from `step` on; nothing in here waits for the device."""
        steps = range(self.step + 1, self.step + 1 + n_steps)
        send(lr_table(self.configs, self._done(), n_steps), self._lr[:n_steps])
        send(bias_decay_table(self.configs, self._done(), n_steps), self._bias_decay[:n_steps])
        self._rewind()
        step = steps.start
        while step < steps.stop:
            self._samples.seek_if_due(step)
            some = min(steps.stop - step, self._samples.left(step)) >= STEPS_AT_ONCE
            (self._train_steps if some else self._train_step)()
            step += STEPS_AT_ONCE if some else 1

    def _rewind(self) -> None:
        self._index.zero_()
        self._samples.seek(self.step + 1)

    def _one_step(self) -> None:
        lr, bias_decay = (table.index_select(0, self._index).squeeze(0) for table in (self._lr, self._bias_decay))
        self._samples.fill()
        loss = self._math(self._stores, self._samples, lr, bias_decay)
        self._losses.index_copy_(0, self._index, loss.unsqueeze(0))
        self._index.add_(1)

    def _some_steps(self) -> None:
        for _ in range(STEPS_AT_ONCE):
            self._one_step()

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; on the host."""
        row = self._row(slot)
        if self._host is None:
            (self._host,) = to_host([self._held[0]])
        if self._on_its_way is not None:
            self._on_its_way.synchronize()
        return self.layout.named(self._host[row])

    def _row(self, slot: int) -> int:
        if slot in self._joining:
            self._seat()
        row = self._row_of[slot]
        assert row is not None, "the slot is empty"
        return row

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says; on the host, without masks, which the engine has put into the weights."""
        return self._samples.fixed(self._row(slot))

    def overflowed(self) -> list[bool]:
        """As the contract says."""
        self._seat()
        bad = non_finite(dict(zip(STORES, self._held, strict=True)))
        return [row is not None and bad[row] for row in self._row_of]

    def take(self, slot: int) -> MemberState:
        """As the contract says."""
        if slot in self._joining:
            state = self._joining[slot]
            return MemberState(config=state.config, step=state.step, tensors=state.tensors)
        row, tensors = self._row(slot), dict[str, Tensor]()
        if self._host_stores is None:
            self._host_stores = to_host(self._held)
        for store, prefix in zip(self._host_stores, STORES.values(), strict=True):
            tensors |= {f"{prefix}{name}": tensor.clone() for name, tensor in self.layout.named(store[row]).items()}
        return MemberState(config=self.configs[row], step=self.steps[slot], tensors=tensors)

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says.  Who leaves keeps his row, which touches no other, until half of the rows are empty;
        all buffers are made anew for those who have joined, once they are needed."""
        self._row_of += [None] * (slot + 1 - len(self._row_of))
        self._row_of[slot] = None
        self._joining.pop(slot, None)
        if state is not None:
            self._joining[slot] = state

    def _seat(self) -> None:
        """Buffers for those who have joined, or smaller ones, once half of the rows are nobody's."""
        seated = [slot for slot, row in enumerate(self._row_of) if row is not None]
        too_large = seated and 2 * len(seated) <= len(self.configs) and not self._ahead
        if self._joining or too_large:
            members = {slot: self.take(slot) for slot in sorted([*seated, *self._joining])}
            self._joining = {}
            self._build(members, len(self._row_of))


def _chunks(n_steps: int) -> list[int]:
    return [min(CHUNK_STEPS, n_steps - done) for done in range(0, n_steps, CHUNK_STEPS)]


def _close(found: list[Tensor], expected: list[Tensor], start: Tensor, tolerance: float) -> bool:
    """Whether every trial that stays finite has parameters and losses close to the expected ones."""
    away, way, size = (torch.linalg.vector_norm(t, dim=1) for t in (found[0] - expected[0], expected[0] - start, start))
    close = away <= tolerance * way + 1e-6 * size
    close &= torch.isclose(found[1], expected[1], rtol=tolerance).all(dim=0)
    return bool((close | ~torch.isfinite(way)).all())
