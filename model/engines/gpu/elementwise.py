"""What a step does besides its products, in torch's operations: the definition of `kernels`, and what CPU tensors get.

Shapes: (pack, batch, n_neurons) of activations, (pack, batch, n_out) of errors, (pack, row) of parameters; one number
for each trial in `l1`, `reg`, `pull`, `lr` and in `alive`, which is 0 where a slot is nobody's and needs no work.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.families.two_layer import weights
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER
from monosweep.model.optimizers import lamb_step


def activate(name: str, e: Tensor, bias: Tensor, alive: Tensor, out: Tensor) -> None:
    """act(e + bias) into `out`, which may be `e`."""
    out.copy_(weights.activate(name, e.to(bias.dtype) + bias.unsqueeze(1)))


def times_slope(
    name: str, dh: Tensor, e: Tensor, bias: Tensor, l1: Tensor, alive: Tensor, sums: Tensor
) -> None:  # fmt: skip
    """(dL/dh + l1 · sign(h)) · act'(e + bias) in the place of dL/dh; over all samples, (pack, n_neurons), in `sums`.

    Args:
        e: what `activate` was given; what came out where the slope can be told from that.
    """
    told = TOLD_BY_ANSWER[name]
    e = e.to(bias.dtype) if told else e.to(bias.dtype) + bias.unsqueeze(1)
    grads = dh.to(bias.dtype) + l1.view(-1, 1, 1) * torch.sign(e if told else weights.activate(name, e))
    grads = torch.where(e <= 0, 0.0, grads) if told else grads * weights.activation_slope(name, e)
    dh.copy_(grads)
    torch.sum(grads, dim=1, out=sums)


def subtract_target(y: Tensor, target: Tensor, stream_of: Tensor, alive: Tensor, scale: float) -> Tensor:
    """y - target in the place of y; `scale` times each trial's sum of its squares.

    Args:
        target: of every data stream, (streams, batch, n_out).
        stream_of: which stream each trial reads.
    """
    error = y.to(target.dtype) - target.index_select(0, stream_of)
    y.copy_(error)
    # Sample by sample first: a sum of millions of squares in one go loses digits on a CPU.
    per_sample: Tensor = torch.linalg.vector_norm(error, dim=2)
    return per_sample.square().sum(dim=1) * scale


def lamb(
    stores: tuple[Tensor, Tensor, Tensor], grads: Tensor, bias_grads: Tensor, mask: Tensor | None, reg: Tensor,
    pull: Tensor, alive: Tensor, lr: Tensor, layout: PaddedLayout, scale: float,
) -> None:  # fmt: skip
    """One step of LAMB; parameters and both moments change in place.

    Args:
        grads: times `mask` and `scale`, once the biases' pull, `reg` times their distance from `pull`, is added; zero
            between the tensors, as all rows are.
        bias_grads: what `grads` holds nothing of, (pack, n_neurons), in the parameters' precision.
    """
    params, finished = stores[0], grads.to(stores[0].dtype, copy=True)
    biases, own = layout.bias(finished).copy_(bias_grads), slice(layout.own[1])
    biases[:, own] += (layout.bias(params)[:, own] - pull.unsqueeze(1)) * reg.unsqueeze(1)
    if mask is not None:
        finished.mul_(mask)
    finished.mul_(scale)
    lamb_step(params, finished, *stores[1:], torch.empty_like(params), layout.segments, lr)


@runtime_checkable
class Elementwise(Protocol):
    """This module, or `kernels`."""

    def activate(self, name: str, e: Tensor, bias: Tensor, alive: Tensor, out: Tensor) -> None: ...

    def times_slope(
        self, name: str, dh: Tensor, e: Tensor, bias: Tensor, l1: Tensor, alive: Tensor, sums: Tensor
    ) -> None: ...

    def subtract_target(self, y: Tensor, target: Tensor, stream_of: Tensor, alive: Tensor, scale: float) -> Tensor: ...

    def lamb(
        self, stores: tuple[Tensor, Tensor, Tensor], grads: Tensor, bias_grads: Tensor, mask: Tensor | None,
        reg: Tensor, pull: Tensor, alive: Tensor, lr: Tensor, layout: PaddedLayout, scale: float,
    ) -> None: ...  # fmt: skip
