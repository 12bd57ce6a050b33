"""The solo engine: one trial as an `nn.Module`, autograd and an optimizer of torch_optimizer.

This is the readable definition of what a trial is; the packed engine is held equal to it.  It also trains
what cannot be packed: any other optimizer of torch_optimizer.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch_optimizer
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor, nn

from monosweep.model.config import ConfigError, TrialConfig, unknown_name
from monosweep.model.data.stream import FeatureStream, embedding, generator, stream_key, target_map
from monosweep.model.families.two_layer.network import Weights, activate, initial_weights, masks
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import bias_decay_at, lr_at


def check_optimizer(config: TrialConfig) -> None:
    """Whether `config.optimizer` names an optimizer of torch_optimizer.

    Raises:
        ConfigError: if it does not.
    """
    known = sorted(
        name
        for name, kind in vars(torch_optimizer).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
    )
    if config.optimizer not in known:
        raise ConfigError(unknown_name("optimizer", config.optimizer, known))


def make_optimizer(config: TrialConfig, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The trial's optimizer with its own defaults; Lookahead, which wraps another, wraps Lamb.

    Raises:
        ConfigError: as `check_optimizer`.
    """
    check_optimizer(config)
    if config.optimizer == "Lookahead":
        return _Lookahead(torch_optimizer.Lamb(params, lr=config.lr))
    return getattr(torch_optimizer, config.optimizer)(params, lr=config.lr)  # type: ignore[no-any-return]


class _Lookahead(torch_optimizer.Lookahead):  # type: ignore[misc]
    """Lookahead that torch's current `Optimizer` can save and load: 0.3.0 skips its base class's set-up."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer)
        for name, value in vars(optimizer).items():
            if name.endswith("_hooks"):
                setattr(self, name, type(value)())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.param_groups = self.optimizer.param_groups  # one list again, as its step expects


class Network(nn.Module):
    """y = L2 act(L1 x + b) (section 2)."""

    def __init__(self, config: TrialConfig, device: str) -> None:
        super().__init__()
        self.config = config
        start, dtype = initial_weights(config), DTYPES[config.precision]
        self.w_in = nn.Parameter(start.w_in.to(device, dtype))
        self.bias = nn.Parameter(start.bias.to(device, dtype))
        self.w_out = nn.Parameter(start.w_out.to(device, dtype))
        exists = masks(config)
        self.mask_in, self.mask_out = exists.w_in.to(device, dtype), exists.w_out.to(device, dtype)

    def forward(
        self, x: Float[Tensor, "batch d_embed"]
    ) -> tuple[Float[Tensor, "batch n_neurons"], Float[Tensor, "batch n_out"]]:
        """Hidden activations h and output y."""
        h = activate(self.config.activation, self._product(x, (self.w_in * self.mask_in).T) + self.bias)
        return h, self._product(h, (self.w_out * self.mask_out).T)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        """a @ b; for `bf16` and `tf32` of rounded operands, and so in the backward pass."""
        if self.config.precision == "tf32":
            product: Any = _TF32Product  # `apply` is typed in some releases of torch only
            rounded: Tensor = product.apply(a, b)
            return rounded
        if self.config.precision != "bf16":
            return a @ b
        return (a.bfloat16() @ b.bfloat16()).to(a.dtype)


class _TF32Product(torch.autograd.Function):
    """a @ b of operands rounded to TF32, in both directions."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.operands = round_to_tf32(a), round_to_tf32(b)
        y: Tensor = ctx.operands[0] @ ctx.operands[1]
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (a, b), grad = ctx.operands, round_to_tf32(grads[0])
        return grad @ b.mT, a.mT @ grad


def round_to_tf32(values: Tensor) -> Tensor:
    """Single precision to TF32: 11 significant bits, to the nearest, ties to even; NaN and infinity stay."""
    fraction, exponent = torch.frexp(values.double())
    return torch.ldexp(torch.round(fraction * 2**11), exponent - 11).to(values.dtype)


