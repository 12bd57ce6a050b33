"""Imports that are made shorter: what is loaded ahead, and that nothing else is in its way."""

from __future__ import annotations

import gc
import subprocess
import sys

from monosweep.sweep.ahead import importing

_CODE = """
import sys
from pathlib import Path
from threading import enumerate as threads

def libraries():
    return {name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).endswith(".so")}

from monosweep.sweep.ahead import load_torch
import monosweep.sweep.cli.verbs
load_torch()
before = libraries()
import monosweep.sweep.drive, monosweep.sweep.plan.budget, monosweep.sweep.view.lines
print(sorted(libraries() - before), "torch" in sys.modules)
for thread in threads()[1:]:
    thread.join()
print("libtorch_cpu.so" in Path("/proc/self/maps").read_text())
"""


def test_torchs_library_is_loaded_while_our_modules_load_none() -> None:
    """Else the import waits for the library, and no time is saved."""
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[] False", "True"]


def test_garbage_is_looked_for_again_after_imports() -> None:
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
