"""What a residual MLP on embedded features does: start, samples, loss and what it reports.

The stream is never formed: a layer reads x and the activations of the layers before it through products of weights that
are as small as n × k, which is the same function of the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.data.random import generator
from monosweep.model.data.stream import FeatureStream, StreamKey
from monosweep.model.families.resid_mlp.config import RESID_MLP, SQUARE_OF_RELU, ResidMlpConfig
from monosweep.model.family import Family, Knobs, Loss
from monosweep.model.precision import product

if TYPE_CHECKING:
    from monosweep.model.family import Columns, Sampler, Tensors


class ResidMlp(Family):
    """ŷ = (s·E Eᵀ + (1 - s))·x + Σ_l E·W_out,l·ReLU(W_in,l·stream_l), the stream being Eᵀ x and what layers add."""

    Config, Metrics, CurveMetrics = RESID_MLP.config, RESID_MLP.metrics, RESID_MLP.curve
    Tables: ClassVar = RESID_MLP.tables

    @classmethod
    def start(cls, config: ResidMlpConfig) -> Tensors:
        """Each weight uniform within 1/√(what its neuron or output reads), as torch's `Linear` has it."""
        random, width = np.random.Generator(generator(config.seed, "weights")), config.n_neurons // config.n_layers
        shapes = {"w_in": (config.n_layers, width, config.d_embed), "w_out": (config.n_layers, config.d_embed, width)}
        return {name: torch.from_numpy(random.uniform(-1, 1, s)) / s[2] ** 0.5 for name, s in shapes.items()}

    @classmethod
    def fixed(cls, config: ResidMlpConfig) -> Tensors:
        """The embedding, and how it mixes features: E Eᵀ - 1."""
        random = np.random.Generator(generator(config.seed, "embedding"))
        rows = torch.from_numpy(random.standard_normal((config.n_features, config.d_embed)))
        rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return {"embedding": rows, "mixing": rows @ rows.T - torch.eye(config.n_features, dtype=rows.dtype)}

    @classmethod
    def sampler(cls, config: ResidMlpConfig) -> Sampler:
        """Features uniform on [-1, 1) where they are present."""
        key = StreamKey(
            seed=config.seed, n_features=config.n_features, batch_size=config.samples_per_step,
            feature_prob=config.feature_prob, feature_dist="uniform", signed=False,
        )  # fmt: skip
        stream = FeatureStream(key)

        def sample(step: int) -> Tensors:
            batch = stream.batch(step)
            return {"x": torch.from_numpy(replace(batch, values=2 * batch.values - 1).dense())}

        return sample

    @classmethod
    def sample(cls, config: ResidMlpConfig, step: int) -> Tensors:
        """As the base class says."""
        return cls.sampler(config)(step)

    @classmethod
    def loss(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """‖ŷ - x - ReLU(x)‖², mean over the batch."""
        off = _off(config, params, fixed, batch["x"], knobs["mixing"])
        return Loss(torch.square(off).sum() / len(off))

    @classmethod
    def curve(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        loss = _alone(config, params, fixed).loss
        return {
            "alone_loss": float(config.feature_prob * loss.sum()),
            "n_computed": int((loss < SQUARE_OF_RELU / 2).sum()),
        }

    @classmethod
    def metrics(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        return {**cls.curve(config, params, fixed), "naive_loss": config.naive_loss}

    @classmethod
    def rows(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Columns]:
        """Every feature."""
        one = _alone(config, params, fixed)
        columns = {
            "feature": torch.arange(config.n_features), "loss": one.loss, "mixed": one.mixed,
            "slope_above": one.slope_above, "slope_below": one.slope_below,
        }  # fmt: skip
        return {"features": {name: tensor.cpu().numpy() for name, tensor in columns.items()}}

    @classmethod
    def responses(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Tensor:
        """ŷ_i of feature j alone at 1, (n_features, n_features); twice the identity is right."""
        x = torch.eye(config.n_features, dtype=params["w_in"].dtype, device=params["w_in"].device)
        return (_off(replace(config, precision="fp64"), params, fixed, x, config.mixing) + 2 * x).T

    @classmethod
    def state_dict(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """As the first paper's code has them (`ResidualMLPModel` of github.com/ApolloResearch/apd, `ResidMLP` of
        github.com/goodfire-ai/spd, both without biases): W_E (n, d), W_U (d, n), and of each layer i
        layers.i.mlp_in.weight (k / n_layers, d) and layers.i.mlp_out.weight (d, k / n_layers)."""
        named = {"W_E": fixed["embedding"], "W_U": fixed["embedding"].T}
        for layer in range(config.n_layers):
            named[f"layers.{layer}.mlp_in.weight"] = params["w_in"][layer]
            named[f"layers.{layer}.mlp_out.weight"] = params["w_out"][layer]
        return named

    @classmethod
    def setup(cls, config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """That code's label_coeffs (n), all 1; where `mixing` is below 1, also unmixed (n, n): x @ unmixed is to be
        added to its answers, for it has no such knob."""
        mixing = fixed["mixing"]
        named = {"label_coeffs": torch.ones(config.n_features, dtype=mixing.dtype, device=mixing.device)}
        return named if config.mixing == 1 else {**named, "unmixed": (config.mixing - 1) * mixing}

    @classmethod
    def summary(cls, config: ResidMlpConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        return {
            "computed": f"{metrics['n_computed']} of {config.n_features} features by {config.n_neurons} neurons",
            "alone": f"loss {metrics['alone_loss']:.5g} of single features, {metrics['naive_loss']:.5g} if naive",
        }

    @classmethod
    def look_bytes(cls, config: ResidMlpConfig) -> int:
        """As the base class says."""
        return 64 * (config.n_features + config.d_embed) * (config.n_features + config.n_neurons)


def _off(config: Any, params: Tensors, fixed: Tensors, x: Tensor, mixing: Any) -> Float[Tensor, "batch n_features"]:
    """How far answers are from x + ReLU(x)."""
    embedding = fixed["embedding"]
    active: list[Tensor] = []
    off: Tensor = mixing * product(config.precision, x, fixed["mixing"]) - torch.relu(x)
    for layer in range(config.n_layers):
        w_in, w_out = params["w_in"][layer], params["w_out"][layer]
        read = product(config.precision, x, product(config.precision, embedding, w_in.T))
        for before, h in enumerate(active):
            read = read + product(config.precision, h, product(config.precision, w_in, params["w_out"][before]).T)
        active.append(torch.relu(read))
        off = off + product(config.precision, active[-1], product(config.precision, embedding, w_out).T)
    return off


@dataclass(frozen=True, slots=True)
class _Alone:
    """Answers where one feature is present; there is no bias, so they are straight on either side of 0."""

    loss: Float[Tensor, " n_features"]
    mixed: Float[Tensor, " n_features"]
    slope_above: Float[Tensor, " n_features"]
    slope_below: Float[Tensor, " n_features"]


def _alone(config: ResidMlpConfig, params: Tensors, fixed: Tensors) -> _Alone:
    in_double = ({name: tensor.double() for name, tensor in given.items()} for given in (params, fixed))
    weights, given = in_double
    x = torch.eye(config.n_features, dtype=torch.float64, device=weights["w_in"].device)
    exact = replace(config, precision="fp64")
    above, below = (_off(exact, weights, given, sign * x, config.mixing) for sign in (1, -1))
    cost = SQUARE_OF_RELU * (above.square() + below.square())  # the mean of x² where x > 0, and where x < 0
    own = cost.diagonal()
    return _Alone(cost.sum(dim=1), cost.sum(dim=1) - own, 2 + above.diagonal(), 1 - below.diagonal())
