"""What a two-layer network does: start, samples, loss, bias decay and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.data.stream import FeatureStream
from monosweep.model.families.two_layer.config import REPROJECTS, TWO_LAYER, TwoLayerConfig
from monosweep.model.families.two_layer.decay import DECAY_SHARES, bias_decay_at
from monosweep.model.families.two_layer.metrics import look, look_bytes
from monosweep.model.families.two_layer.samples import embedding, stream_key, target_map
from monosweep.model.families.two_layer.weights import Weights, answer, initial_weights, masks, responses
from monosweep.model.family import Family, Knobs, Look, Loss, Trained, free_floats
from monosweep.model.precision import product

if TYPE_CHECKING:
    from monosweep.model.family import Sampler, Tensors


def _decoder_target(f: Tensor, fixed: Tensors) -> Tensor:
    return f


def _abs_target(f: Tensor, fixed: Tensors) -> Tensor:
    return f.abs()


def _reprojector_target(f: Tensor, fixed: Tensors) -> Tensor:
    return f @ fixed["target_map"].T


TARGETS: Meanings[Callable[[Tensor, Tensors], Tensor]] = Meanings(
    "task", {"decoder": _decoder_target, "abs": _abs_target, "reprojector": _reprojector_target}
)
"""What a network is to answer to features f, by `task` (eqs. 1-3)."""


class TwoLayer(Family):
    """y = L2 act(L1 x + b) on x = P f (section 2)."""

    Config, Metrics, CurveMetrics = TWO_LAYER.config, TWO_LAYER.metrics, TWO_LAYER.curve
    Tables: ClassVar = TWO_LAYER.tables

    @classmethod
    def start(cls, config: TwoLayerConfig) -> Tensors:
        """As the base class says."""
        return initial_weights(config).named()

    @classmethod
    def fixed(cls, config: TwoLayerConfig) -> Tensors:
        """As the base class says."""
        found = {"embedding": embedding(config)}
        if REPROJECTS[config.task]:
            found["target_map"] = target_map(config)
        if config.connectivity < 1:
            mask = masks(config)
            found |= {"mask_in": mask.w_in, "mask_out": mask.w_out}
        return found

    @classmethod
    def sampler(cls, config: TwoLayerConfig) -> Sampler:
        """As the base class says."""
        stream = FeatureStream(stream_key(config))
        return lambda step: {"f": torch.from_numpy(stream.batch(step).dense())}

    @classmethod
    def sample(cls, config: TwoLayerConfig, step: int) -> Tensors:
        """As the base class says."""
        return cls.sampler(config)(step)

    @classmethod
    def knobs(cls, config: TwoLayerConfig) -> Mapping[str, float]:
        """As the base class says."""
        return free_floats(config, ("l1", "bias_reg", "bias_reg_target", "lr"))

    @classmethod
    def schedule(cls, config: TwoLayerConfig, step: int) -> Mapping[str, float]:
        """As the base class says."""
        return {"bias_decay": bias_decay_at(config, step)}

    @classmethod
    def loss(cls, config: TwoLayerConfig, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """As the base class says."""
        w_in, w_out = params["w_in"], params["w_out"]
        if config.connectivity < 1:
            w_in, w_out = w_in * fixed["mask_in"], w_out * fixed["mask_out"]
        f = batch["f"]
        x, target = f @ fixed["embedding"].T, TARGETS[config.task](f, fixed)
        h = answer(config, product(config.precision, x, w_in.T) + params["bias"])
        y = product(config.precision, h, w_out.T)
        loss = torch.square(y - target).sum() / len(x)
        penalty = torch.square(params["bias"] - knobs["bias_reg_target"]).sum()
        objective = loss + knobs["l1"] * h.abs().sum() / len(x) + knobs["bias_reg"] * penalty
        return Loss(objective, loss, {"silent": (h <= 0).all(dim=0)})

    @classmethod
    def after(cls, config: TwoLayerConfig, params: Tensors, before: Tensors, passed: Tensors, knobs: Knobs) -> Tensors:
        """Bias decay, as `bias_decay_mode` says."""
        share = DECAY_SHARES[config.bias_decay_mode](params, before, passed, knobs["lr"])
        return {**params, "bias": params["bias"] * (1 - knobs["bias_decay"] * share)}

    @classmethod
    def look(cls, members: Sequence[Trained], final: bool, rows: bool) -> list[Look]:
        """All members together: their numbers are those of each alone."""
        return look(members, final, rows)

    @classmethod
    def kept(cls, config: TwoLayerConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """Weights, P and Q; not the masks, which the weights have in them."""
        return {**params, **{name: tensor for name, tensor in fixed.items() if not name.startswith("mask")}}

    @classmethod
    def responses(cls, config: TwoLayerConfig, params: Tensors, fixed: Tensors) -> Tensor:
        """h_i(F_j), (n_neurons, n_features) (section 3)."""
        weights = Weights(params["w_in"], params["bias"], params["w_out"])
        return responses(config, weights, fixed["embedding"])

    @classmethod
    def state_dict(cls, config: TwoLayerConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """As the authors' `Sequential(Linear(m, k), act, Linear(k, N, bias=False))` has them
        (github.com/adamjermyn/toy_model_interpretability, model3.py)."""
        return {"0.weight": params["w_in"], "0.bias": params["bias"], "2.weight": params["w_out"]}

    @classmethod
    def setup(cls, config: TwoLayerConfig, params: Tensors, fixed: Tensors) -> Tensors:
        """P, (m, N), as their `setup["fixed_embedder"]`; Q of the reprojector, which they do not have."""
        own = {"target_map": fixed["target_map"]} if REPROJECTS[config.task] else {}
        return {"fixed_embedder": fixed["embedding"], **own}

    @classmethod
    def summary(cls, config: TwoLayerConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        counts = enumerate(metrics["features_by_n_mono"])
        by_n_mono = [(n or "no", "s" * (n > 1), count) for n, count in counts if count]
        return {
            "monosemantic": f"{metrics['n_mono']} of {config.n_neurons} neurons ({metrics['mono_per_neuron']:.3f}), "
            f"{metrics['mono_per_feature']:.3f} per feature",
            "features": ", ".join(f"{count} with {n} monosemantic neuron{s}" for n, s, count in by_n_mono),
            "dead": f"{metrics['n_dead']} of {config.n_neurons} neurons",
            "bias": f"mean {metrics['mean_bias']:.4f}, positive in {metrics['n_positive_bias']} neurons",
            "capacity": f"{metrics['capacity_sum']:.2f} of {config.d_embed} dimensions",
        }

    @classmethod
    def look_bytes(cls, config: TwoLayerConfig) -> int:
        """As the base class says."""
        return look_bytes(config)
