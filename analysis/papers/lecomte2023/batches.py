"""The paper's one batch at its own size and at the small one; `sweep/presets/incidental/` trains just these.  Pure."""

from __future__ import annotations

from monosweep.analysis.claims.batch import Presets, around
from monosweep.model.families.incidental.config import IncidentalConfig

SCALING = "scaling"
OVER_N = (1, 2, 4, 8, 16)
"""Widths over the number of features."""


def _size(name: str, n_features: int) -> Presets:
    batch = around(IncidentalConfig(n_features=n_features), SCALING, ["n_neurons"])
    return Presets(name=name, batches={SCALING: batch})


SIZES = (_size("incidental/paper", 256), _size("incidental", 64))


def expected(n_features: int, n_neurons: int) -> float:
    """n²/4m polysemantic neurons: of n²/2 pairs of features one in m starts on the same neuron, half of these with
    opposite signs, which do not repel each other."""
    return n_features**2 / (4 * n_neurons)
