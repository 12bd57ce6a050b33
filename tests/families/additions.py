"""Metrics of a user's own for two families, and activations for one, as a user writes them."""

import torch

from monosweep.model import activation, metric


@metric("two_layer", "superposition")
def largest_weight(config, params, fixed):
    """Largest absolute value in any trained tensor."""
    return max(p.abs().max() for p in params.values())


@metric("two_layer")
def n_silent(config, params, fixed) -> int:
    """Neurons that no single feature wakes."""
    return (params["w_in"] @ fixed["embedding"] + params["bias"][:, None] <= 0).all(dim=1).sum()


@activation("two_layer", "superposition")
def leaky(e):
    """ReLU that leaks a tenth."""
    return torch.where(e > 0, e, 0.1 * e)


@activation("two_layer")
def same_as_relu(e):
    """ReLU, by another way."""
    return e * (e > 0)
