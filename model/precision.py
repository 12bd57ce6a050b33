"""What the knob `precision` means: the type of what is kept in memory, and how matrix products are rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.processor import has_bf16

DTYPES = Meanings(
    "precision", {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.float32, "tf32": torch.float32}
)
"""Type of parameters, moments and element-wise arithmetic by `precision`."""
ROUNDED = ("bf16", "tf32")
"""Whose products are of rounded operands."""


def product(precision: str, a: Tensor, b: Tensor) -> Tensor:
    """a @ b; for `bf16` and `tf32` of rounded operands, and so in the backward pass."""
    return _PRODUCTS[precision](a, b)


def _exact(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def _bf16(a: Tensor, b: Tensor) -> Tensor:
    if a.is_cpu and not has_bf16():
        return round_to_bf16(round_to_bf16(a) @ round_to_bf16(b))
    return (a.bfloat16() @ b.bfloat16()).to(a.dtype)


def round_to_bf16(values: Tensor) -> Tensor:
    """To eight significant bits; so are gradients that come back through it."""
    return values.bfloat16().to(values.dtype)


def _tf32(a: Tensor, b: Tensor) -> Tensor:
    function: Any = _TF32Product  # `apply` is typed in some releases of torch only
    rounded: Tensor = function.apply(a, b)
    return rounded


class _TF32Product(torch.autograd.Function):
    """a @ b of operands rounded to TF32, in both directions."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        y: Tensor = round_to_tf32(a) @ round_to_tf32(b)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b = (round_to_tf32(operand) for operand in ctx.saved_tensors)
        grad = round_to_tf32(grads[0])
        return grad @ b.mT, a.mT @ grad


_PRODUCTS: Meanings[Callable[[Tensor, Tensor], Tensor]] = Meanings(
    "precision", {"fp32": _exact, "fp64": _exact, "bf16": _bf16, "tf32": _tf32}
)


def round_to_tf32(values: Tensor) -> Tensor:
    """Single precision to TF32: 11 significant bits, to the nearest, ties to even; NaN and infinity stay."""
    function: Any = _TF32
    rounded: Tensor = function.apply(values)
    return rounded


class _TF32(torch.autograd.Function):
    """The rounding, number by number: a stack of tensors is rounded as one, for not all releases of torch can map what
    looks at bits.  Nothing is differentiated through it."""

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        bits = values.view(torch.int32)
        up = 0xFFF + ((bits >> 13) & 1)
        rounded: Tensor = ((bits + up) & ~0x1FFF).view(values.dtype)
        return torch.where(torch.isfinite(values), rounded, values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise NotImplementedError("rounding to TF32 has no gradient of its own; product has")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], values: Tensor) -> tuple[Tensor, int]:
        return round_to_tf32(values), in_dims[0]
