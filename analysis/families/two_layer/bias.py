"""Sorted biases of the neurons of one trial per panel (the paper's Figures 5 and 11).

Data -> BiasInfo -> bias()
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.metrics import MONO, POLY
from monosweep.analysis.families.two_layer.networks import chosen
from monosweep.analysis.figures.data import Array, Data, column_of
from monosweep.analysis.figures.style import PANEL, panels, styled
from monosweep.analysis.knobs import FigureError, Row
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted


@dataclass(frozen=True, slots=True)
class BiasPanel:
    """The final biases of one trial, ascending."""

    title: str
    bias: Array
    mono: NDArray[np.bool_]
    """r > mono_threshold."""
    dead: NDArray[np.bool_]
    """No positive response to any single feature."""


@dataclass(frozen=True, slots=True)
class BiasInfo:
    panels: list[BiasPanel]


def bias_info(data: Data) -> BiasInfo:
    """Final biases of the neurons of each chosen trial.

    Raises:
        FigureError: if no neurons are recorded.
    """
    panels = [panel for title, row in chosen(data) if (panel := _panel(data.root, title, row))]
    if not panels:
        raise FigureError("bias needs rows in neurons; these trials have none")
    return BiasInfo(panels)


def _panel(root: Root, title: str, row: Row) -> BiasPanel | None:
    neurons = root.sql(
        f"SELECT bias, r FROM neurons WHERE trial_id = {quoted(row['trial_id'])} "
        "QUALIFY step = max(step) OVER () ORDER BY bias"
    ).to_pylist()
    if not neurons:
        return None
    r = column_of(neurons, "r")
    return BiasPanel(title, column_of(neurons, "bias"), r > row["mono_threshold"], r <= 0)


@styled
def bias(info: BiasInfo) -> Figure:
    """Neurons by rank of their bias, in three kinds."""
    figure, axes = panels(len(info.panels), PANEL, 3.2, room=0.8, least=4.6, sharey=True)
    for ax, panel in zip(axes, info.panels, strict=True):
        rank = np.arange(1, len(panel.bias) + 1)
        ax.axhline(0, color="#999999", lw=0.8)
        for mask, colour, name in (
            (panel.dead, "#999999", "answers nothing"),
            (~panel.mono & ~panel.dead, POLY, "polysemantic"),
            (panel.mono, MONO, "monosemantic"),
        ):
            if not mask.any():
                continue
            ax.scatter(rank[mask], panel.bias[mask], s=7, color=colour, lw=0, label=f"{name} ({mask.sum()})")
        ax.set_title(panel.title.replace(", lr", ",\nlr"))
        ax.set_xlabel("neuron, by bias")
        # sorted values leave this corner free
        ax.legend(loc="lower right", markerscale=2, handletextpad=0.2, reverse=True)
    axes[0].set_ylabel("bias")
    figure.suptitle("Bias of monosemantic and polysemantic neurons")
    return figure
