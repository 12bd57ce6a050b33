"""What each neuron answers: responses to single features, r and the order of display (section 3).  Pure.

Root.weights -> responses -> displayed -> figures.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.tables.built_in import built_in
from monosweep.analysis.tables.guard import QueryError
from monosweep.model.config import unknown_name
from monosweep.model.families.two_layer.config import TWO_LAYER, TwoLayerConfig
from monosweep.sweep.store.schema import config_in

Array = NDArray[np.float64]
_TINY = 1e-10
"""In the denominator of r (eq. 7)."""
_erf = np.vectorize(math.erf, otypes=[np.float64])


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda e: np.maximum(e, 0),
    "gelu": lambda e: e * 0.5 * (1 + _erf(e / math.sqrt(2))),
    "solu": lambda e: e * np.exp(e),
}


def network_config(row: Mapping[str, Any]) -> TwoLayerConfig:
    """The config of a row of `trials`.

    Raises:
        QueryError: if it is of another family, which has no such neurons, or its activation is a user's own.
    """
    family, own = built_in(row["family"]), row.get("activation") not in (None, *_ACTIVATIONS)
    if family == TWO_LAYER.name and own:
        raise QueryError(
            f"neurons' responses are drawn of {', '.join(_ACTIVATIONS)}; trial {row['trial_id']} has the activation "
            f"{row['activation']} of a user's own; choose others with --where"
        )
    config = config_in({**row, "family": family})
    if not isinstance(config, TwoLayerConfig):
        raise QueryError(
            f"neurons' responses are drawn of two_layer networks; trial {row['trial_id']} is of family {config.family}"
        )
    return config


def activate(name: str, e: Array) -> Array:
    """relu, gelu (by the error function) or the authors' elementwise solu, x·exp(x); any shape."""
    if name not in _ACTIVATIONS:
        raise ValueError(unknown_name("activation", name, list(_ACTIVATIONS)))
    return np.asarray(_ACTIVATIONS[name](e))


def responses(weights: Mapping[str, NDArray[np.floating]], config: TwoLayerConfig) -> Array:
    """h_i(F_j), shape (n_neurons, n_features): neuron i's answer to feature j alone at strength 1.

    For the abs task h_i(F_j) + h_i(-F_j).  `weights` holds `w_in` (n_neurons, d_embed), `bias` (n_neurons)
    and `embedding` (d_embed, n_features).
    """
    drive = weights["w_in"].astype(np.float64) @ weights["embedding"].astype(np.float64)
    bias = weights["bias"].astype(np.float64)[:, None]
    answer = activate(config.activation, drive + bias)
    return answer + activate(config.activation, bias - drive) if config.task == "abs" else answer


def monosemanticity(response: Array) -> Array:
    """r_i (eq. 7), shape (n_neurons,): largest response over the sum of the positive ones; 0 if none is."""
    positive = np.maximum(response, 0)
    return np.asarray(positive.max(axis=1) / (_TINY + positive.sum(axis=1)))


@dataclass(frozen=True, slots=True)
class Displayed:
    """A response map in display order: neurons by r descending, features by the neuron they drive most."""

    response: Array
    """(n_neurons, n_features), reordered."""
    neurons: NDArray[np.intp]
    """Which neuron each row is."""
    features: NDArray[np.intp]
    """Which feature each column is."""
    r: Array
    """Of each row, descending."""
    n_mono: int
    """The first so many rows are monosemantic."""


def displayed(response: Array, threshold: float) -> Displayed:
    """`response` (n_neurons, n_features) in display order; a neuron is monosemantic when r > `threshold`."""
    r = monosemanticity(response)
    neurons = np.argsort(-r, kind="stable")
    ordered = response[neurons]
    features = np.argsort(ordered.argmax(axis=0), kind="stable")
    return Displayed(ordered[:, features], neurons, features, r[neurons], int((r > threshold).sum()))
