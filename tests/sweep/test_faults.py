"""Workers whose machine fails, and trials that end their worker: who fails, and who does not.  Real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from monosweep.sweep.store.root import Store
from processes import Driver
from same_tables import read_rows

_TOY = (Path(__file__).parent / "faulty_toy.py").read_text()
_SPEC = """
base: {{family: "toy.py:Toy", n_steps: {n_steps}, batch_size: 8, lr: 0.01}}
space: {{kills: {{grid: {kills}}}}}
repeats: {repeats}
pack_size: {pack_size}
"""
_SCRIPT = """
from monosweep.sweep import LaunchOptions, launch, load_spec
launch(load_spec("tiny"), "out", LaunchOptions(executor="inline", device="cpu", workers=2))
"""
ON_RAY = ("--workers", "2", "--device", "cpu")
INLINE = (*ON_RAY, "--executor", "inline")
LONG_INLINE, LONG_RAY = (pytest.param(options, marks=pytest.mark.long) for options in (INLINE, ON_RAY))
LONG_S = 400.0


def toy(folder: Path, kills: str = "[0]", repeats: int = 4, pack_size: int = 1, n_steps: int = 64) -> Path:
    """A spec of faulty trials."""
    (folder / "toy.py").write_text(_TOY)
    (folder / "spec.yaml").write_text(_SPEC.format(kills=kills, repeats=repeats, pack_size=pack_size, n_steps=n_steps))
    return folder / "spec.yaml"


@pytest.mark.parametrize("options", [INLINE, LONG_RAY], ids=["inline", "ray"])
def test_of_two_workers_one_has_a_broken_gpu(tmp_path: Path, options: Sequence[str]) -> None:
    """Whichever process comes first is bad, and whichever takes its place: the other one trains everything."""
    spec = toy(tmp_path, repeats=6)
    driver = Driver(spec, tmp_path / "out", *options, env={"TOY_BAD_PROCESS": str(tmp_path / "bad")})
    assert driver.finish(LONG_S) == 0, driver.said()
    assert "a worker cannot train (RuntimeError: CUDA error: an illegal memory access was encountered)" in driver.said()
    assert list(Store.open(str(driver.out)).index().statuses.values()) == ["completed"] * 6


@pytest.mark.parametrize("options", [INLINE[2:], LONG_INLINE, LONG_RAY], ids=["here", "inline", "ray"])
def test_where_nothing_can_be_trained_the_sweep_stops_with_a_line_and_no_row(
    tmp_path: Path, options: Sequence[str]
) -> None:
    driver = Driver(toy(tmp_path), tmp_path / "out", *options, env={"TOY_BAD_PROCESS": "all"})
    assert driver.finish(LONG_S) == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: no machine is left that can train (")
    assert "CUDA error: an illegal memory access was encountered); what is finished is kept" in last
    assert "Traceback" not in driver.said()
    assert Store.open(str(driver.out)).index().statuses == {}


@pytest.mark.parametrize(
    ("options", "pack_size"), [(INLINE, 1), pytest.param(ON_RAY, 2, marks=pytest.mark.long)], ids=["inline", "ray"]
)
def test_a_trial_that_ends_its_worker_fails_and_its_neighbours_do_not(
    tmp_path: Path, options: Sequence[str], pack_size: int
) -> None:
    spec = toy(tmp_path, kills="[0, 1]", repeats=1, pack_size=pack_size)
    driver = Driver(spec, tmp_path / "out", *options)
    assert driver.finish(LONG_S) == 1, driver.said()
    found = {row["kills"]: row for row in read_rows(driver.out)}
    assert (found[0.0]["status"], found[1.0]["status"]) == ("completed", "failed"), driver.said()
    assert found[1.0]["error"].startswith("its worker died 4 times (")


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert 'a script that launches several workers must do so under if __name__ == "__main__"' in last
    assert done.stderr.count("Traceback") == 1  # the script's own
    assert Store.open(str(tmp_path / "out")).index().statuses == {}
