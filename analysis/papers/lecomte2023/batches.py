"""The paper's batches, that over the width at its own size too; `sweep/presets/incidental/` trains these.  Pure."""

from __future__ import annotations

from monosweep.analysis.claims.batch import Batch, Presets, around
from monosweep.model.families.incidental.config import IncidentalConfig

SCALING, NOISE = "scaling", "noise"
OVER_N = (1, 2, 4, 8, 16)
"""Widths over the number of features."""
KINDS = ("bipolar", "gaussian")
NOISE_STDS = (0.15, 0.2)


def _scaling(n_features: int) -> Batch:
    return around(
        IncidentalConfig(n_features=n_features), SCALING, {"n_neurons": [times * n_features for times in OVER_N]}
    )


_NOISE = IncidentalConfig(n_features=8, n_neurons=16, optimizer="SGD", lr=0.16, l1=0, n_steps=20_000)
PAPER = Presets(name="incidental/paper", batches={SCALING: _scaling(256)})
SMALL = Presets(
    name="incidental",
    batches={SCALING: _scaling(64), NOISE: around(_NOISE, NOISE, {"noise": KINDS, "noise_std": NOISE_STDS})},
)  # fmt: skip
SIZES = (PAPER, SMALL)


def expected(n_features: int, n_neurons: int) -> float:
    """n²/4m polysemantic neurons: of n²/2 pairs of features one in m starts on the same neuron, half of these with
    opposite signs, which do not repel each other."""
    return n_features**2 / (4 * n_neurons)
