"""The solo engine: one trial of any family, autograd and an optimizer of torch or torch_optimizer.

This is the readable definition of what a trial is; all other engines are held equal to it.  It also trains what cannot
be packed: any other optimizer of torch_optimizer.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch_optimizer
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor, nn

from monosweep.model.config import OPTIMIZERS, ConfigError, TrialConfig, unknown_name
from monosweep.model.data.random import generator
from monosweep.model.families import family_of
from monosweep.model.family import shared
from monosweep.model.member import MemberState
from monosweep.model.optimizers import STATES
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import lr_at


def check_optimizer(config: TrialConfig) -> None:
    """Whether `config.optimizer` names one that trains packs, or a class of torch_optimizer.

    Raises:
        ConfigError: if it does not.
    """
    known = sorted(
        name
        for name, kind in vars(torch_optimizer).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
    )
    if config.optimizer not in (*OPTIMIZERS, *known):
        raise ConfigError(unknown_name("optimizer", config.optimizer, [*OPTIMIZERS, *known]))


def make_optimizer(config: TrialConfig, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The trial's optimizer with its own defaults; Lookahead, which wraps another, wraps Lamb.

    Raises:
        ConfigError: as `check_optimizer`.
    """
    check_optimizer(config)
    if config.optimizer in _OF_TORCH:
        return _OF_TORCH[config.optimizer](config, params)
    if config.optimizer == "Lookahead":
        return _Lookahead(torch_optimizer.Lamb(params, lr=config.lr))
    return getattr(torch_optimizer, config.optimizer)(params, lr=config.lr)  # type: ignore[no-any-return]


_OF_TORCH: Mapping[str, Callable[[Any, Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "Adam": lambda config, params: torch.optim.Adam(params, **_adam(config), foreach=False),
    "AdamW": lambda config, params: torch.optim.AdamW(params, **_adam(config), foreach=False),
    "SGD": lambda config, params: torch.optim.SGD(
        params, config.lr, config.momentum, weight_decay=config.weight_decay, foreach=False
    ),
}


def _adam(config: Any) -> dict[str, Any]:
    betas = (config.beta1, config.beta2)
    return {"lr": config.lr, "betas": betas, "eps": config.eps, "weight_decay": config.weight_decay}


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


class SoloEngine:
    """Trains one trial, step by step.

    Args:
        configs: exactly one trial.
        device: `cpu` or `cuda`.
    """

    name = how = "solo"
    chunk = 16
    """Steps that a caller should ask for at once."""

    def __init__(self, configs: Sequence[TrialConfig], device: str) -> None:
        (config,) = configs
        self._device, self._empty = device, False
        self._set_up(config)

    def _set_up(self, config: TrialConfig) -> None:
        self.config, self.family, self.dtype, self.step = config, family_of(config), DTYPES[config.precision], 0
        self.network = {name: nn.Parameter(self._placed(tensor)) for name, tensor in self.family.start(config).items()}
        """The trained tensors."""
        self._fixed = {name: self._placed(tensor) for name, tensor in self.family.fixed(config).items()}
        self._sampler, self._shared = self.family.sampler(config), shared(config)
        self.optimizer = make_optimizer(config, self.network.values())

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self.dtype if tensor.is_floating_point() else None, copy=True)

    @property
    def steps(self) -> list[int]:
        """As the contract says."""
        return [0 if self._empty else self.step]

    def advance(self, n_steps: int) -> Float64[ndarray, "steps 1"]:
        """As the contract says."""
        if self._empty:
            return np.full((n_steps, 1), np.nan)
        return np.array([[self.train_step()] for _ in range(n_steps)])

    def train_step(self) -> float:
        """One step; its task loss, before the update."""
        self.step += 1
        knobs = {**self.family.knobs(self.config), **self.family.schedule(self.config, self.step)}
        batch = {name: self._placed(tensor) for name, tensor in self._sampler(self.step).items()}
        found = self.family.loss(self._shared, self.network, self._fixed, batch, knobs)
        self.optimizer.zero_grad()
        self._backward(found.objective)
        for group in self.optimizer.param_groups:
            group["lr"] = lr_at(self.config, self.step)
        before = {name: tensor.detach().clone() for name, tensor in self.network.items()}
        self._update()
        with torch.no_grad():
            now = self.params(0)
            for name, tensor in self.family.after(self._shared, now, before, found.passed, knobs).items():
                if tensor is not now[name]:
                    self.network[name].copy_(tensor)
        return float(found.reported.detach())

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

    def params(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""
        return {name: tensor.detach() for name, tensor in self.network.items()}

    def fixed(self, slot: int) -> Mapping[str, Tensor]:
        """As the contract says."""
        return self._fixed

    def overflowed(self) -> list[bool]:
        """Whether a parameter or an optimizer state has become non-finite."""
        tensors: list[Tensor] = list(self.network.values())
        for state in self.optimizer.state.values():
            tensors += [v for v in state.values() if isinstance(v, Tensor) and v.is_floating_point()]
        return [not self._empty and not all(bool(torch.isfinite(t).all()) for t in tensors)]

    def take(self, slot: int) -> MemberState:
        """As the contract says; an optimizer's plain values travel as JSON bytes."""
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self.network.items()}
        if self.config.optimizer in OPTIMIZERS:
            for name, param in self.network.items():
                kept = self.optimizer.state.get(param, {})
                for kind in STATES[self.config.optimizer]:
                    held = kept.get(kind)  # SGD has none without momentum
                    held = torch.zeros_like(param) if held is None else held
                    tensors[f"{kind}.{name}"] = held.detach().cpu().clone()
        else:
            plain = _split(self.optimizer.state_dict(), tensors)
            tensors["optimizer"] = torch.frombuffer(bytearray(json.dumps(plain).encode()), dtype=torch.uint8)
        return MemberState(config=self.config, step=self.step, tensors=tensors)

    def put(self, slot: int, state: MemberState | None) -> None:
        """As the contract says, but for more slots than one.

        Raises:
            ConfigError: if the slot is not the first.
        """
        if slot:
            raise ConfigError("the solo engine trains one trial at a time; got another that was to join it")
        self._empty = state is None
        if state is None:
            return
        self._set_up(state.config)
        self.step = state.step
        if not state.tensors:
            return
        with torch.no_grad():
            for name, param in self.network.items():
                param.copy_(state.tensors[name])
        if state.config.optimizer not in OPTIMIZERS:
            plain = json.loads(bytes(state.tensors["optimizer"].cpu().numpy()))
            self.optimizer.load_state_dict(_join(plain, state.tensors))
            return
        for name, param in self.network.items():
            kinds = STATES[state.config.optimizer]
            kept: dict[str, Any] = {kind: self._placed(state.tensors[f"{kind}.{name}"]) for kind in kinds}
            counted = torch.tensor(float(state.step)) if state.config.optimizer != "Lamb" else state.step
            self.optimizer.state[param] = {"step": counted, **kept}


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
