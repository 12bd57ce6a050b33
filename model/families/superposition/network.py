"""What a model of superposition does: start, samples, loss and what it reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from monosweep.model.additions import activated
from monosweep.model.config import Meanings
from monosweep.model.data.random import generator
from monosweep.model.data.stream import FeatureStream, StreamKey
from monosweep.model.families.superposition.config import SUPERPOSITION, SuperpositionConfig
from monosweep.model.family import Family, Knobs, Loss
from monosweep.model.geometry import blocks, capacities
from monosweep.model.precision import product

if TYPE_CHECKING:
    from monosweep.model.family import Columns, Sampler, Tensors

_REPRESENTED = 0.5
_ACTIVATIONS: Meanings[Callable[[Tensor], Tensor]] = Meanings(
    "activation",
    {"relu": torch.relu, "none": torch.positive, "quadratic": torch.square, "gelu": torch.nn.functional.gelu},
)


class Superposition(Family):
    """x̂ = act(Wᵀ H W x + b), with H the identity unless there is a hidden layer."""

    Config, Metrics, CurveMetrics = SUPERPOSITION.config, SUPERPOSITION.metrics, SUPERPOSITION.curve
    Tables: ClassVar = SUPERPOSITION.tables

    @classmethod
    def start(cls, config: SuperpositionConfig) -> Tensors:
        """W as Xavier's normal distribution has it, biases 0, a hidden layer the identity."""
        m, n = config.d_hidden, config.n_features
        random = np.random.Generator(generator(config.seed, "weights"))
        w = torch.from_numpy(random.standard_normal((m, n)) * math.sqrt(2 / (m + n)))
        params = {"w": w, "bias": torch.zeros(n, dtype=torch.float64)}
        return params | ({"hidden": torch.eye(m, dtype=torch.float64)} if config.hidden == "trained" else {})

    @classmethod
    def fixed(cls, config: SuperpositionConfig) -> Tensors:
        """What each feature counts, and a hidden layer that is not trained."""
        counts = torch.tensor(config.importance, dtype=torch.float64) ** torch.arange(config.n_features)
        counts[-1] *= config.last_importance
        layer = {"hidden": torch.eye(config.d_hidden, dtype=torch.float64)} if config.hidden == "identity" else {}
        return {"importance": counts, **layer}

    @classmethod
    def sampler(cls, config: SuperpositionConfig) -> Sampler:
        """Features uniform on [0, 1) where they are present."""
        if config.presence == "independent":
            stream = FeatureStream(stream_key(config))
            return lambda step: {"x": torch.from_numpy(stream.batch(step).dense())}
        return lambda step: {"x": torch.from_numpy(_dependent(config, step))}

    @classmethod
    def sample(cls, config: SuperpositionConfig, step: int) -> Tensors:
        """As the base class says."""
        return cls.sampler(config)(step)

    @classmethod
    def loss(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """Σ_i I_i (x_i - x̂_i)², mean over the batch."""
        x, w = batch["x"], params["w"]
        hidden = product(config.precision, x, w.T)
        if config.hidden != "none":
            hidden = product(config.precision, hidden, {**fixed, **params}["hidden"].T)
        answer = activated(config, _ACTIVATIONS, product(config.precision, hidden, w) + params["bias"])
        return Loss((fixed["importance"] * torch.square(answer - x)).sum() / len(x))

    @classmethod
    def curve(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        w = params["w"].double()
        return {
            "n_represented": int((torch.linalg.vector_norm(w, dim=0) > _REPRESENTED).sum()),
            "norm_squared": float(w.square().sum()),
            "capacity_sum": float(capacities(w[None]).sum()),
        }

    @classmethod
    def metrics(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        found, w = cls.curve(config, params, fixed), params["w"]
        shares = capacities(w[None])[0]
        sizes = blocks(w, shares).sizes
        norm = found["norm_squared"]
        return {
            **found, "dimensions_per_feature": config.d_hidden / norm if norm > 0 else 0.0,
            "last_capacity": float(shares[-1]), "n_blocks": len(sizes), "largest_block": int(sizes.max(initial=0)),
            "mean_bias": float(params["bias"].double().mean()),
        }  # fmt: skip

    @classmethod
    def rows(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Columns]:
        """Every feature, and every block."""
        w = params["w"]
        shares = capacities(w[None])[0]
        found = blocks(w, shares)
        features = {
            "feature": torch.arange(config.n_features), "importance": fixed["importance"],
            "norm": torch.linalg.vector_norm(w, dim=0), "dimensionality": shares, "bias": params["bias"],
            "block": torch.from_numpy(found.of),
        }  # fmt: skip
        return {
            "features": {name: tensor.detach().cpu().numpy() for name, tensor in features.items()},
            "blocks": {
                "block": np.arange(len(found.sizes)), "size": found.sizes, "capacity": found.capacity,
                "deviation": found.deviation,
            },
        }  # fmt: skip

    @classmethod
    def responses(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Tensor:
        """x̂_i of feature j alone, (n_features, n_features)."""
        w, layer = params["w"], {**fixed, **params}.get("hidden")
        drive = w.T @ (w if layer is None else layer @ w) + params["bias"][:, None]
        answer: Tensor = activated(config, _ACTIVATIONS, drive)
        return answer

    @classmethod
    def state_dict(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """As the article's notebook has them (github.com/anthropics/toy-models-of-superposition), for one instance: W
        (1, n, m) and b_final (1, n); with a further layer as github.com/ApolloResearch/spd has it, where x stands left
        of weights: linear1.weight (1, n, m), hidden_layers.0.weight (1, m, m), b_final."""
        w, bias, layer = params["w"].T[None], params["bias"][None], {**fixed, **params}.get("hidden")
        if layer is None:
            return {"W": w, "b_final": bias}
        return {"linear1.weight": w, "hidden_layers.0.weight": layer.T[None], "b_final": bias}

    @classmethod
    def setup(cls, config: SuperpositionConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """The features' importances, as the notebook's models are given them."""
        return {"importance": fixed["importance"][None]}

    @classmethod
    def summary(cls, config: SuperpositionConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        return {
            "represented": f"{metrics['n_represented']} of {config.n_features} features, "
            f"‖W‖² {metrics['norm_squared']:.2f}",
            "capacity": f"{metrics['capacity_sum']:.2f} of {config.d_hidden} dimensions",
            "blocks": f"{metrics['n_blocks']}, the largest of {metrics['largest_block']} features",
        }

    @classmethod
    def look_bytes(cls, config: SuperpositionConfig) -> int:
        """As the base class says."""
        return 64 * config.n_features**2


def stream_key(config: SuperpositionConfig) -> StreamKey:
    """The stream of features that are present independently."""
    return StreamKey(
        seed=config.seed, n_features=config.n_features, batch_size=config.samples_per_step,
        feature_prob=config.feature_prob, feature_dist="uniform", signed=False,
    )  # fmt: skip


def _dependent(config: SuperpositionConfig, step: int) -> Float32[ndarray, "batch n_features"]:
    """Samples whose features' presence depends on each other."""
    random, n = np.random.Generator(generator(config.seed, "features", block=step)), config.n_features
    values = random.random((config.samples_per_step, n), np.float32)
    if config.presence == "one":
        chosen = random.integers(n, size=(len(values), 1))
        return np.where(np.arange(n) == chosen, values, np.float32(0))
    drawn, p = random.random((len(values), n // 2, 1)), config.feature_prob
    first = drawn < p
    second = first if config.presence == "together" else (drawn >= p) & (drawn < 2 * p)
    there = np.concatenate([first, second], axis=2).reshape(len(values), n)
    return np.where(there, values, np.float32(0))
