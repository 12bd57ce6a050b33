"""What a million trials on a thousand GPUs would ask of the driver and the storage, from constants measured here.

    near-empty packs through Tune -> driver seconds per pack   trials expanded and packed -> seconds per trial
    parts of trained packs -> bytes per row                    a pack's checkpoint -> bytes per trial

Part of `make bench-scaling`.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from monosweep.model.bench.shapes import shape_named
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.plan.machine import n_cores
from monosweep.sweep.plan.packs import PACKS_PER_WORKER, make_packs
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.text import table

_TABLES = ("trials", "curves", "neurons")
_MEMBERS, _STEPS = 64, 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """What was measured."""

    driver_s_per_pack: float
    """Processor seconds of the driver for one more near-empty pack."""
    packs_per_s: float
    """Near-empty packs per second of wall time, driver and workers on this machine together."""
    plan_s_per_trial: float
    """Expanding a spec and packing, for each trial; processor seconds."""
    bytes_per_row: dict[str, float]
    """By table, in a part of 64 trials."""
    checkpoint_bytes: float
    """Per trial of the quick shape."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a sweep would take besides its training."""

    n_packs: int
    plan_s: float
    """Before the first pack starts."""
    schedule_s: float
    """Processor seconds of the driver over the whole sweep."""
    table_bytes: dict[str, float]
    checkpoint_bytes: float
    """Of all packs in training at one time."""


def measure(packs: Sequence[int]) -> Constants:
    """Measure all constants; `packs` are the sizes of two sweeps of near-empty packs."""
    driver_s, packs_per_s = _scheduling(packs)
    per_row, checkpoint = _storage()
    return Constants(
        driver_s_per_pack=driver_s, packs_per_s=packs_per_s, plan_s_per_trial=_planning(20_000),
        bytes_per_row=per_row, checkpoint_bytes=checkpoint,
    )  # fmt: skip


def cost(constants: Constants, n_trials: int, n_workers: int, n_curve: int, n_neurons: int) -> Cost:
    """The model: everything is proportional to trials, rows or packs.

    Args:
        n_curve: recorded steps of a trial.
        n_neurons: neurons of a trial.
    """
    n_packs = min(n_trials, PACKS_PER_WORKER * n_workers)
    rows = {"trials": 1, "curves": n_curve, "neurons": n_neurons}
    in_training = n_workers * n_trials / n_packs
    return Cost(
        n_packs=n_packs, plan_s=n_trials * constants.plan_s_per_trial, schedule_s=n_packs * constants.driver_s_per_pack,
        table_bytes={name: n_trials * rows[name] * constants.bytes_per_row[name] for name in _TABLES},
        checkpoint_bytes=in_training * constants.checkpoint_bytes,
    )  # fmt: skip


def _scheduling(packs: Sequence[int]) -> tuple[float, float]:
    """Driver seconds of one more pack, and packs per second; what starting costs cancels out."""
    _near_empty(1)  # what this process imports is none of theirs
    (few, cpu_few, wall_few), (many, cpu_many, wall_many) = (_near_empty(n) for n in packs)
    return (cpu_many - cpu_few) / (many - few), (many - few) / (wall_many - wall_few)


def _near_empty(n_packs: int) -> tuple[int, float, float]:
    """Packs of one trial of one step: how many, the driver's processor seconds, wall seconds."""
    spec = _spec("near-empty", shape_named("tiny").trials(1, 1)[0], n_packs, pack_size=1)
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as root:
        cpu, wall = time.process_time(), time.monotonic()
        report = launch(spec, root, LaunchOptions(workers=n_cores()), Console(file=io.StringIO()))
        taken = time.process_time() - cpu, time.monotonic() - wall
    if report.after.completed != n_packs:
        raise RuntimeError(f"{n_packs} packs launched, {report.after}")
    return n_packs, *taken


def _planning(n_trials: int) -> float:
    """Processor seconds to expand and pack one trial."""
    start = time.process_time()
    configs = expand(_spec("planning", shape_named("quick").trials(1)[0], n_trials))
    make_packs(configs, pack_size="auto", n_workers=20, memory_bytes=2**40, footprint=lambda config: (2**20, 2**20))
    return (time.process_time() - start) / n_trials


def _storage() -> tuple[dict[str, float], float]:
    """Bytes of a row in each table, and of a trial in a checkpoint, with the sizes of the quick shape."""
    from monosweep.model.trainer import PackTrainer

    configs = shape_named("quick").trials(_MEMBERS, _STEPS)
    spec = _spec("storage", configs[0], _MEMBERS, pack_size=_MEMBERS)
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as root:
        launch(spec, root, LaunchOptions(executor="inline", device="cpu"), Console(file=io.StringIO()))
        parts = {name: next(Path(root).glob(f"{name}/*/*.parquet")) for name in _TABLES}
        per_row = {name: part.stat().st_size / pq.read_metadata(part).num_rows for name, part in parts.items()}
    return per_row, len(PackTrainer(list(configs), device="cpu").to_bytes()) / _MEMBERS


def _spec(name: str, config: TwoLayerConfig, n_trials: int, pack_size: int | str = "auto") -> SweepSpec:
    base = {key: value for key, value in config.to_dict().items() if value is not None}
    return SweepSpec.model_validate({"name": name, "base": base, "repeats": n_trials, "pack_size": pack_size})


def report(constants: Constants, million: Cost) -> str:
    """Constants and what they make of a million trials."""
    sizes = million.table_bytes
    rows = [
        ("driver, per pack", f"{1e3 * constants.driver_s_per_pack:.1f} ms", f"{million.schedule_s:,.0f} s"),
        ("planning, per trial", f"{1e6 * constants.plan_s_per_trial:.0f} us", f"{million.plan_s:,.0f} s"),
        *((f"{name}, per row", f"{constants.bytes_per_row[name]:.0f} B", _gigabytes(sizes[name])) for name in _TABLES),
        ("checkpoints, per trial", f"{constants.checkpoint_bytes / 1e3:.0f} kB", _gigabytes(million.checkpoint_bytes)),
    ]
    return table(("constant", "measured", f"1,000,000 trials in {million.n_packs:,} packs"), rows, right=(1, 2))


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"
