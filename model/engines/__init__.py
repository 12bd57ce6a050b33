"""Which engine trains a pack: the hand-tuned one that its family brings for a device, else one for any family.

A network has one definition: its family's loss under autograd, with `torch_optimizer.Lamb` (`solo`).  What is written
again is written again for speed, and held to that definition by a test (`test_engines`, `test_vmapped`, `gpu/`).

Gradients.  `vmapped` maps the same loss over members: no second way.  By hand there are five, all for `two_layer`:
    cpu/compiled_step  `_gradients`        ReLU without Python between two products: a third less time a step at the
                                           benchmark's tiny shape than the next, less as products grow
    cpu/step           `_gradients`        every other activation, way to decay, and rounding, with the same bits
    cpu/compiled_step  `_gram_gradients`   layers narrower than features are many, a quarter less time (128/32/32/256)
    cpu/compiled_step  `_half_gradients`   bfloat16 where a processor has AMX: operands stay 16 bits between products
    gpu/step           `_gradients`        all members in each product; what lies between is gpu/elementwise's or, in
                                           Triton, gpu/kernels', which reads what it must once

LAMB.  torch_optimizer's is the definition; `optimizers.lamb_step` is that of stacks of members (`vmapped`,
gpu/elementwise), cpu/elementwise `lamb` one pass over a member in cache, gpu/kernels `lamb` one for a pack.

How much of the bias decay a neuron feels (`families.two_layer.decay`) and how an operand is rounded to TF32 and
bfloat16 (`precision`) is written once; the CPU's `_bf16_bits` alone repeats torch's rounding, inside compiled loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from monosweep.model.additions import is_own
from monosweep.model.config import OPTIMIZERS, ConfigError, TrialConfig, shape_fields, shape_of, unknown_name
from monosweep.model.engines.contract import Engine
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.solo import SoloEngine, check_optimizer
from monosweep.model.engines.vmapped import VmappedEngine

EngineName = Literal["auto", "packed", "vmapped", "solo"]
_Make = Callable[[Sequence[Any], str], Engine]

HAND_TUNED: Mapping[tuple[str, str], _Make] = {
    ("two_layer", "cpu"): lambda configs, device: PackedEngine(configs),
    ("two_layer", "cuda"): StackedEngine,
}
"""By family and device; they are called `packed`."""
_VMAPPED = "use the vmapped engine"
_ANY_FAMILY: Mapping[str, _Make] = {"vmapped": VmappedEngine, "solo": SoloEngine}


def make_engine(configs: Sequence[TrialConfig], device: str, name: EngineName = "auto") -> Engine:
    """The engine for a pack.

    Raises:
        ConfigError: if the trials cannot share a pack, or the engine cannot train them.
    """
    _check(configs, device, name)
    chosen = engine_name(configs[0], device) if name == "auto" else name
    make = HAND_TUNED[_tuned_for(configs[0]), device] if chosen == "packed" else _ANY_FAMILY[chosen]
    return make(configs, device)


def _tuned_for(config: TrialConfig) -> str:
    """The family whose hand-tuned engines can train the trial: a user's metrics are no part of a step."""
    return config.BASE or config.family


def engine_name(config: TrialConfig, device: str) -> str:
    """Which engine `auto` is."""
    if config.optimizer not in OPTIMIZERS:
        return "solo"
    tuned = config.optimizer == "Lamb" and (_tuned_for(config), device) in HAND_TUNED and not is_own(config)
    return "packed" if tuned else "vmapped"


def _check(configs: Sequence[TrialConfig], device: str, name: EngineName) -> None:
    if not configs:
        raise ConfigError("a pack needs at least one trial; got none")
    if name not in get_args(EngineName):
        raise ConfigError(unknown_name("engine", name, get_args(EngineName)))
    config = configs[0]
    for other in configs:
        if shape_of(other) != shape_of(config):
            _disagree(config, other)
    check_optimizer(config)
    trains = {"packed": ("Lamb",), "vmapped": tuple(OPTIMIZERS)}
    if config.optimizer not in trains.get(name, (config.optimizer,)):
        known = ", ".join(trains[name])
        use = "vmapped" if config.optimizer in OPTIMIZERS else "solo"
        raise ConfigError(f"the {name} engine trains with {known}; got {config.optimizer}; use the {use} engine")
    if name == "packed" and is_own(config):
        raise ConfigError(f"the packed engine has no activation of one's own, {config.activation}; {_VMAPPED}")  # type: ignore[attr-defined]
    if name == "packed" and (_tuned_for(config), device) not in HAND_TUNED:
        raise ConfigError(f"no packed engine trains {config.family} on {device}; {_VMAPPED}")
    if len(configs) > 1 and (name == "solo" or config.optimizer not in OPTIMIZERS):
        raise ConfigError(f"the solo engine trains one trial at a time; got {len(configs)}; use packs of one")


def _disagree(config: TrialConfig, other: TrialConfig) -> None:
    for field in shape_fields(type(config)):
        values = sorted({getattr(config, field), getattr(other, field, None)}, key=str)
        if len(values) > 1:
            raise ConfigError(f"trials of one pack must agree on {field}; got {values}; use several packs")
    raise ConfigError(f"trials of one pack must be of the same code; got two of {config.family}; use several packs")
