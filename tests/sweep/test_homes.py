"""A user without a home or an entry in /etc/passwd, as containers have: all works, or says so in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monosweep.sweep.homes import NOWHERE, stand_in
from monosweep.sweep.store.root import Store

_SOMEBODY = "54321"
_IMPORT = """
from monosweep.sweep.executors.shipping import lent
from monosweep.sweep.homes import stand_in
with lent(stand_in()):
    from monosweep.sweep.executors import connect, tune
print("there")
"""


def as_somebody(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """What a uid that nobody knows gets from a command, with nothing of our environment; it may read all."""
    folder.chmod(0o777)
    ids = (f"--reuid={_SOMEBODY}", f"--regid={_SOMEBODY}", "--clear-groups")
    become = ["setpriv", *ids, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    environment = {"PATH": os.environ["PATH"]}
    can = [*become, sys.executable, "-c", f"import os; assert os.getuid() == {_SOMEBODY}"]
    if os.geteuid() != 0 or subprocess.run(can, env=environment, capture_output=True).returncode:
        pytest.skip("needs root, and setpriv with ambient capabilities")
    return subprocess.run([*become, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_who_has_a_home_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stand_in() == {}


def test_ray_is_imported_without_a_home(tmp_path: Path) -> None:
    done = as_somebody(tmp_path, sys.executable, "-B", "-c", _IMPORT)
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr


def test_a_root_below_no_home_is_one_line(tmp_path: Path) -> None:
    done = as_somebody(tmp_path, sys.executable, "-B", "-m", "monosweep.sweep", "status", "~/x")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert done.stderr.startswith("monosweep: ") and f"{NOWHERE}/x" in done.stderr
    code = "from monosweep.sweep.store.root import Store; Store.create('~/x')"
    last = as_somebody(tmp_path, sys.executable, "-B", "-c", code).stderr.strip().splitlines()[-1]
    assert last.endswith("~ needs a home; got '~/x' (Could not determine home directory); give the full path")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_launch_on_ray_without_a_home(tmp_path: Path) -> None:
    launch = ("launch", "tiny", "--workers", "2", "--device", "cpu", "--out", "out")
    done = as_somebody(tmp_path, sys.executable, "-B", "-m", "monosweep.sweep", *launch)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert list(Store.open(str(tmp_path / "out")).index().statuses.values()) == ["completed"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
