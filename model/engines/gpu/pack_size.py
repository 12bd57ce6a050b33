"""How many trials a GPU trains best together: measured on it, with the trials at hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from monosweep.model.additions import is_own
from monosweep.model.config import shape_of
from monosweep.model.device import device_name
from monosweep.model.engines.gpu.engine import CHUNK_STEPS, StackedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig

SIZES = (8, 32, 128, 512)
"""Pack sizes that are tried; a larger one has less left to gain than it loses with its worker."""
CLOSE = 1.05
"""A smaller pack is taken if its steps cost, member by member, at most so many times the least."""
_TIMED_STEPS = 2 * CHUNK_STEPS
_measured: dict[tuple[object, ...], int] = {}


def useful_pack_size(configs: Sequence[Any], fits: int, device: str) -> int:
    """Most members that a pack of these trials should have; measured once for each device's name and shape.

    Args:
        configs: trials of one shape.
        fits: how many of such trials the device has memory for, at least 1.
    """
    most = min(len(configs), fits, SIZES[-1])
    config = configs[0]
    if not isinstance(config, TwoLayerConfig) or config.optimizer != "Lamb" or is_own(config):
        return most  # the engine that is timed trains no others
    sizes = [*(size for size in SIZES if size < most), most]
    if len(sizes) == 1:
        return most
    key = (device_name(device), *sizes, *shape_of(config))
    if key not in _measured:
        _measured[key] = cheapest(sizes, lambda size: step_s(configs[:size], device))
    return _measured[key]


def cheapest(sizes: Sequence[int], seconds: Callable[[int], float]) -> int:
    """The smallest size whose step costs each member at most `CLOSE` times the least; ascending sizes are tried for as
    long as they pay.

    >>> cheapest([8, 32, 128], {8: 8.0, 32: 16.0, 128: 63.0}.__getitem__)
    32
    """
    best, least = sizes[0], seconds(sizes[0]) / sizes[0]
    for size in sizes[1:]:
        each = seconds(size) / size
        if each * CLOSE >= least:
            break
        best, least = size, each
    return best


def step_s(configs: Sequence[TwoLayerConfig], device: str) -> float:
    """Seconds of a step of this pack, once it is trained steadily; infinite where the device has no memory for it."""
    try:
        return _step_s(StackedEngine(tuple(configs), device))
    except torch.OutOfMemoryError:
        return math.inf
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()


def _step_s(engine: StackedEngine) -> float:
    engine.advance(engine.chunk)
    return steady_step_s(engine, _TIMED_STEPS)


def steady_step_s(engine: StackedEngine, n_steps: int) -> float:
    """Seconds of a step over at least `n_steps`, in the engine's own chunks: nothing that it did ahead is in vain."""
    start, done = time.perf_counter(), 0
    while done < n_steps:
        done += len(engine.advance(engine.chunk))
    return (time.perf_counter() - start) / done
