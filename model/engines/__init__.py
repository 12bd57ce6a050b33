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
from dataclasses import dataclass
from typing import Any, Literal, get_args

from monosweep.model.additions import is_own
from monosweep.model.config import OPTIMIZERS, ConfigError, TrialConfig, shape_fields, shape_of, unknown_name
from monosweep.model.engines.contract import Engine
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.cpu.memory import cpu_bytes
from monosweep.model.engines.solo import SoloEngine, check_optimizer
from monosweep.model.engines.vmapped import VmappedEngine

EngineName = Literal["auto", "packed", "vmapped", "solo"]
_Make = Callable[[Sequence[Any], str], Engine]


@dataclass(frozen=True, slots=True)
class HandTuned:
    """An engine for one family on one device."""

    make: _Make
    trains: Callable[[Any], bool]
    """Whether it trains trials of this shape."""
    bytes_of_pack: Callable[[Any], tuple[int, int]]
    """Bytes of the device that a pack takes whatever its size, and for each member."""


def _with_lamb(config: TrialConfig) -> bool:
    return config.optimizer == "Lamb"


def _two_layer() -> HandTuned:
    return HandTuned(lambda configs, device: PackedEngine(configs), _with_lamb, cpu_bytes)


# The others are imported by the trials that need them: each costs hundredths of a second.


def _two_layer_on_gpus() -> HandTuned:
    from monosweep.model.engines.gpu.engine import StackedEngine
    from monosweep.model.engines.gpu.memory import gpu_bytes

    return HandTuned(StackedEngine, _with_lamb, gpu_bytes)


def _superposition() -> HandTuned:
    from monosweep.model.engines.cpu.superposition.engine import SuperpositionEngine, superposition_bytes, trains

    return HandTuned(lambda configs, device: SuperpositionEngine(configs), trains, superposition_bytes)


HAND_TUNED: Mapping[tuple[str, str], Callable[[], HandTuned]] = {
    ("two_layer", "cpu"): _two_layer,
    ("two_layer", "cuda"): _two_layer_on_gpus,
    ("superposition", "cpu"): _superposition,
}
"""By family and device; they are called `packed`."""
_TOLD = ("optimizer", "precision", "activation", "hidden")
"""Fields by which a packed engine may be none for a trial."""
_ANY_FAMILY: Mapping[str, _Make] = {"vmapped": VmappedEngine, "solo": SoloEngine}


def make_engine(configs: Sequence[TrialConfig], device: str, name: EngineName = "auto") -> Engine:
    """The engine for a pack.

    Raises:
        ConfigError: if the trials cannot share a pack, or the engine cannot train them.
    """
    _check(configs, device, name)
    tuned = hand_tuned(configs[0], device)
    if tuned and name in ("auto", "packed"):
        return tuned.make(configs, device)
    return _ANY_FAMILY[engine_name(configs[0], device) if name == "auto" else name](configs, device)


def engine_name(config: TrialConfig, device: str) -> str:
    """Which engine `auto` is."""
    if config.optimizer not in OPTIMIZERS:
        return "solo"
    return "packed" if hand_tuned(config, device) else "vmapped"


def hand_tuned(config: TrialConfig, device: str) -> HandTuned | None:
    """What trains such trials at hardware speed, if anything does; a user's metrics are no part of a step, a user's
    activation is."""
    tuned = HAND_TUNED.get((config.BASE or config.family, device))
    if tuned is None or is_own(config):
        return None
    found = tuned()
    return found if found.trains(config) else None


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
    if name == "vmapped" and config.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ConfigError(f"the vmapped engine trains with {known}; got {config.optimizer}; use the solo engine")
    if name == "packed" and not hand_tuned(config, device):
        asked = ", ".join(f"{field} {getattr(config, field)}" for field in _TOLD if field in shape_fields(type(config)))
        use = engine_name(config, device)
        raise ConfigError(f"no packed engine trains {config.family} with {asked} on {device}; use the {use} engine")
    if len(configs) > 1 and (name == "solo" or config.optimizer not in OPTIMIZERS):
        raise ConfigError(f"the solo engine trains one trial at a time; got {len(configs)}; use packs of one")


def _disagree(config: TrialConfig, other: TrialConfig) -> None:
    for field in shape_fields(type(config)):
        values = sorted({getattr(config, field), getattr(other, field, None)}, key=str)
        if len(values) > 1:
            raise ConfigError(f"trials of one pack must agree on {field}; got {values}; use several packs")
    raise ConfigError(f"trials of one pack must be of the same code; got two of {config.family}; use several packs")
