"""What a model of incidental polysemanticity does: start, noise, loss and what it reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.data.random import generator
from monosweep.model.families.incidental.config import INCIDENTAL, IncidentalConfig
from monosweep.model.family import Family, Knobs, Loss
from monosweep.model.precision import product

if TYPE_CHECKING:
    from monosweep.model.family import Tensors

_REPRESENTS = 0.5


class Incidental(Family):
    """ŷ = ReLU(W (Wᵀ x + noise)) on the whole identity: hidden activations are the rows of W, plus noise."""

    Config, Metrics, CurveMetrics = INCIDENTAL.config, INCIDENTAL.metrics, INCIDENTAL.curve

    @classmethod
    def start(cls, config: IncidentalConfig) -> Tensors:
        """W from N(0, 1/m), so that its rows are about of length 1."""
        random = np.random.Generator(generator(config.seed, "weights"))
        w = random.standard_normal((config.n_features, config.n_neurons)) / math.sqrt(config.n_neurons)
        return {"w": torch.from_numpy(w)}

    @classmethod
    def sample(cls, config: IncidentalConfig, step: int) -> Tensors:
        """Noise of standard deviation 1 if there is any; the same on all basis vectors, as in the authors' code."""
        random = np.random.Generator(generator(config.seed, "features", block=step))
        return _NOISES[config.noise](random, config.n_neurons)

    @classmethod
    def loss(cls, config: IncidentalConfig, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """‖ŷ - x‖² + l1·|Wᵀx|, mean over the basis vectors."""
        w = params["w"]
        hidden = w + knobs["noise_std"] * batch["noise"] if "noise" in batch else w
        answer = torch.relu(product(config.precision, hidden, w.T))
        off = answer - torch.eye(config.n_features, dtype=w.dtype, device=w.device)
        error = torch.square(off).sum() / config.n_features
        return Loss(error + knobs["l1"] * w.abs().sum() / config.n_features, error)

    @classmethod
    def curve(cls, config: IncidentalConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        held = (params["w"].abs() > _REPRESENTS).sum(dim=0)
        return {
            "n_poly": int((held > 1).sum()),
            "n_mono": int((held == 1).sum()),
            "fourth_norm": float(params["w"].double().pow(4).sum(dim=1).mean()),
        }

    @classmethod
    def metrics(cls, config: IncidentalConfig, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """As the base class says."""
        found = cls.curve(config, params, fixed)
        represented = int((params["w"].abs() > _REPRESENTS).any(dim=1).sum())
        return {**found, "n_dead": config.n_neurons - found["n_poly"] - found["n_mono"], "n_represented": represented}

    @classmethod
    def responses(cls, config: IncidentalConfig, params: Tensors, fixed: Tensors) -> Tensor:
        """ŷ_i of feature j alone, without noise, (n_features, n_features)."""
        return torch.relu(params["w"] @ params["w"].T)

    @classmethod
    def state_dict(cls, config: IncidentalConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """As the authors' `AutoEncoder` with tied weights has it (github.com/tmychow/accidental-polysemanticity), for
        one instance: W (1, n, m)."""
        return {"W": params["w"][None]}

    @classmethod
    def summary(cls, config: IncidentalConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        expected = config.n_features**2 / (4 * config.n_neurons)
        return {
            "neurons": f"{metrics['n_poly']} polysemantic (n²/4m: {expected:.3g}), {metrics['n_mono']} monosemantic, "
            f"{metrics['n_dead']} dead",
            "represented": f"{metrics['n_represented']} of {config.n_features} features",
        }

    @classmethod
    def look_bytes(cls, config: IncidentalConfig) -> int:
        """As the base class says."""
        return 16 * config.n_features * config.n_neurons


def _bipolar(random: np.random.Generator, n: int) -> Tensors:
    return {"noise": torch.from_numpy(random.integers(2, size=n) * 2.0 - 1)}


def _gaussian(random: np.random.Generator, n: int) -> Tensors:
    return {"noise": torch.from_numpy(random.standard_normal(n))}


_NOISES = Meanings("noise", {"none": lambda random, n: {}, "bipolar": _bipolar, "gaussian": _gaussian})
