"""A sweep under random SIGKILLs, launched again whenever its driver is gone, until it is done.

    Chaos.run: launch -> wait for training -> kill a driver, worker or raylet -> … -> Outcome

What a kill costs: for each process that was training, the time since it last kept a checkpoint or committed a
pack (or began), and that time in optimiser steps at the sweep's own rate.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds

from monosweep.sweep.store.root import Store
from processes import Driver, gone
from writes import Writes

_NOTICED_SOON = {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000"}
"""A dead raylet is given up after seconds rather than a quarter of a minute."""
_LAUNCH_S, _DIES_S = 120.0, 60.0
_LONG_S, _POLL_S = 1800.0, 0.1


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL."""

    target: str
    """`worker`, `driver` or `raylet`."""
    lost_s: tuple[float, ...]
    """For each process that was training and died of it, the seconds that it had not kept."""


@dataclass
class Outcome:
    """What has happened to a sweep."""

    kills: list[Kill] = field(default_factory=list)
    taken_up: int = 0
    """Packs that a running driver gave to another worker."""
    launches: int = 0
    n_checkpoints: int = 0
    steps_per_s: float = 0.0
    """Optimiser steps of single trials per second of one worker."""

    def report(self) -> str:
        """A few lines for people."""
        by_target = Counter(kill.target for kill in self.kills)
        lost = [seconds for kill in self.kills for seconds in kill.lost_s]
        mean, worst = sum(lost) / len(self.kills), max(lost, default=0)
        return "\n".join([
            f"kills: {len(self.kills)} ({', '.join(f'{n} {target}' for target, n in by_target.items())})",
            f"recoveries: {self.taken_up} packs taken up by another worker, {self.launches - 1} launches again",
            f"checkpoints: {self.n_checkpoints}; processes killed while training: {len(lost)}",
            f"trained twice: {mean:.1f} s or {mean * self.steps_per_s:,.0f} model-steps per kill; "
            f"worst of a process {worst:.1f} s or {worst * self.steps_per_s:,.0f} model-steps",
        ])  # fmt: skip


class Chaos:
    """Kills from a seed: the targets, their order and the pauses are its, what they hit is the moment's.

    Args:
        targets: what to kill, one after another in a random order.
        pause_s: the longest time to let a sweep train before the next kill.
    """

    def __init__(self, spec: Path, out: Path, targets: Sequence[str], pause_s: float, seed: int) -> None:
        self._spec, self._out, self._pause_s = spec, out, pause_s
        self._random = random.Random(seed)
        self._targets = self._random.sample(list(targets), len(targets))
        self._began: dict[int, float] = {}
        self._outcome = Outcome()
        Store.create(str(out))
        self._writes = Writes(out, spec.stem)

    def run(self) -> Outcome:
        """Disturb the sweep as often as is wanted, then let it end; all trials have rows after that."""
        driver = self._launch()
        for target in self._targets:
            if driver.process.poll() is not None:
                driver = self._relaunch(driver)
            self._kill(driver, target)
        self._end(driver)
        self._writes.close()
        self._outcome.n_checkpoints = self._writes.n_checkpoints
        self._outcome.steps_per_s = _rate(self._out)
        return self._outcome

    def _launch(self) -> Driver:
        self._outcome.launches += 1
        return Driver(self._spec, self._out, "--workers", "2", "--retry-failed", env=_NOTICED_SOON)

    def _relaunch(self, dead: Driver) -> Driver:
        assert dead.process.returncode != 0, f"over after {len(self._outcome.kills)} kills; train longer: {dead.said()}"
        assert "Traceback" not in dead.said(), dead.said()
        self._count(dead)
        return self._launch()

    def _count(self, driver: Driver) -> None:
        self._outcome.taken_up += driver.said().count("is taken up again")

    def _end(self, driver: Driver) -> None:
        while driver.process.poll() is not None:
            driver = self._relaunch(driver)
        assert driver.finish(_LONG_S) == 0, driver.said()
        self._count(driver)

    def _kill(self, driver: Driver, target: str) -> None:
        """Let it train for a while, then kill."""
        self._train(driver, self._random.uniform(0, self._pause_s))
        training = driver.wait_for(lambda: self._training(driver), _LAUNCH_S)
        victim = self._victim(driver, target, training)
        dying = [victim] if target == "worker" else training
        now = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        self._outcome.kills.append(Kill(target, tuple(now - self._kept(pid, now) for pid in dying)))
        if target != "worker":
            assert driver.finish(_DIES_S) != 0
            assert gone(training)

    def _train(self, driver: Driver, seconds: float) -> None:
        """Until some worker has trained so long, or the driver ends."""
        driver.wait_for(lambda: self._training(driver), _LAUNCH_S)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and driver.process.poll() is None:
            self._training(driver)
            time.sleep(_POLL_S)

    def _training(self, driver: Driver) -> list[int]:
        """The workers with a pack; notes when each was first seen."""
        found = driver.workers()
        for pid in found:
            self._began.setdefault(pid, time.monotonic())
        return found

    def _victim(self, driver: Driver, target: str, training: Sequence[int]) -> int:
        if target == "driver":
            return driver.process.pid
        if target == "worker":
            return self._random.choice(training)
        (raylet,) = (pid for pid, command in driver.family().items() if "/raylet/raylet " in command)
        return raylet

    def _kept(self, pid: int, now: float) -> float:
        """When this process last put its work in safety, or began."""
        return max(self._writes.last(pid), self._began.get(pid, now))


def _rate(out: Path) -> float:
    trials = ds.dataset(out / "trials").to_table(columns=["n_steps", "wall_time_s"])
    return float(pc.sum(trials["n_steps"]).as_py() / pc.sum(trials["wall_time_s"]).as_py())
