"""A sweep that is launched again whenever its driver is gone, and made longer while there is more to disturb.

Disturbed.training -> an event of `faults` -> Disturbed.after -> ... -> Disturbed.end
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from monosweep.sweep.store.root import Store
from outcomes import Event, Outcome
from processes import Driver, gone, is_training
from shim import environment
from writes import Writes

PATIENCE_S = int(os.environ.get("CHAOS_PATIENCE_S", "20"))
"""On a machine with other things to do a worker may be silent for longer."""
_NOTICED_SOON = {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000"}
"""A dead raylet is given up after seconds rather than a quarter of a minute."""
_OPTIONS = ("--workers", "2", "--device", "cpu", "--patience-s", str(PATIENCE_S))
_LAUNCH_S, LONG_S, POLL_S = 600.0, 1800.0, 0.1
_MOST_LAUNCHES = 5
"""For one event."""
_TAKEN_UP = "is taken up again"


class Disturbed:
    """A sweep of a growing spec.

    Args:
        folder: of the spec, the root and the files that make them fail.
        spec: of so many `{repeats}`.
        library: of `shim`.
        executor: `ray` or `inline`.
    """

    def __init__(self, folder: Path, spec: str, repeats: int, library: Path, executor: str = "ray") -> None:
        self.folder, self.out, self.spec = folder, folder / "out", folder / "chaos.yaml"
        self._template, self._repeats, self._library = spec, repeats, library
        self.real_leases = 0
        """How many paused drivers are paused until their lease ends by itself."""
        self.outcome, self._began = Outcome(), dict[int, float]()
        self._options = (*_OPTIONS, "--executor", executor)
        self._ended: list[Driver] = []
        self._write()
        self.store = Store.create(str(self.out))
        self.writes = Writes(self.out, self.spec.stem)
        self.driver = self.launch()

    def launch(self) -> Driver:
        """A driver of this sweep."""
        env: Mapping[str, str] = environment(self._library, self.out, self.folder) | _NOTICED_SOON
        return Driver(self.spec, self.out, *self._options, env=env)

    def training(self) -> list[int]:
        """The workers with a pack, as soon as there are any; notes when each was first seen."""
        deadline = time.monotonic() + _LAUNCH_S
        while not (found := self.workers()):
            assert time.monotonic() < deadline, f"waited in vain: {self.driver.said()}"
            if self.driver.process.poll() is not None:
                self._launch_again()
            time.sleep(POLL_S)
        return found

    def workers(self) -> list[int]:
        """The workers with a pack."""
        family = self.driver.family().items()
        found = [pid for pid, command in family if is_training(command) or _is_inline(pid, command)]
        for pid in found:
            self._began.setdefault(pid, time.monotonic())
        return found

    def train(self, seconds: float) -> None:
        """Until some worker has trained so long, or the driver ends."""
        self.training()
        self.until(lambda: not self.workers() and self.driver.process.poll() is not None, seconds)

    def until(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Whether it happens in time, and before the driver ends."""
        deadline = time.monotonic() + seconds
        while not (found := happened()) and time.monotonic() < deadline and self.driver.process.poll() is None:
            time.sleep(POLL_S)
        return found

    def replace(self, driver: Driver) -> None:
        """Another driver has taken the sweep."""
        self._ended.append(self.driver)
        self.driver = driver

    def kept(self, pid: int, now: float) -> float:
        """When this process last put its work in safety, or began."""
        return max(self.writes.last(pid), self._began.get(pid, now))

    def taken_up(self) -> int:
        """How many packs were given to another worker, by all drivers so far."""
        return sum(driver.said().count(_TAKEN_UP) for driver in (*self._ended, self.driver))

    def end(self) -> None:
        """Let it come to its end; all trials have rows after that."""
        deadline = time.monotonic() + LONG_S
        while self.driver.finish(max(1.0, deadline - time.monotonic())) != 0:
            self._launch_again()

    def close(self) -> None:
        """Whatever has happened, nothing is left."""
        for driver in (*self._ended, self.driver):
            family = list(driver.family())
            driver.process.kill()
            driver.finish()
            assert gone(family, 60)
        self.writes.close()
        self.outcome.n_checkpoints = self.writes.n_checkpoints

    def _launch_again(self) -> None:
        dead = self.driver
        assert "Traceback" not in dead.said(), dead.said()
        assert not self.writes.failed, f"{self.writes.failed}: {dead.said()}"
        if dead.process.returncode == 0:
            self.outcome.extended += 1
            self._repeats += 1
            self._write()
        else:
            event = self.outcome.events[-1] if self.outcome.events else Event("none")
            event.launches += 1
            assert event.launches <= _MOST_LAUNCHES, dead.said()
            print(f"  launched again after {event.kind} ({dead.process.returncode}): {_last_line(dead)}", flush=True)
        self.replace(self.launch())

    def _write(self) -> None:
        self.spec.write_text(self._template.format(repeats=self._repeats))


def _is_inline(pid: int, command: str) -> bool:
    """Whether this is a worker of the inline executor that has got as far as torch."""
    with suppress(OSError):
        return "spawn_main" in command and "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()
    return False


def _last_line(driver: Driver) -> str:
    return (driver.said().strip().splitlines() or ["nothing was said"])[-1]
