"""Figure 26: the positive-bias half as a linear map, and its singular values.

Data -> LinearInfo -> linear()
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from monosweep.analysis.families.two_layer.mechanism import linear_map
from monosweep.analysis.families.two_layer.metrics import MONO, POLY
from monosweep.analysis.families.two_layer.networks import with_weights
from monosweep.analysis.figures.data import Array, Data
from monosweep.analysis.figures.style import grid, styled


@dataclass(frozen=True, slots=True)
class LinearInfo:
    title: str
    matrix: Array
    """L2₊ L1₊ P."""
    singular_values: Array
    d_embed: int


def linear_info(data: Data) -> LinearInfo:
    """The linearised positive-bias half of the most monosemantic trial with saved weights."""
    title, row = with_weights(data)
    found = linear_map(data.root.weights(row["trial_id"]))
    return LinearInfo(title, found.matrix, found.singular_values, row["d_embed"])


@styled
def linear(info: LinearInfo) -> Figure:
    """The matrix to the left, its singular values by rank to the right."""
    figure, axes = grid(1, 2, 7.4, 3.6)
    left, right = axes[0]
    top = float(np.abs(info.matrix).max()) or 1.0
    image = left.imshow(info.matrix, cmap="RdBu", norm=TwoSlopeNorm(0, -top, top), interpolation="nearest")
    left.grid(False)
    left.set_xlabel("input feature")
    left.set_ylabel("output")
    figure.colorbar(image, ax=left, label="entry of L2₊ L1₊ P", pad=0.02)
    rank = np.arange(1, len(info.singular_values) + 1)
    right.axhline(1, color="#999999", lw=0.8)
    right.axvline(info.d_embed + 0.5, color=POLY, lw=0.9, ls="--")
    right.plot(rank, info.singular_values, "o", ms=3, color=MONO)
    right.text(info.d_embed + 2, 0.5, f"d = {info.d_embed}", color=POLY)
    right.set_ylim(bottom=-0.03)
    right.set_xlabel("rank")
    right.set_ylabel("singular value")
    figure.suptitle(f"The positive-bias neurons without their nonlinearity ({info.title})", fontsize=10)
    return figure
