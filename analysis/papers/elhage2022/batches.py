"""The article's batches, those of its geometry at its own size and at a small one; `sweep/presets/tms/` trains just
these.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
_FROM_INTRO = (DENSE, 0.7169, 0.5139, 0.3684, 0.2641, 0.1893, 0.1357, 0.0973, 0.0698, SPARSE)
_TO_HUNDREDTH = (1, 0.8, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01)
_AROUND_PLATEAU = (0.34, 0.32, 0.3, 0.29, 0.28, 0.27, 0.26, 0.25, 0.24, 0.23, 0.22, 0.2)


def _over_p(name: str, probs: Sequence[float], **knobs: Any) -> Batch:
    return around(SuperpositionConfig(**knobs), name, {"feature_prob": probs})


def _decades(first: int, last: int, n: int) -> tuple[float, ...]:
    """n powers of ten from 10^first to 10^last, to three significant digits."""
    return tuple(float(f"{10 ** (first + (last - first) * i / (n - 1)):.3g}") for i in range(n))


_SETTLING: dict[str, Any] = {"n_steps": 2000, "lr": 0.003, "lr_schedule": "cosine_to_zero"}
_PHASE = SuperpositionConfig(batch_size=512, n_steps=1500, lr=0.01, lr_schedule="cosine_to_zero")
_PLANE = {"last_importance": _decades(-1, 1, 9), "feature_prob": _decades(-2, 0, 9), "n_features": (2, 3)}
PAPER = Presets(
    name="tms/paper",
    batches={
        GEOMETRY: _over_p(GEOMETRY, _TO_HUNDREDTH, n_features=200, d_hidden=20),
        CLUSTER: _over_p(
            CLUSTER,
            _decades(0, -2, 100),
            n_features=400,
            d_hidden=30,
            batch_size=4096,
            n_steps=50_000,
            lr_schedule="cosine_to_zero",
        ),
    },
)  # fmt: skip
SMALL = Presets(
    name="tms",
    batches={
        INTRO: _over_p(INTRO, _FROM_INTRO, importance=0.9),
        PHASE: around(_PHASE, PHASE, _PLANE, ["d_hidden"]),
        PLATEAUS: _over_p(PLATEAUS, _TO_HUNDREDTH, **{**_SETTLING, "lr": 0.01}),
        GEOMETRY: _over_p(GEOMETRY, _TO_HUNDREDTH, n_features=80, d_hidden=8, **_SETTLING),
        CLUSTER: _over_p(CLUSTER, _AROUND_PLATEAU, n_features=80, d_hidden=6, **_SETTLING),
    },
)
SIZES = (PAPER, SMALL)
