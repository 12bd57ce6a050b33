"""Launches that are told to go, once or several times, at once or while they start.  Real Ray, real signals."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from processes import Driver, gone, scratch

_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 40000000}
space: {lr: {grid: [0.003, 0.03]}}
pack_size: 1
"""
_YOUNG_S = 15.0
"""Five seconds, and what it takes on busy cores to write a checkpoint."""


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Two packs that would train for an hour, on two workers."""
    (tmp_path / "long.yaml").write_text(_SPEC)
    return Driver(tmp_path / "long.yaml", tmp_path / "out", "--workers", "2")


def ended(driver: Driver) -> str:
    """That it has ended as it should; its last line."""
    assert driver.finish(60) == 130, driver.said()
    assert "Traceback" not in driver.said(), driver.said()
    last: str = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: "), driver.said()
    return last


def test_while_ray_starts(driver: Driver) -> None:
    driver.wait_for(lambda: any("gcs_server" in command for command in driver.family().values()))
    family = driver.family()
    driver.process.send_signal(signal.SIGTERM)
    assert "stopped" in ended(driver)
    assert gone(list(family)) and not scratch(family).exists()


@pytest.mark.long
def test_three_times_in_a_second(driver: Driver) -> None:
    driver.wait_for(lambda: len(driver.workers()) == 2)
    family, start = driver.family(), time.monotonic()
    for _ in range(3):
        os.killpg(driver.process.pid, signal.SIGINT)
        time.sleep(0.3)
    ended(driver)
    assert time.monotonic() - start < 30
    assert gone(list(family)) and not scratch(family).exists()


@pytest.mark.long
def test_a_node_that_stops_leaves_a_young_checkpoint(driver: Driver) -> None:
    """It tells all its processes at once, and Ray's own end the workers before those could write."""
    driver.wait_for(lambda: len(driver.workers()) == 2)
    driver.wait_for(lambda: len(list(driver.out.glob("checkpoints/*/*"))) == 2)
    time.sleep(20)
    told = time.time()
    for pid, command in driver.family().items():
        if pid in driver.workers() or "/raylet/raylet " in command:
            os.kill(pid, signal.SIGTERM)
    assert driver.finish(60) == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: a sweep on this machine needs Ray's raylet, which has died"), driver.said()
    assert last.endswith("launch the same command again to go on") and "Traceback" not in driver.said()
    ages = [told - path.stat().st_mtime for path in driver.out.glob("checkpoints/*/*")]
    assert len(ages) == 2 and max(ages) < _YOUNG_S
