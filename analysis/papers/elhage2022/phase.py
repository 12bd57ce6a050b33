"""The phase diagrams: what becomes of the last feature, by how much it counts and how often features are present.

Evidence -> PhaseInfo -> phase()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.families.superposition.features import features_of
from monosweep.analysis.figures.data import Array
from monosweep.analysis.figures.style import grid, styled
from monosweep.analysis.knobs import FigureError, Row
from monosweep.analysis.papers.elhage2022.batches import PHASE
from monosweep.analysis.papers.elhage2022.statistics import best


@dataclass(frozen=True, slots=True)
class Diagram:
    """One model."""

    n_features: int
    d_hidden: int
    share: Array
    """(importance, probability) of a dimension that the last feature has in the best restart, 0 if it is not
    represented; NaN where no trial is."""
    restarts: tuple[int, int]
    """The fewest and the most of a point."""


@dataclass(frozen=True, slots=True)
class PhaseInfo:
    importances: list[float]
    probs: list[float]
    diagrams: list[Diagram]


def phase_info(evidence: Evidence[Any]) -> PhaseInfo:
    """The best restart of each point.

    Raises:
        FigureError: if trials left no features.
    """
    rows = evidence.batch(PHASE)
    importances, probs = (sorted({row[name] for row in rows}) for name in ("last_importance", "feature_prob"))
    models = sorted({(row["n_features"], row["d_hidden"]) for row in rows})
    return PhaseInfo(importances, probs, [_diagram(evidence, rows, m, importances, probs) for m in models])


def _diagram(
    evidence: Evidence[Any], rows: list[Row], model: tuple[int, int], importances: list[float], probs: list[float]
) -> Diagram:
    cells: dict[tuple[float, float], list[Row]] = {}
    for row in rows:
        if (row["n_features"], row["d_hidden"]) == model:
            cells.setdefault((row["last_importance"], row["feature_prob"]), []).append(row)
    kept = {cell: best(restarts) for cell, restarts in cells.items()}
    features = features_of(evidence.root, list(kept.values()))
    if lacking := [row["trial_id"] for row in kept.values() if row["trial_id"] not in features]:
        raise FigureError(f"trial {lacking[0]} left no rows in features; launch it again into another root")
    share = np.full((len(importances), len(probs)), np.nan)
    for (importance, prob), row in kept.items():
        share[importances.index(importance), probs.index(prob)] = features[row["trial_id"]].last_share
    counts = [len(restarts) for restarts in cells.values()]
    return Diagram(*model, share, (min(counts), max(counts)))


@styled
def phase(info: PhaseInfo) -> Figure:
    """A panel for each model; cells are evenly spaced, as the logarithms of what is swept."""
    figure, axes = grid(1, len(info.diagrams), 4.0 * len(info.diagrams) + 0.8, 3.9)
    for ax, diagram in zip(axes[0], info.diagrams, strict=True):
        image = ax.imshow(diagram.share, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1)
        ax.set_xticks(range(len(info.probs)), [f"{p:g}" for p in info.probs], rotation=45)
        ax.set_yticks(range(len(info.importances)), [f"{i:g}" for i in info.importances])
        ax.set_xlabel("feature probability p")
        least, most = diagram.restarts
        restarts = str(most) if least == most else f"{least} to {most}"
        ax.set_title(f"{diagram.n_features} → {diagram.d_hidden}, best of {restarts} restarts")
        ax.grid(False)
    axes[0, 0].set_ylabel("relative importance of the last feature")
    bar = figure.colorbar(image, ax=list(axes[0]), ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0: not\nrepresented", "1/2: super-\nposed", "1: dedicated"])
    figure.suptitle("Share of a dimension that the last feature has")
    return figure