class SoloEngine:
    """Trains one trial, step by step.

    Args:
        configs: exactly one trial.
        device: `cpu` or `cuda`.
    """

    name = "solo"
    chunk = 16
    """Steps that a caller should ask for at once."""

    def __init__(self, configs: tuple[TrialConfig, ...], device: str) -> None:
        (self.config,) = self.configs = configs
        self.device, self.dtype, self.step = device, DTYPES[self.config.precision], 0
        self.network = Network(self.config, device)
        self._embedding = embedding(self.config).to(device, self.dtype)
        self.target_map = target_map(self.config).to(device, self.dtype) if self.config.task == "reprojector" else None
        self.stream = FeatureStream(stream_key(self.config))
        self.optimizer = make_optimizer(self.config, self.network.parameters())

    def advance(self, n_steps: int) -> Float64[ndarray, "steps 1"]:
        """Train `n_steps` more; the task loss of each."""
        return np.array([[self.train_step()] for _ in range(n_steps)])

    def train_step(self) -> float:
        """One step; its task loss, before the update."""
        self.step += 1
        x, target = self._batch()
        h, y = self.network(x)
        loss = torch.square(y - target).sum() / len(x)
        objective = loss + self.config.l1 * h.abs().sum() / len(x) + self._bias_penalty()
        self.optimizer.zero_grad()
        self._backward(objective)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(self.config, self.step)
        before = self.network.w_in.detach().clone()
        self._update()
        with torch.no_grad():
            self.network.bias.mul_(1 - bias_decay_at(self.config, self.step) * self._decay_share(h, before))
        return float(loss.detach())

    def _bias_penalty(self) -> Tensor:
        off = self.network.bias - self.config.bias_reg_target
        return self.config.bias_reg * torch.square(off).sum()

    def _decay_share(self, h: Tensor, w_in_before: Tensor) -> Tensor:
        """How much of the bias decay each neuron feels, 0 to 1 (`bias_decay_mode`)."""
        w_in = self.network.w_in
        if self.config.bias_decay_mode == "per_neuron":
            return (h <= 0).all(dim=0).to(self.dtype)
        if self.config.bias_decay_mode == "tied_to_update":
            moved = torch.linalg.vector_norm(w_in - w_in_before, dim=1)
            size = torch.linalg.vector_norm(w_in, dim=1)
            relative = torch.where(size > 0, moved / size, 0.0)
            return (1 - relative / self.config.lr).clamp_min(0)
        return torch.ones_like(self.network.bias)

    def _update(self) -> None:
        if self.config.optimizer != "Adahessian":
            self.optimizer.step()
            return
        with torch.random.fork_rng():  # its random probe becomes a function of (seed, step)
            bits = generator(self.config.seed, "optimizer", block=self.step)
            torch.manual_seed(int(bits.random_raw()) >> 1)
            self.optimizer.step()

    def _backward(self, objective: Tensor) -> None:
        if self.config.optimizer != "Adahessian":
            torch.autograd.backward(objective)
            return
        with warnings.catch_warnings():  # the graph is freed by the next zero_grad
            warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
            torch.autograd.backward(objective, create_graph=True)

    def _batch(self) -> tuple[Float[Tensor, "batch d_embed"], Float[Tensor, "batch n_out"]]:
        f = torch.from_numpy(self.stream.batch(self.step).dense()).to(self.device, self.dtype)
        return f @ self._embedding.T, f.abs() if self.target_map is None else f @ self.target_map.T

    def weights(self, member: int = 0) -> Weights:
        """Parameters of the trial."""
        net = self.network
        return Weights(w_in=net.w_in.detach(), bias=net.bias.detach(), w_out=net.w_out.detach())

    def embedding(self, member: int = 0) -> Float[Tensor, "d_embed n_features"]:
        """P of the trial."""
        return self._embedding

    def overflowed(self) -> list[bool]:
        """Whether a parameter or an optimizer state has become non-finite."""
        tensors: list[Tensor] = list(self.network.parameters())
        for state in self.optimizer.state.values():
            tensors += [v for v in state.values() if isinstance(v, Tensor) and v.is_floating_point()]
        return [not all(bool(torch.isfinite(t).all()) for t in tensors)]

    def freeze(self, member: int) -> None:
        """Nothing to spare: a pack of one ends with its member."""

    def state(self) -> dict[str, Tensor]:
        """All that `load` needs; the optimizer's plain values travel as JSON bytes."""
        tensors = {f"network.{k}": v.detach().clone() for k, v in self.network.state_dict().items()}
        plain = _split(self.optimizer.state_dict(), tensors)
        tensors["optimizer"] = torch.frombuffer(bytearray(json.dumps(plain).encode()), dtype=torch.uint8)
        return tensors

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Continue from `state` as it was after `step`."""
        self.network.load_state_dict(
            {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
        )
        plain = json.loads(bytes(state["optimizer"].cpu().numpy()))
        self.optimizer.load_state_dict(_join(plain, state))
        self.step = step


def _split(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, its tensors moved to `tensors`; dicts become pairs: their keys may be numbers."""
    if isinstance(value, Tensor):
        name = f"optimizer.{len(tensors)}"
        tensors[name] = value.detach().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"pairs": [[k, _split(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_split(v, tensors) for v in value]
    return value


def _join(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {k: _join(v, tensors) for k, v in value["pairs"]}
    if isinstance(value, list):
        return [_join(v, tensors) for v in value]
    return value
