"""Plain functions, which are called: packs of them one after another, without torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from monosweep.model.checkpoint_header import CheckpointError
from monosweep.model.config import TrialConfig
from monosweep.model.kinds.contract import Keep, Record
from monosweep.model.kinds.runner import ENGINE, ProcedureRunner
from monosweep.model.kinds.told_again import from_bytes, to_bytes
from monosweep.model.member import MemberState
from monosweep.model.processor import processor_name

LIBRARIES = ("numpy", "scipy", "pyarrow", "cotengra", "opt_einsum")

__all__ = [
    "LIBRARIES", "bytes_of_pack", "check_device", "device_name", "engine_name", "from_bytes", "resume", "start",
    "to_bytes",
]  # fmt: skip
_BYTES = 300 * 2**20, 2**20
"""What Python with SciPy holds, and a trial of modest size."""


def device_name(device: str) -> str:
    """The processor's, whatever else there is."""
    return processor_name()


def check_device(device: str) -> None:
    """A processor needs no asking."""


def engine_name(config: TrialConfig, device: str) -> str:
    """`function`."""
    return ENGINE


def bytes_of_pack(config: TrialConfig, device: str) -> tuple[int, int]:
    """A guess."""
    return _BYTES


def start(
    configs: Sequence[TrialConfig], device: str, record: Record = "final", keep_weights: Keep = "none",
    process: str = "", together: bool = False,
) -> ProcedureRunner:  # fmt: skip
    """As `Kind`; there are no weights, and tables are of the end."""
    return ProcedureRunner([MemberState(config=config) for config in configs], process, together)


def resume(
    data: bytes, device: str, only: Collection[str], record: Record, keep_weights: Keep, code: str, process: str,
    together: bool,
) -> ProcedureRunner:  # fmt: skip
    """As `Kind`."""
    members, _ = from_bytes(data, only, code)
    if not members:
        raise CheckpointError("holds no trial that is to go on")
    return ProcedureRunner(members, process, together)
