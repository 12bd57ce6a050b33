"""The paper's two experiments as batches; `sweep/presets/capacity/` trains just these.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from monosweep.analysis.claims.batch import Batch, Grid, Mixed, Presets, around
from monosweep.model.config import TrialConfig
from monosweep.model.families.quadratic.config import QuadraticConfig
from monosweep.model.families.superposition.config import SuperpositionConfig

FIG4, FIG7 = "fig4", "fig7"
ACTIVATIONS = ("quadratic", "relu", "gelu")
DIMENSIONS = (3, 5)
MODELS = (QuadraticConfig.FAMILY, SuperpositionConfig.FAMILY)
FIG4_PROBS = (0.4, 0.2, 0.1, 0.05)
"""Kurtosis 4.5, 9, 18 and 36."""


def spaced(first: float, last: float, n: int, digits: int = 3) -> tuple[float, ...]:
    """Values whose logarithms are evenly spaced, to so many significant digits.

    >>> spaced(0.2, 5, 3)
    (0.2, 1.0, 5.0)
    """
    return tuple(float(f"{first * (last / first) ** (i / (n - 1)):.{digits}g}") for i in range(n))


FIG4_IMPORTANCES = spaced(0.05, 5, 41)
FIG7_PROBS = spaced(1, 0.05, 25)
FIG7_IMPORTANCES = spaced(0.2, 5, 25)
"""V of the quadratic model; what squared errors count in the other is the square."""
EVERY = 4
"""`capacity/fig7-small` has so manieth of either."""


def squared(importance: float) -> float:
    """What the last feature counts in the model with ReLU outputs where it has this V in the quadratic one."""
    return float(f"{importance * importance:.4g}")


_SHARED = {"n_features": 6, "batch_size": 256, "n_steps": 1000, "lr": 0.02}
_ONE_FEATURE = around(
    QuadraticConfig(objective="expected"), FIG4, {"last_importance": FIG4_IMPORTANCES, "feature_prob": FIG4_PROBS}
)


def _plane(config: TrialConfig, counts: Callable[[float], float]) -> Batch:
    """One model's part of Figure 7: `capacity/fig7-small`, and what `capacity/fig7` has beyond it."""
    fine: Grid = {"last_importance": [counts(v) for v in FIG7_IMPORTANCES], "feature_prob": FIG7_PROBS}
    coarse = {name: values[::EVERY] for name, values in fine.items()}
    return around(config, FIG7, {**coarse, "activation": ACTIVATIONS, "d_hidden": DIMENSIONS}, finer=fine)


_PARTS = (
    _plane(QuadraticConfig.from_dict(_SHARED), float),
    _plane(SuperpositionConfig.from_dict({**_SHARED, "lr_schedule": "cosine_to_zero"}), squared),
)
CAPACITY = Presets(
    name="capacity",
    batches={FIG4: _ONE_FEATURE, FIG7: Mixed(name=FIG7, base={}, parts=_PARTS)},
)
