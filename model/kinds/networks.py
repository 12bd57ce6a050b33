"""Networks, which are trained: packs on an engine, by torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from monosweep.model.checkpoint import from_bytes, to_bytes
from monosweep.model.config import TrialConfig
from monosweep.model.device import compute as check_device
from monosweep.model.device import device_name
from monosweep.model.engines import engine_name
from monosweep.model.kinds.contract import Keep, Record
from monosweep.model.memory import bytes_of_pack
from monosweep.model.trainer import PackTrainer

LIBRARIES = ("torch", "numpy", "pyarrow")

__all__ = [
    "LIBRARIES", "bytes_of_pack", "check_device", "device_name", "engine_name", "from_bytes", "resume", "start",
    "to_bytes",
]  # fmt: skip


def start(
    configs: Sequence[TrialConfig], device: str, record: Record = "final", keep_weights: Keep = "none",
    process: str = "", together: bool = False,
) -> PackTrainer:  # fmt: skip
    """As `Kind`; members are always together."""
    return PackTrainer(configs, device, record, keep_weights=keep_weights, process=process)


def resume(
    data: bytes, device: str, only: Collection[str], record: Record, keep_weights: Keep, code: str, process: str,
    together: bool,
) -> PackTrainer:  # fmt: skip
    """As `Kind`."""
    return PackTrainer.from_bytes(data, device, only, record, keep_weights, code=code, process=process)
