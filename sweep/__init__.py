"""Sweeps: specs into trials, trials into packs, packs onto workers, rows into Parquet.

    >>> from monosweep.sweep import LaunchOptions, launch, load_spec
    >>> report = launch(load_spec("tiny"), "results", LaunchOptions(executor="inline"))   # doctest: +SKIP

The names below are for users; a name's module is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosweep.sweep.drive import LaunchOptions, LaunchReport, launch
    from monosweep.sweep.spec.sweep_spec import SweepSpec, expand, load_spec
    from monosweep.sweep.store.files import StoreError
    from monosweep.sweep.view.status import SweepStatus, read_status

__all__ = [
    "LaunchOptions",
    "LaunchReport",
    "StoreError",
    "SweepSpec",
    "SweepStatus",
    "expand",
    "launch",
    "load_spec",
    "read_status",
]

_HOMES = {
    "drive": ("LaunchOptions", "LaunchReport", "launch"),
    "spec.sweep_spec": ("SweepSpec", "expand", "load_spec"),
    "store.files": ("StoreError",),
    "view.status": ("SweepStatus", "read_status"),
}
"""Which module has which of the names."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"monosweep.sweep.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if __name__ == "sweep":  # `import sweep` at a checkout's root is the same module as `import monosweep.sweep`
    sys.modules[__name__] = import_module("monosweep.sweep")
