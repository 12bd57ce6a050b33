"""The batched matrix products of a training step on a GPU, in the precision that a trial asks for.

`fp32` is never TF32, whatever torch has been set to; `tf32` lets the tensor cores round the operands; `bf16` rounds
them here, accumulates in single precision and rounds the product once, as the CPU does.  Tensors on a CPU stand in for
a GPU's in tests: for `tf32` their operands are rounded here too.

A library chooses how it multiplies a stack of matrices by how many there are, and so do the last bits.  So whole groups
are multiplied, one after another, whose size follows from the trials' shape alone: a trial's bits do not depend on how
many others there are, and a row that is nobody's costs its share.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.config import Meanings, Precision
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.precision import DTYPES, round_to_tf32

ROUNDS_TO = Meanings("precision", {"fp32": None, "fp64": None, "bf16": "bf16", "tf32": "tf32"})
"""What products' operands are rounded to."""
BUSY = 2**22
"""Activations that keep a GPU's processors busy: more in one product gain little."""
MOST = 64
"""Trials of a group, at most, so that one alone does not pay for many."""


def group_size(config: TwoLayerConfig) -> int:
    """How many trials are multiplied at once: a power of two that follows from their shape.

    >>> [group_size(TwoLayerConfig(n_neurons=k, batch_size=b)) for k, b in ((1024, 8192), (64, 128))]
    [1, 64]
    """
    return 1 << min(BUSY // (config.samples_per_step * config.n_neurons) or 1, MOST).bit_length() - 1


def whole_groups(n: int, group: int) -> int:
    """`n`, rounded up to whole groups."""
    return -(-n // group) * group


def multiply(a: Tensor, b: Tensor, out: Tensor, group: int) -> None:
    """a @ b of stacks of matrices, whole groups of them, into `out`."""
    for first in range(0, len(out), group):
        some = slice(first, first + group)
        torch.bmm(a[some], b[some], out=out[some])


class DeviceProducts:
    """How a step multiplies.

    Args:
        precision: of the trials.
        device: where the operands are.
    """

    def __init__(self, precision: Precision, device: str) -> None:
        self.dtype = torch.bfloat16 if ROUNDS_TO[precision] == "bf16" else DTYPES[precision]
        """Type of operands, and of what products give: nothing is converted on the way to the next one."""
        self._in_tf32_here = ROUNDS_TO[precision] == "tf32" and device == "cpu"

    def operand(self, values: Float[Tensor, "pack rows columns"]) -> Tensor:
        """`values` as a product wants them."""
        values = values.to(self.dtype)
        return round_to_tf32(values) if self._in_tf32_here else values


@contextmanager
def matmul_settings(precision: Precision) -> Iterator[None]:
    """How CUDA multiplies inside the block: TF32 for `tf32` and for nothing else, sums in single precision.

    Torch's settings are the process's, and are as they were after the block.
    """
    matmul = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"
    tf32: object = ROUNDS_TO[precision] == "tf32"
    if name == "fp32_precision":
        tf32 = "tf32" if tf32 else "ieee"
    wanted = {name: tf32, "allow_bf16_reduced_precision_reduction": False}
    before = {setting: getattr(matmul, setting) for setting in wanted}
    try:
        for setting, value in wanted.items():
            setattr(matmul, setting, value)
        yield
    finally:
        for setting, value in before.items():
            setattr(matmul, setting, value)
