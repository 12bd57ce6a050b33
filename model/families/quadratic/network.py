"""What the capacity paper's model does: start, samples, loss and what it reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.data.random import generator
from monosweep.model.data.stream import FeatureStream, StreamKey
from monosweep.model.families.quadratic import closed_form
from monosweep.model.families.quadratic.config import QUADRATIC, QuadraticConfig
from monosweep.model.family import Family, Knobs, Loss
from monosweep.model.geometry import blocks, capacities
from monosweep.model.precision import product

if TYPE_CHECKING:
    from monosweep.model.family import Columns, Sampler, Tensors

_ACTIVATIONS: Meanings[Callable[[Tensor], Tensor]] = Meanings(
    "activation", {"quadratic": torch.square, "relu": torch.relu, "gelu": torch.nn.functional.gelu}
)
_OF_FORMULAS = ("expected_loss", "optimal_loss", "optimal_last_capacity", "capacity_error")


class Quadratic(Family):
    """ỹ = Σ_k act((W x)_k) + b for y = Σ_i v_i act(x_i)."""

    Config, Metrics, CurveMetrics = QUADRATIC.config, QUADRATIC.metrics, QUADRATIC.curve
    Tables: ClassVar = QUADRATIC.tables

    @classmethod
    def start(cls, config: QuadraticConfig) -> Tensors:
        """W as Xavier's normal distribution has it, b 0."""
        d, n = config.d_hidden, config.n_features
        random = np.random.Generator(generator(config.seed, "weights"))
        w = torch.from_numpy(random.standard_normal((d, n)) * math.sqrt(2 / (d + n)))
        return {"w": w, "bias": torch.zeros((), dtype=torch.float64)}

    @classmethod
    def fixed(cls, config: QuadraticConfig) -> Tensors:
        """v, the features' importances."""
        return {"importance": torch.from_numpy(importances(config))}

    @classmethod
    def sampler(cls, config: QuadraticConfig) -> Sampler:
        """Features uniform on ±√(3/p) where they are present; nothing where the loss is that of no sample."""
        if config.objective == "expected":
            return lambda step: {}
        key = StreamKey(
            seed=config.seed, n_features=config.n_features, batch_size=config.samples_per_step,
            feature_prob=config.feature_prob, feature_dist="uniform", signed=False,
        )  # fmt: skip
        stream, furthest = FeatureStream(key), np.float32(math.sqrt(3 / config.feature_prob))

        def drawn(step: int) -> Tensors:
            batch = stream.batch(step)
            x = np.zeros(batch.shape, np.float32)
            x.reshape(-1)[batch.cells] = furthest * (2 * batch.values - 1)
            return {"x": torch.from_numpy(x)}

        return drawn

    @classmethod
    def sample(cls, config: QuadraticConfig, step: int) -> Tensors:
        """As the base class says."""
        return cls.sampler(config)(step)

    @classmethod
    def loss(cls, config: QuadraticConfig, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """(ỹ - y)², mean over the batch, or its expectation."""
        w, bias, v = params["w"], params["bias"], fixed["importance"]
        if config.objective == "expected":
            return Loss(_expected(product(config.precision, w.T, w), bias, v, knobs["feature_prob"]))
        act = _ACTIVATIONS[config.activation]
        answer = act(product(config.precision, batch["x"], w.T)).sum(dim=1) + bias
        return Loss(torch.square(answer - act(batch["x"]) @ v).mean())

    @classmethod
    def curve(cls, config: QuadraticConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        shares = capacities(params["w"][None])[0]
        return {"last_capacity": float(shares[-1]), "capacity_sum": float(shares.sum())}

    @classmethod
    def metrics(cls, config: QuadraticConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        w = params["w"]
        shares = capacities(w[None])[0]
        sizes = blocks(w, shares).sizes
        known = _held_to_formulas(config, params, shares.cpu().numpy()) if config.activation == "quadratic" else {}
        return {
            **cls.curve(config, params, fixed), "n_blocks": len(sizes), "largest_block": int(sizes.max(initial=0)),
            **{name: known.get(name) for name in _OF_FORMULAS},
        }  # fmt: skip

    @classmethod
    def rows(cls, config: QuadraticConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Columns]:
        """Every feature, and every block."""
        w = params["w"]
        shares = capacities(w[None])[0]
        found = blocks(w, shares)
        features = {
            "feature": torch.arange(config.n_features), "importance": fixed["importance"],
            "norm": torch.linalg.vector_norm(w, dim=0), "dimensionality": shares, "block": torch.from_numpy(found.of),
        }  # fmt: skip
        return {
            "features": {name: tensor.detach().cpu().numpy() for name, tensor in features.items()},
            "blocks": {
                "block": np.arange(len(found.sizes)), "size": found.sizes, "capacity": found.capacity,
                "deviation": found.deviation,
            },
        }  # fmt: skip

    @classmethod
    def responses(cls, config: QuadraticConfig, params: Tensors, fixed: Tensors) -> Tensor:
        """ỹ, of which there is one, for each feature alone, (n_features,)."""
        return _ACTIVATIONS[config.activation](params["w"]).sum(dim=0) + params["bias"]

    @classmethod
    def summary(cls, config: QuadraticConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        lines = {
            "last feature": f"capacity {metrics['last_capacity']:.3f}",
            "capacity": f"{metrics['capacity_sum']:.2f} of {config.d_hidden} dimensions",
            "blocks": f"{metrics['n_blocks']}, the largest of {metrics['largest_block']} features",
        }
        if config.activation == "quadratic":
            lines["last feature"] += f", at best {metrics['optimal_last_capacity']:.3f}"
            lines["expected loss"] = f"{metrics['expected_loss']:.5g}, at best {metrics['optimal_loss']:.5g}"
        return lines

    @classmethod
    def look_bytes(cls, config: QuadraticConfig) -> int:
        """As the base class says."""
        return 64 * config.n_features**2


def importances(config: QuadraticConfig) -> Float64[ndarray, " n_features"]:
    """v."""
    v: ndarray = config.importance ** np.arange(config.n_features, dtype=np.float64)
    v[-1] *= config.last_importance
    return v


def _expected(gram: Tensor, bias: Tensor, v: Tensor, feature_prob: Any) -> Tensor:
    """Eqs. 12-13 for any bias, as `closed_form.expected_loss`, of WᵀW."""
    own = gram.diagonal()
    excess, k = own - v, 9 / (5 * feature_prob)
    between = torch.square(gram).sum() - torch.square(own).sum()
    loss: Tensor = (k - 1) * torch.square(excess).sum() + 2 * between + torch.square(bias + excess.sum())
    return loss


def _held_to_formulas(config: QuadraticConfig, params: Tensors, shares: ndarray) -> dict[str, float]:
    """What the closed forms say of these weights and of the best ones."""
    v, k, d = importances(config), closed_form.kurtosis(config.feature_prob), config.d_hidden
    best, w = closed_form.optimal_capacities(v, k, d), params["w"].double().cpu().numpy()
    # features of equal importance are interchangeable
    apart = np.abs(shares[np.lexsort((shares, v))] - best[np.lexsort((best, v))])
    return {
        "expected_loss": closed_form.expected_loss(w, float(params["bias"]), v, k),
        "optimal_loss": closed_form.optimal_loss(v, k, d), "optimal_last_capacity": float(best[-1]),
        "capacity_error": float(apart.max()),
    }  # fmt: skip
