"""Whose fault it is that training raised: the trial's own, or that of the machine on which it was.  Torch-free.

    exception -> cause_of -> OWN: a `failed` row     MEMORY, MACHINE: MachineError, the worker ends, nobody's row

What torch raises is known by the names of its classes and by its words: torch is not imported to look.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from monosweep.model.families.source import in_users_code

_MEMORY_TYPES = {"MemoryError", "OutOfMemoryError"}
_MACHINE_TYPES = {"DeviceError", "AcceleratorError", "DistBackendError", "ImportError", "OSError"}
_OF_FILES = {"ImportError", "OSError"}
"""The same where it is a user's own line that asks for a module or file."""
_MEMORY_WORDS = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED", re.I)
_MACHINE_WORDS = re.compile(
    r"\b(CUDA|HIP|NCCL|cuDNN|NVML|cuBLAS)\b.{0,40}\b(error|failure|failed)\b|\bCUDA_ERROR_|\b(CUBLAS|CUDNN|CUSOLVER|"
    r"CUSPARSE|CUFFT)_STATUS_|Found no NVIDIA driver|driver shutting down|no CUDA GPUs are available|no kernel image",
    re.I,
)
_ASSERTED = re.compile(r"device-side assert", re.I)
"""A kernel's own check, such as that of an index: the process is lost, and code is to blame."""


class Cause(StrEnum):
    """Why a pack was not trained to its end."""

    OWN = "own"
    """Its code raised."""
    DIED = "died"
    """The process was killed or crashed."""
    MEMORY = "memory"
    """There was too little memory, whoever had it."""
    MACHINE = "machine"
    """The machine failed: its GPU, driver, disk or installation."""
    GONE = "gone"
    """The worker was told to go, and has checkpointed its pack."""


class MachineError(Exception):
    """This process can train no further, through no fault of a trial; the message is one line."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(cause, text)
        self.cause, self.text = cause, text

    def __str__(self) -> str:
        return self.text


def cause_of(error: BaseException) -> Cause:
    """Whose fault an exception is that came out of training.

    >>> cause_of(RuntimeError("CUDA error: an illegal memory access was encountered")).value
    'machine'
    >>> cause_of(MemoryError("Unable to allocate 2 GiB")).value, cause_of(ValueError("lr?")).value
    ('memory', 'own')
    """
    names, text = {kind.__name__ for kind in type(error).__mro__}, str(error)
    if names & _MEMORY_TYPES:
        return Cause.MEMORY
    if _ASSERTED.search(text):
        return Cause.DIED
    if names & _MACHINE_TYPES:
        return Cause.OWN if names & _OF_FILES and in_users_code(error) else Cause.MACHINE
    if not names & {"RuntimeError", "SystemError"}:  # how libraries in C tell of trouble; words of Python's own are not
        return Cause.OWN
    if _MEMORY_WORDS.search(text):
        return Cause.MEMORY
    return Cause.MACHINE if _MACHINE_WORDS.search(text) else Cause.OWN


def oom_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory since it started; 0 where unknown."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))
