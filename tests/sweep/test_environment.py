"""A user's process after ours: its environment is what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import os
def environment():
    return {name: value for name, value in os.environ.items() if name != "KMP_DUPLICATE_LIB_OK"}  # threadpoolctl's
before = environment()
from monosweep.model import PackTrainer
from monosweep.sweep import LaunchOptions, launch, load_spec
from monosweep.analysis import open_root
if __name__ == "__main__":
    assert environment() == before
    for n_workers in (1, 2):
        options = LaunchOptions(executor="inline", workers=n_workers)
        assert launch(load_spec("tiny", [f"repeats={2 * n_workers}"]), "out", options).trained
    assert len(open_root("out").trials)
    assert environment() == before
"""


def test_importing_and_launching_leave_the_environment_alone(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    theirs = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=theirs, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
