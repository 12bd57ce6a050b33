"""`monosweep bench`: rates of every load at every shape, taken in turns, and what follows from them.

Taking turns spreads whatever else the machine does over all loads; the median of the turns is the answer.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from statistics import median
from typing import Any

from monosweep.model.bench.loads import Kind, Load
from monosweep.model.bench.shapes import LARGE_OPERATIONS, Shape
from monosweep.sweep.bench.crew import Crew

PRODUCTS: tuple[Kind, ...] = ("gemm", "numpy", "torch")
"""What does the five products alone; the fastest is the limit."""
SECONDS: Mapping[Kind, float] = {"packed": 1.0, "solo": 1.0, **dict.fromkeys(PRODUCTS, 0.5), "memory": 0.2}
"""How long each load is measured at a turn."""
MEMBERS = 16
"""Trials of a measured pack; more are no faster, because each trains alone in its core's cache."""
_MEMBERS_AT_LARGE = 2
"""The same where a single step takes a good part of a turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What the machine cannot be faster than with these products in float32."""

    products_ms: float
    """The five products of a model-step alone, by the fastest of PRODUCTS, at their own shapes."""
    library: str
    """Which that is: one of PRODUCTS."""
    gigaflops: Mapping[str, float]
    """Measured rate of the products, by library."""
    traffic_ms: float
    """What one step must read and write besides, at the measured bandwidth."""
    gigabytes_per_s: float
    """Measured bandwidth over as much memory as a step touches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeRates:
    """One shape on this machine, all cores together; the medians of the turns."""

    shape: Shape
    packed_ms: float
    """Milliseconds per model-step, packed engine."""
    solo_ms: float
    """The same, solo engine: autograd, one step at a time."""
    limit: Limit
    samples: Mapping[str, tuple[float, ...]]
    """Work per second at every turn, by load."""

    @property
    def trials_per_hour(self) -> float:
        """Whole trials of `shape.n_steps` steps, packed."""
        return 3.6e6 / (self.packed_ms * self.shape.n_steps)

    @property
    def solo_trials_per_hour(self) -> float:
        """The same, solo."""
        return 3.6e6 / (self.solo_ms * self.shape.n_steps)

    @property
    def share_of_limit(self) -> float:
        """What part of a packed step the bare products would take."""
        return self.limit.products_ms / self.packed_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where the numbers come from."""

    device: str
    """The processor and the kernels that multiply for NumPy on it."""
    n_cores: int
    versions: Mapping[str, str]


def measure(
    shapes: Sequence[Shape],
    n_workers: int,
    *,
    turns: int,
    seconds: Mapping[Kind, float] = SECONDS,
    tell: Callable[[str], None] = lambda _: None,
) -> list[ShapeRates]:
    """Measure every load at every shape, all of them once a turn.

    Args:
        tell: is told what is going to be measured.
    """
    samples: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    with Crew(n_workers) as crew:
        for turn in range(turns):
            for shape in shapes:
                tell(f"{shape.name}, {turn + 1} of {turns}")
                for load in loads_of(shape):
                    samples[shape.name, load.kind].append(crew.rate(load, seconds[load.kind]))
    return [_rates(shape, {kind: samples[shape.name, kind] for kind in SECONDS}) for shape in shapes]


def loads_of(shape: Shape) -> Iterator[Load]:
    """Every kind of load with this shape's trials."""
    configs = shape.trials(_MEMBERS_AT_LARGE if shape.operations > LARGE_OPERATIONS else MEMBERS)
    return (Load(kind, configs) for kind in SECONDS)


def _rates(shape: Shape, samples: Mapping[Kind, Sequence[float]]) -> ShapeRates:
    ms = {kind: 1e3 / median(rates) for kind, rates in samples.items()}
    return ShapeRates(
        shape=shape, packed_ms=ms["packed"], solo_ms=ms["solo"], limit=limit_of(shape, samples),
        samples={kind: tuple(rates) for kind, rates in samples.items()},
    )  # fmt: skip


def limit_of(shape: Shape, samples: Mapping[Kind, Sequence[float]]) -> Limit:
    """The floors from the measured rates of PRODUCTS and `memory`."""
    steps_per_s = {kind: median(samples[kind]) for kind in PRODUCTS}
    library = max(steps_per_s, key=lambda kind: steps_per_s[kind])
    bandwidth = median(samples["memory"])
    return Limit(
        products_ms=1e3 / steps_per_s[library], library=library,
        gigaflops={kind: rate * shape.operations / 1e9 for kind, rate in steps_per_s.items()},
        traffic_ms=1e3 * shape.traffic / bandwidth, gigabytes_per_s=bandwidth / 1e9,
    )  # fmt: skip


def machine(n_cores: int) -> Machine:
    """This machine, as the results should name it."""
    from monosweep.model.device import device_name

    packages = ("monosweep", "torch", "numpy", "numba", "ray")
    versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    return Machine(device=device_name("cpu"), n_cores=n_cores, versions=versions)


def as_plain(machine: Machine, rates: Sequence[ShapeRates]) -> dict[str, Any]:
    """Everything measured, for JSON."""
    from dataclasses import asdict

    shapes = [
        asdict(r)
        | {
            "trials_per_hour": r.trials_per_hour,
            "solo_trials_per_hour": r.solo_trials_per_hour,
            "share_of_limit": r.share_of_limit,
        }
        for r in rates
    ]
    return {"machine": asdict(machine), "shapes": shapes}
