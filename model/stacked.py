"""The packed engine on a GPU: a whole pack in every operation, sampling included, and no Python between two steps.

    schedule of a chunk -> device;  per step: one CUDA graph (samples, gradients, LAMB, decay);  losses -> host

A trial sees the same data wherever it is trained (`model.device_stream`).  Where the device cannot record the step, or
a recorded one does not give the same bits, the same functions are called step by step, as they are on a CPU in tests.
No machine with a GPU was at hand when this was written: what is tested is the arithmetic, on a CPU, and that nothing
in a step or a draw waits for the device; recording and replaying have tests that run where torch finds a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from model.config import TrialConfig
from model.device import DTYPES
from model.device_products import matmul_settings
from model.device_samples import DeviceSamples
from model.graph import Captured, capture_checked
from model.layout import Layout
from model.network import Weights, initial_weights
from model.packed import non_finite
from model.schedule import bias_decay_at, lr_table
from model.stacked_step import StackedStep

_STORES = ("params", "exp_avg", "exp_avg_sq")
CHUNK_STEPS = 64
"""Steps between two looks at the losses."""
WORTH_CAPTURING = 64
"""Steps that pay for recording them."""
_REHEARSED = 2


class StackedEngine:
    """Trains a pack of trials of one shape on one device.

    Args:
        configs: trials that agree on `SHAPE_FIELDS`, with optimizer Lamb.
        device: `cuda`, or `cpu` to test it.
    """

    name = "packed"
    chunk = CHUNK_STEPS

    def __init__(self, configs: tuple[TrialConfig, ...], device: str) -> None:
        self.configs, self.step, self.layout = configs, 0, Layout.of(configs[0])
        self._precision, dtype = configs[0].precision, DTYPES[configs[0].precision]
        start = torch.zeros(len(configs), self.layout.row, dtype=dtype)
        for row, config in zip(start, configs, strict=True):
            self.layout.write(row, initial_weights(config))
        self._host: Tensor | None = start
        """Parameters on the host as they are at `step`; None if not copied yet."""
        params = start.to(device, copy=True)
        self._stores = (params, torch.zeros_like(params), torch.zeros_like(params))
        self._samples = DeviceSamples(configs, device)
        self._math = StackedStep(configs, self.layout, device)
        self._lr, self._bias_decay, self._losses = params.new_zeros(3, CHUNK_STEPS, len(configs)).unbind(0)
        self._index = torch.zeros(1, dtype=torch.int64, device=device)
        """Which step of the chunk is next; counted on the device, where a recorded step can read it."""
        self._train_step = Captured(self._one_step)
        self.captured = False
        """Whether steps are replayed from a CUDA graph."""
        self._capture_due = device == "cuda" and configs[0].n_steps >= WORTH_CAPTURING
        self._frozen: set[int] = set()

    def advance(self, n_steps: int) -> Float64[ndarray, "steps pack"]:
        """Train `n_steps` more; every trial's task loss at each, NaN where it is frozen."""
        with matmul_settings(self._precision):
            if self._capture_due:
                self._capture_due = False
                self.capture()
            chunks = [min(CHUNK_STEPS, n_steps - done) for done in range(0, n_steps, CHUNK_STEPS)]
            losses = np.concatenate([self._train(n) for n in chunks])
        losses[:, sorted(self._frozen)] = math.nan
        return losses

    def capture(self) -> bool:
        """Record the step and the draws as CUDA graphs; whether that could be done.  Changes no state."""
        before = [store.clone() for store in self._stores]

        def restore() -> None:
            for store, saved in zip(self._stores, before, strict=True):
                store.copy_(saved)

        def rehearse() -> list[Tensor]:
            restore()
            self._run(_REHEARSED)
            return [self._stores[0].clone(), self._losses[:_REHEARSED].clone()]

        calls = [*(stream.draw for stream in self._samples.streams), self._train_step]
        try:
            self.captured = capture_checked(calls, self._rewind, rehearse)
        finally:
            restore()
        return self.captured

    def _train(self, n_steps: int) -> Float64[ndarray, "steps pack"]:
        self._run(n_steps)
        self.step += n_steps
        self._host = None
        return self._losses[:n_steps].cpu().numpy().astype(np.float64)

    def _run(self, n_steps: int) -> None:
        """Train from `step` on; nothing in here waits for the device."""
        steps = range(self.step + 1, self.step + 1 + n_steps)
        _send(lr_table(self.configs, steps), self._lr[:n_steps])
        _send(np.array([[bias_decay_at(c, s) for c in self.configs] for s in steps]), self._bias_decay[:n_steps])
        self._rewind()
        for step in steps:
            self._samples.seek_if_due(step)
            self._train_step()

    def _rewind(self) -> None:
        self._index.zero_()
        self._samples.seek(self.step + 1)

    def _one_step(self) -> None:
        lr, bias_decay = (table.index_select(0, self._index).squeeze(0) for table in (self._lr, self._bias_decay))
        self._samples.fill()
        loss = self._math(self._stores, self._samples, lr, bias_decay)
        self._losses.index_copy_(0, self._index, loss.unsqueeze(0))
        self._index.add_(1)

    def weights(self, member: int) -> Weights:
        """Parameters of one trial, on the host."""
        if self._host is None:
            (self._host,) = _to_host([self._stores[0]])
        return self.layout.weights(self._host[member])

    def embedding(self, member: int) -> Float[Tensor, "d_embed n_features"]:
        """P of one trial, on the host."""
        return self._samples.embedding(member)

    def overflowed(self) -> list[bool]:
        """Which trials hold a non-finite parameter or moment."""
        return non_finite(dict(zip(_STORES, self._stores, strict=True)))

    def freeze(self, member: int) -> None:
        """Report nothing of this trial any more; its row stays in the pack and touches no other."""
        self._frozen.add(member)

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs, on the host."""
        return dict(zip(_STORES, _to_host(self._stores), strict=True))

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue from `state` as it was after `step`."""
        for name, store in zip(_STORES, self._stores, strict=True):
            store.copy_(state[name])
        self.step, self._host = step, None


def _send(values: Float64[ndarray, "steps pack"], out: Tensor) -> None:
    """Copy to the device without waiting for it."""
    host = torch.from_numpy(values).to(out.dtype)
    out.copy_(host.pin_memory() if out.is_cuda else host, non_blocking=True)


def _to_host(tensors: tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    """Copies in the host's memory; all of them are on their way before one wait."""
    on_gpu = tensors[0].is_cuda
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=on_gpu).copy_(t, non_blocking=True) for t in tensors]
    if on_gpu:
        torch.cuda.current_stream().synchronize()
    return copies
