"""What the page shows of each family: what the family brings, or what its columns suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monosweep.analysis.families.two_layer import FAMILY as TWO_LAYER
from monosweep.analysis.families.two_layer.panels import PANELS as OF_TWO_LAYER
from monosweep.analysis.panels import Panels, Part

_DIMENSIONALITY = Part(table="features", column="dimensionality", label="share of a dimension")
_NORM = Part(table="features", column="norm", label="‖W_i‖ of a feature")
_BROUGHT = {
    TWO_LAYER: OF_TWO_LAYER,
    "superposition": Panels(
        objectives=("loss:min", "dimensions_per_feature:max"),
        parts=(_NORM, _DIMENSIONALITY),
    ),
    "quadratic": Panels(objectives=("loss:min", "capacity_sum:max"), parts=(_DIMENSIONALITY,)),
    "contraction_order": Panels(objectives=("loss:min", "log2_largest:min")),
    "tensor_tree": Panels(objectives=("loss:min", "truncation_error:min")),
    "incidental": Panels(objectives=("loss:min", "n_mono:max")),
    "resid_mlp": Panels(
        objectives=("loss:min", "n_computed:max"),
        parts=(Part(table="features", column="loss", label="loss of a feature"),),
    ),
}


def panels_of(family: str, metrics: Sequence[str]) -> Panels:
    """What `family` brings; of one that brings nothing, its loss against the first of its other metrics.

    `mine.py:two_layer` is two_layer with additions of a user's own, which may be an activation; so it has no image.
    """
    if family in _BROUGHT:
        return _BROUGHT[family]
    if (of_ours := family.rpartition(":")[2]) in _BROUGHT:
        return replace(_BROUGHT[of_ours], image=None)
    headline = next((name for name in metrics if name not in ("loss", "min_loss")), "min_loss")
    return Panels(objectives=("loss:min", f"{headline}:max"))
