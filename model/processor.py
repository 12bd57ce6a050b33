"""What this machine's processor is called, and what it can do."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def processor() -> dict[str, str]:
    """What Linux says about the first processor; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    lines = [line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line]
    return {name.strip(): value.strip() for name, value in lines}


def processor_name() -> str:
    """As the kernel, or else Python, calls it."""
    return processor().get("model name") or platform.processor() or platform.machine()


def has_bf16() -> bool:
    """Whether it multiplies bfloat16 by instructions of its own; torch takes twenty times as long without them."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(processor().get("flags", "").split())
