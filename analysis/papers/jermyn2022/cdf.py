"""Figure 2: how r is distributed over the neurons of one trial, a line per recorded step.

Data -> CdfInfo -> cdf()
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.families.two_layer.metrics import POLY
from monosweep.analysis.families.two_layer.networks import best
from monosweep.analysis.figures.data import Array, Data, title_of
from monosweep.analysis.figures.style import colours_of, grid, styled
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.tables.storage import quoted

MOST_CHECKPOINTS = 9


@dataclass(frozen=True, slots=True)
class CdfInfo:
    """r of every neuron, ascending, at each recorded step of one trial."""

    title: str
    r: dict[int, Array]
    threshold: float


def cdf_info(data: Data) -> CdfInfo:
    """How r spreads out over training.

    Raises:
        FigureError: if neurons are recorded at the end only.
    """
    row = data.trial or best(data.rows)
    found = data.root.sql(
        f"SELECT step, list(r ORDER BY r) AS r FROM neurons WHERE trial_id = {quoted(row['trial_id'])} "
        "GROUP BY step ORDER BY step"
    ).to_pylist()
    if len(found) < 2:
        raise FigureError("it needs r at several steps; launch with `record_neurons: log2`")
    kept = found[-MOST_CHECKPOINTS:]  # before, r is still that of the initial weights
    curves = {int(point["step"]): np.array(point["r"], dtype=np.float64) for point in kept}
    return CdfInfo(title_of("", row, data.by), curves, row["mono_threshold"])


@styled
def cdf(info: CdfInfo) -> Figure:
    """One panel; colours go with the steps."""
    figure, axes = grid(1, 1, 6.4, 3.8)
    ax = axes[0, 0]
    for (step, r), colour in zip(info.r.items(), colours_of(list(info.r)).values(), strict=True):
        share = np.arange(1, len(r) + 1) / len(r)
        ax.step(r, share, where="post", color=colour, lw=1.6, label=f"{step:,}")
    ax.axvline(info.threshold, color=POLY, lw=0.8, ls="--")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("r (1: answers one feature alone)")
    ax.set_ylabel("share of neurons with r up to this")
    figure.legend(title="training steps", loc="outside right upper")
    figure.suptitle("Monosemanticity of the neurons over training")
    ax.set_title(info.title)
    return figure
