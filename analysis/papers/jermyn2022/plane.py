"""Figure 9: monosemantic neurons in the plane of bias_offset and ε, with the curve of -√(Nε/8d).

Data + Scale -> PlaneInfo -> plane()
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from monosweep.analysis.families.two_layer.metrics import PER_FEATURE, PER_NEURON, POLY
from monosweep.analysis.figures.data import Array, Data
from monosweep.analysis.figures.style import grid, styled
from monosweep.analysis.knobs import by_value, named, shown
from monosweep.analysis.papers.jermyn2022.batches import Scale


@dataclass(frozen=True, slots=True)
class PlaneInfo:
    """Medians over seeds; (ε, offset) matrices with NaN where no trial is, and the curve that divides them."""

    offsets: Array
    probs: Array
    mono_per_neuron: Array
    mono_per_feature: Array
    curve: Array
    """-√ε at each of `probs`, as `Scale.bias_threshold` puts it."""


def plane_info(data: Data, scale: Scale) -> PlaneInfo:
    """Monosemanticity over the initial bias and the density of features."""
    offsets, probs = (sorted({row[name] for row in data.rows}) for name in ("bias_offset", "feature_prob"))
    cells = {
        (prob, offset): same
        for prob, line in by_value(data.rows, "feature_prob").items()
        for offset, same in by_value(line, "bias_offset").items()
    }

    def matrix(name: str) -> Array:
        return np.array(
            [[np.median([r[name] for r in cells[p, o]]) if (p, o) in cells else np.nan for o in offsets] for p in probs]
        )

    curve = np.array([scale.bias_threshold(prob) for prob in probs])
    return PlaneInfo(np.array(offsets), np.array(probs), matrix(PER_NEURON.name), matrix(PER_FEATURE.name), curve)


@styled
def plane(info: PlaneInfo) -> Figure:
    """A panel per feature and one per neuron; rows are ε, columns offsets."""
    figure, axes = grid(1, 2, 7.6, 3.9, sharey=True)
    x, y = np.arange(len(info.offsets)), np.arange(len(info.probs))
    for ax, values, label in (
        (axes[0, 0], info.mono_per_feature, PER_FEATURE.label.replace("\n", " ")),
        (axes[0, 1], info.mono_per_neuron, PER_NEURON.label.replace("\n", " ")),
    ):
        image = ax.imshow(values, aspect="auto", cmap="viridis", origin="lower", vmin=0)
        # cells are evenly spaced, offsets need not be: the curve goes through the cells' own coordinate
        ax.plot(np.interp(info.curve, info.offsets, x), y, color=POLY, lw=2)
        ax.set_xticks(x, [shown("bias_offset", round(float(v), 3)) for v in info.offsets], rotation=45)
        ax.set_yticks(y, [shown("feature_prob", float(v)) for v in info.probs])
        ax.set_xlabel(named("bias_offset"))
        ax.grid(False)
        figure.colorbar(image, ax=ax, label=label)
    axes[0, 0].set_ylabel(named("feature_prob"))
    line = Line2D([], [], color=POLY, lw=2)
    label = "−√(Nε/8d), the paper's −√ε: one standard deviation of a new neuron's input"
    figure.legend([line], [label], loc="outside lower center")
    figure.suptitle("Monosemantic neurons by initial bias and density of features")
    return figure
