"""The article's batches, those of its geometry at its own size and at a small one; `sweep/presets/tms/` trains just
these.  Pure."""

from __future__ import annotations

from typing import Any

from monosweep.analysis.claims.batch import Batch, Presets, around
from monosweep.model.families.superposition.config import SuperpositionConfig

INTRO, PHASE, PLATEAUS, GEOMETRY, CLUSTER = "intro", "phase", "plateaus", "geometry", "cluster"
DENSE, SPARSE = 1.0, 0.05
"""The two ends of `intro`."""
RESTARTS = 10
"""Of a point of the phase diagrams and of `plateaus`."""
CORNERS = (0.1, 1.0, 10.0)
"""Importances of the last feature of which claims are."""
PLATEAU = (0.4, 0.35, 0.3)
"""Probabilities at which features of equal importance lie in antipodal pairs."""
PENTAGON = (0.1, 0.05, 0.02)
"""Probabilities at which five of them in two dimensions lie in a pentagon."""


def _over_p(name: str, **knobs: Any) -> Batch:
    return around(SuperpositionConfig(**knobs), name, ["feature_prob"])


_SETTLING: dict[str, Any] = {"n_steps": 2000, "lr": 0.003, "lr_schedule": "cosine_to_zero"}
_PHASE = SuperpositionConfig(batch_size=512, n_steps=1500, lr=0.01, lr_schedule="cosine_to_zero")
PAPER = Presets(
    name="tms/paper",
    batches={
        GEOMETRY: _over_p(GEOMETRY, n_features=200, d_hidden=20),
        CLUSTER: _over_p(
            CLUSTER, n_features=400, d_hidden=30, batch_size=4096, n_steps=50_000, lr_schedule="cosine_to_zero"
        ),
    },
)
SMALL = Presets(
    name="tms",
    batches={
        INTRO: _over_p(INTRO, importance=0.9),
        PHASE: around(_PHASE, PHASE, ["last_importance", "feature_prob"], ["n_features", "d_hidden"]),
        PLATEAUS: _over_p(PLATEAUS, **{**_SETTLING, "lr": 0.01}),
        GEOMETRY: _over_p(GEOMETRY, n_features=80, d_hidden=8, **_SETTLING),
        CLUSTER: _over_p(CLUSTER, n_features=80, d_hidden=6, **_SETTLING),
    },
)
SIZES = (PAPER, SMALL)
