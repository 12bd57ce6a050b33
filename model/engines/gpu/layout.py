"""How parameters and samples lie on a GPU: every size is rounded up, so that all operands of products are aligned.

What lies beyond the sizes that a trial asks for is zero, and stays so: a neuron without weights answers 0 and learns
nothing, whatever the activation, and nobody asks for the answers that are beyond the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout

PAD = 8
"""Sizes are multiples of so many elements: 16 bytes of bf16, as tensor cores want each row to begin."""


@dataclass(frozen=True, slots=True)
class PaddedLayout(Layout):
    """Places of one shape's tensors in a row, between zeros."""

    own: tuple[int, int, int]
    """d_embed, n_neurons and n_out as the trials have them; the fields of that name are rounded up."""

    @classmethod
    def of(cls, config: TwoLayerConfig) -> PaddedLayout:
        """The layout of all trials shaped like `config`."""
        own = config.d_embed, config.n_neurons, config.n_out
        whole = Layout.of_sizes(*map(padded, own))
        return cls(whole.d_embed, whole.n_neurons, whole.n_out, whole.segments, whole.row, own)

    def named(self, row: Float[Tensor, " row"]) -> Mapping[str, Tensor]:
        """A trial's own tensors as its family names them, as views."""
        (d, k, out), whole = self.own, Layout.named(self, row)
        return {"w_in": whole["w_in"][:k, :d], "bias": whole["bias"][:k], "w_out": whole["w_out"][:out, :k]}


def padded(n: int) -> int:
    """`n` as it lies on a GPU."""
    return -(-n // PAD) * PAD
