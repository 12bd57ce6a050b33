"""The model of superposition as a user writes it, in a file of their own: what `toys` trains through vmapped."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monosweep.model import Family, Loss, Shape, TrialConfig, generator


class Own(Family):
    """x̂ = ReLU(Wᵀ W x + b)."""

    @dataclass(frozen=True, kw_only=True)
    class Config(TrialConfig):
        """Sizes and sparsity."""

        n_features: Shape[int] = 5
        "Features."
        d_hidden: Shape[int] = 2
        "Dimensions that they go through."
        feature_prob: float = 0.05
        "Probability that one is present."

    @classmethod
    def start(cls, config: Config) -> dict[str, Tensor]:
        m, n = config.d_hidden, config.n_features
        random = np.random.Generator(generator(config.seed, "own weights"))
        w = random.standard_normal((m, n)) * (2 / (m + n)) ** 0.5
        return {"w": torch.from_numpy(w), "bias": torch.zeros(n, dtype=torch.float64)}

    @classmethod
    def sample(cls, config: Config, step: int) -> dict[str, Tensor]:
        random = np.random.Generator(generator(config.seed, "own features", block=step))
        u = random.random((config.samples_per_step, config.n_features), np.float32)
        return {
            "x": torch.from_numpy(np.where(u < config.feature_prob, u / np.float32(config.feature_prob), np.float32(0)))
        }

    @classmethod
    def loss(
        cls, config: Config, params: dict[str, Tensor], fixed: object, batch: dict[str, Tensor], knobs: object
    ) -> Loss:
        answer = torch.relu(batch["x"] @ params["w"].T @ params["w"] + params["bias"])
        return Loss((answer - batch["x"]).square().sum() / len(answer))
