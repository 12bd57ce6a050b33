"""The batch in which the mixing is turned down, trained to the end and in small; `sweep/presets/resid_mlp/`.  Pure."""

from __future__ import annotations

from monosweep.analysis.claims.batch import Presets, around
from monosweep.model.families.resid_mlp.config import ResidMlpConfig

CC = "cc"
MIXING = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _size(name: str, n_steps: int) -> Presets:
    """Of one layer, of which the claims are."""
    return Presets(name=name, batches={CC: around(ResidMlpConfig(n_steps=n_steps), CC, {"mixing": MIXING})})


SIZES = (_size("resid_mlp/paper", 10_000), _size("resid_mlp", 1000))
