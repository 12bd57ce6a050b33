"""A linear autoencoder, as a user writes it: x = D E x on inputs of falling variances."""

from dataclasses import dataclass

import numpy as np
import torch

from monosweep.model import Family, Float32, Int32, Loss, Shape, TwoLayerConfig, generator, product


def normal(config, purpose, *shape, step=0):
    values = np.random.Generator(generator(config.seed, purpose, block=step)).standard_normal(shape)
    return torch.from_numpy(values)


class LinearAutoencoder(Family):
    @dataclass(frozen=True, kw_only=True)
    class Config(TwoLayerConfig):
        n_inputs: Shape[int] = 12
        """Inputs, and outputs."""
        n_latents: Shape[int] = 3
        """Directions that pass through the bottleneck."""
        falloff: float = 0.8
        """Standard deviation of each input as a part of the one before it."""
        shrink: float = 0.0
        """Weight of the sum of squared weights in the optimised loss."""

    @dataclass(frozen=True)
    class Metrics:
        explained_variance: float
        """How much of the inputs' variance the outputs have, 1 for all of it."""

    @dataclass(frozen=True)
    class CurveMetrics:
        explained_variance: float
        """As in `trials`."""

    @dataclass(frozen=True)
    class Latent:
        step: Int32
        """Optimiser steps done."""
        latent: Int32
        """Index of the latent."""
        norm: Float32
        """Length of its direction in the decoder."""

    Tables = {"latents": Latent}  # noqa: RUF012

    @classmethod
    def start(cls, config):
        n, k = config.n_inputs, config.n_latents
        return {"encoder": normal(config, "encoder", k, n) / n, "decoder": normal(config, "decoder", n, k) / k}

    @classmethod
    def fixed(cls, config):
        return {"scales": config.falloff ** torch.arange(config.n_inputs, dtype=torch.float64)}

    @classmethod
    def sample(cls, config, step):
        return {"z": normal(config, "inputs", config.samples_per_step, config.n_inputs, step=step)}

    @classmethod
    def loss(cls, config, params, fixed, batch, knobs):
        x = batch["z"] * fixed["scales"]
        y = product(config.precision, product(config.precision, x, params["encoder"].T), params["decoder"].T)
        loss = (y - x).square().sum(dim=1).mean()
        return Loss(loss + knobs["shrink"] * sum(p.square().sum() for p in params.values()), loss)

    @classmethod
    def curve(cls, config, params, fixed):
        missing = (torch.eye(config.n_inputs) - params["decoder"] @ params["encoder"]) * fixed["scales"]
        return {"explained_variance": 1 - missing.square().sum() / fixed["scales"].square().sum()}

    metrics = curve

    @classmethod
    def rows(cls, config, params, fixed):
        norms = torch.linalg.vector_norm(params["decoder"], dim=0)
        return {"latents": {"latent": torch.arange(config.n_latents), "norm": norms}}
