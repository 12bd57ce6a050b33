"""What keeping freed memory spares: the kernel's handing out of the same pages again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from monosweep.model.heap import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return torch.ones(2**21).add(1).mul(2).sum()  # 8 MB each
step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_freed_memory_stays_with_the_process() -> None:
    by_default, kept = (
        int(subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("as it is", "kept")
    )
    pages = 20 * 3 * 2**23 // 4096
    assert by_default > pages / 10, "the default is no worse: nothing is spared"
    assert kept < by_default / 5
