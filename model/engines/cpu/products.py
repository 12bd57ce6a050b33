"""The matrix products of a training step on a CPU, in the precision that a trial asks for.

`fp32` and `fp64` multiply in place.  `bf16` rounds both operands to bfloat16, accumulates in single precision and hands
that back, rounded once more; everything between the products stays as it is.  Torch does so by AMX or AVX512-BF16; on a
processor without, rounded operands are multiplied in single precision.  `tf32` rounds the operands as a GPU's tensor
cores take them and multiplies in single precision: no faster here, for trials that were or will be trained there.

Most trials never come here: `model.engines.cpu.compiled_step` compiles their steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from monosweep.model.config import Meanings
from monosweep.model.engines.cpu import gemm
from monosweep.model.precision import round_to_bf16, round_to_tf32
from monosweep.model.processor import has_bf16


class Products(Protocol):
    """How a step in Python multiplies."""

    def operand(self, name: str, values: Float[ndarray, "rows columns"]) -> Any:
        """`values` as a product wants them; the same name twice reuses one buffer."""

    def product(
        self, a: Any, b: Any, out: Float[ndarray, "rows columns"], *, trans_a: bool = False, trans_b: bool = False,
        add: bool = False,
    ) -> None:  # fmt: skip
        """a @ b into `out`, or added to it; `a` and `b` are operands, to be transposed or not."""


class Exact:
    """Products in the type of the data."""

    def operand(self, name: str, values: Float[ndarray, "rows columns"]) -> ndarray:
        """The values themselves."""
        return values

    def product(
        self, a: ndarray, b: ndarray, out: Float[ndarray, "rows columns"], *, trans_a: bool = False,
        trans_b: bool = False, add: bool = False,
    ) -> None:  # fmt: skip
        """a @ b into `out`, or added to it."""
        gemm.gemm(a, trans_a, b, trans_b, out, add)


class Rounded(Exact):
    """Products of rounded operands, accumulated in single precision.

    Args:
        rounding: of single precision.
        twice: whether products are rounded as well.
    """

    def __init__(self, rounding: Callable[[torch.Tensor], torch.Tensor], twice: bool) -> None:
        self._round, self._twice, self._buffers = rounding, twice, dict[str, ndarray]()

    def operand(self, name: str, values: Float[ndarray, "rows columns"]) -> ndarray:
        """A rounded copy, good until the name is used again."""
        rounded = self._buffer(name, values)
        torch.from_numpy(rounded).copy_(self._round(torch.from_numpy(values)))
        return rounded

    def product(
        self, a: ndarray, b: ndarray, out: Float[ndarray, "rows columns"], *, trans_a: bool = False,
        trans_b: bool = False, add: bool = False,
    ) -> None:  # fmt: skip
        """a @ b into `out` or added to it."""
        if not self._twice:
            super().product(a, b, out, trans_a=trans_a, trans_b=trans_b, add=add)
            return
        product = self._buffer("out", out)
        super().product(a, b, product, trans_a=trans_a, trans_b=trans_b)
        rounded, into = self._round(torch.from_numpy(product)), torch.from_numpy(out)
        into.add_(rounded) if add else into.copy_(rounded)

    def _buffer(self, name: str, like: Float[ndarray, "rows columns"]) -> ndarray:
        """Its shape, in the buffer of a name and a width."""
        key = f"{name} {like.shape[1]}"
        if key not in self._buffers or len(self._buffers[key]) < len(like):
            self._buffers[key] = np.empty_like(like)
        return self._buffers[key][: len(like)]


class BFloat16:
    """Products of operands rounded to bfloat16, by the processor's own instructions."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...]], torch.Tensor] = {}

    def operand(self, name: str, values: Float[ndarray, "rows columns"]) -> torch.Tensor:
        """A rounded copy, good until the name is used again."""
        return self._buffer(name, values.shape).copy_(torch.from_numpy(values))

    def product(
        self, a: torch.Tensor, b: torch.Tensor, out: Float[ndarray, "rows columns"], *, trans_a: bool = False,
        trans_b: bool = False, add: bool = False,
    ) -> None:  # fmt: skip
        """a @ b into `out` or added to it, rounded to bfloat16 once on the way."""
        product = torch.mm(a.T if trans_a else a, b.T if trans_b else b, out=self._buffer("out", out.shape))
        into = torch.from_numpy(out)
        into.add_(product) if add else into.copy_(product)

    def _buffer(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        key = (name, shape)
        if key not in self._buffers:
            self._buffers[key] = torch.empty(shape, dtype=torch.bfloat16)
        return self._buffers[key]


_PRODUCTS: Meanings[Callable[[], Products]] = Meanings(
    "precision", {
        "fp32": Exact, "fp64": Exact, "bf16": lambda: BFloat16() if has_bf16() else Rounded(round_to_bf16, twice=True),
        "tf32": lambda: Rounded(round_to_tf32, twice=False),
    },
)  # fmt: skip


def products(precision: str) -> Products:
    """How trials of this `precision` multiply."""
    return _PRODUCTS[precision]()
