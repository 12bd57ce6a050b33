"""The science: one trial or one pack, trained here.  Imports torch, never ray, sweep or analysis.

    >>> from monosweep.model import PackTrainer, TwoLayerConfig
    >>> config = TwoLayerConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=4)
    >>> [snapshot.step for snapshot in PackTrainer([config], device="cpu")]
    [1, 2, 4]

The names below are for users; a name's module is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosweep.model.additions import activation, metric
    from monosweep.model.config import ConfigError, Shape, TrialConfig, UserError
    from monosweep.model.data.random import generator
    from monosweep.model.families.two_layer.config import TwoLayerConfig
    from monosweep.model.family import Family, Loss
    from monosweep.model.member import MemberState
    from monosweep.model.notebook import train
    from monosweep.model.precision import product
    from monosweep.model.records import Float32, Int32, TrialStatus
    from monosweep.model.results import Snapshot, TrialResult
    from monosweep.model.trainer import PackTrainer, train_pack

__all__ = [
    "ConfigError",
    "Family",
    "Float32",
    "Int32",
    "Loss",
    "MemberState",
    "PackTrainer",
    "Shape",
    "Snapshot",
    "TrialConfig",
    "TrialResult",
    "TrialStatus",
    "TwoLayerConfig",
    "UserError",
    "activation",
    "generator",
    "metric",
    "product",
    "train",
    "train_pack",
]

_HOMES = {
    "additions": ("activation", "metric"),
    "config": ("ConfigError", "Shape", "TrialConfig", "UserError"),
    "data.random": ("generator",),
    "family": ("Family", "Loss"),
    "families.two_layer.config": ("TwoLayerConfig",),
    "member": ("MemberState",),
    "notebook": ("train",),
    "precision": ("product",),
    "records": ("Float32", "Int32", "TrialStatus"),
    "results": ("Snapshot", "TrialResult"),
    "trainer": ("PackTrainer", "train_pack"),
}
"""Which module has which of the names."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"monosweep.model.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if __name__ == "model":  # `import model` at a checkout's root is the same module as `import monosweep.model`
    sys.modules[__name__] = import_module("monosweep.model")
