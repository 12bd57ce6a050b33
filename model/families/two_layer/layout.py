"""How a trial's parameters lie in one row of storage, on every device and in every checkpoint.

    | w_in, transposed (d_embed, n_neurons) | bias (n_neurons) | padding | w_out (n_out, n_neurons) | padding |

The bias takes part in no product: `bf16` and `tf32` round products' operands, and the bias is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from monosweep.model.families.two_layer.config import TwoLayerConfig

ALIGN = 16
"""w_out and each row start at a multiple of so many elements."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of one shape's tensors in a row."""

    d_embed: int
    n_neurons: int
    n_out: int
    segments: tuple[slice, slice, slice]
    """w_in, bias and w_out, for which LAMB keeps separate norms."""
    row: int
    """Elements of a row, padding included."""

    @classmethod
    def of(cls, config: TwoLayerConfig) -> Layout:
        """The layout of all trials shaped like `config`."""
        return cls.of_sizes(config.d_embed, config.n_neurons, config.n_out)

    @staticmethod
    def of_sizes(d: int, k: int, out: int) -> Layout:
        """The layout of tensors of these sizes."""
        start = _aligned((d + 1) * k)
        segments = (slice(0, d * k), slice(d * k, (d + 1) * k), slice(start, start + out * k))
        return Layout(d, k, out, segments, _aligned(segments[2].stop))

    def encoder(self, rows: Float[Tensor, "tile row"]) -> Float[Tensor, "tile d_embed n_neurons"]:
        """w_in transposed, as a view."""
        return rows[:, self.segments[0]].view(-1, self.d_embed, self.n_neurons)

    def bias(self, rows: Float[Tensor, "tile row"]) -> Float[Tensor, "tile n_neurons"]:
        """The biases, as a view."""
        return rows[:, self.segments[1]]

    def decoder(self, rows: Float[Tensor, "tile row"]) -> Float[Tensor, "tile n_out n_neurons"]:
        """w_out, as a view."""
        return rows[:, self.segments[2]].view(-1, self.n_out, self.n_neurons)

    def encoder_of(self, row: Float[ndarray, " row"]) -> Float[ndarray, "d_embed n_neurons"]:
        """`encoder` of one row of numpy's."""
        return row[self.segments[0]].reshape(self.d_embed, self.n_neurons)

    def decoder_of(self, row: Float[ndarray, " row"]) -> Float[ndarray, "n_out n_neurons"]:
        """`decoder` of one row of numpy's."""
        return row[self.segments[2]].reshape(self.n_out, self.n_neurons)

    def named(self, row: Float[Tensor, " row"]) -> Mapping[str, Tensor]:
        """A trial's tensors as its family names them, as views."""
        w_in, bias, w_out = (row[segment] for segment in self.segments)
        return {"w_in": w_in.view(self.d_embed, -1).T, "bias": bias, "w_out": w_out.view(self.n_out, -1)}

    def write(self, row: Float[Tensor, " row"], tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Copy a trial's tensors, or others with such a prefix, into a row."""
        for name, own in self.named(row).items():
            own.copy_(tensors[prefix + name])


def _aligned(n: int) -> int:
    return math.ceil(n / ALIGN) * ALIGN
