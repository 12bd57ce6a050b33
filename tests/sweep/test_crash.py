"""Drivers and workers that are killed, interrupted or run out of disk: every trial keeps or gets its one row.

Each test launches in a process of its own, most of them with real Ray.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from monosweep.sweep.executors.reaper import MARK
from monosweep.sweep.store.root import Store
from processes import Driver, command_line, gone, scratch
from same_tables import assert_same

_LISTENING = "0A"
_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 40000}
space: {lr: {grid: [0.003, 0.03]}}
repeats: 4
pack_size: 2
"""


def listening(pids: list[int]) -> set[str]:
    """Local addresses on which these processes accept TCP connections."""
    inodes = set()
    for pid in pids:
        with suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                inodes.add(os.readlink(handle).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for n in ("tcp", "tcp6") for line in Path(f"/proc/net/{n}").read_text().splitlines()[1:]]
    return {address(row[1]) for row in rows if row[3] == _LISTENING and row[9] in inodes}


def address(field: str) -> str:
    """`0100007F:1F90` of /proc/net/tcp as `127.0.0.1`."""
    raw = bytes.fromhex(field.split(":")[0])
    words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    text = socket.inet_ntop(socket.AF_INET6 if len(words) == 16 else socket.AF_INET, words)
    return text.removeprefix("::ffff:")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight trials in four packs of a few seconds."""
    path = tmp_path_factory.mktemp("crash") / "crash.yaml"
    path.write_text(_SPEC)
    return path


@pytest.fixture(scope="module")
def undisturbed(spec: Path) -> Path:
    """The same sweep trained inline."""
    driver = Driver(spec, spec.parent / "undisturbed", "--executor", "inline")
    assert driver.finish() == 0, driver.said()
    return driver.out


def assert_whole(out: Path, undisturbed: Path) -> None:
    """The tables as if nothing had happened, and nothing left over."""
    assert_same(out, undisturbed)
    assert list(out.glob("checkpoints/*/*")) == []


def test_a_killed_driver_leaves_no_process_and_launching_again_does_the_rest(
    spec: Path, undisturbed: Path, tmp_path: Path
) -> None:
    driver = Driver(spec, tmp_path / "out", "--workers", "2")
    driver.wait_for(driver.parts)
    family = driver.family()
    driver.process.kill()
    driver.finish()
    assert len(family) >= 4
    assert gone(list(family)), {pid: command_line(pid) for pid in family}
    assert not scratch(family).exists()
    done = {path: path.stat().st_mtime_ns for path in driver.parts()}
    assert 1 <= len(done) < 4
    again = Driver(spec, driver.out, "--workers", "2")
    assert again.finish() == 0, again.said()
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished packs were trained again"
    assert_whole(driver.out, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupt_stops_within_seconds_and_keeps_what_is_finished(
    spec: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGINT as from a terminal, to the whole process group.  Meanwhile: Ray listens on loopback only."""
    driver = Driver(spec, tmp_path / "out", "--workers", "2", "--set", "repeats=32")
    driver.wait_for(driver.parts)
    family = driver.family()
    addresses = listening([driver.process.pid, *family])
    start = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(driver.process.pid, number)
    else:
        driver.process.send_signal(number)
    status = driver.finish()
    assert time.monotonic() - start < 20, "five seconds, and what busy cores add"
    assert (status, addresses) == (130, {"127.0.0.1"}), driver.said()
    assert "launch the same command again to go on" in driver.said()
    assert "Traceback" not in driver.said()
    assert gone(list(family))
    assert not scratch(family).exists()
    statuses = Store.open(str(driver.out)).index().statuses
    assert 2 <= len(statuses) < 64
    assert set(statuses.values()) == {"completed"}


@pytest.mark.long
@pytest.mark.parametrize(("program", "name"), [("raylet", "raylet"), ("gcs_server", "control service (GCS)")])
def test_a_dead_process_of_ray_stops_the_sweep_with_one_line(
    spec: Path, undisturbed: Path, tmp_path: Path, program: str, name: str
) -> None:
    driver = Driver(spec, tmp_path / "out", "--workers", "2")
    driver.wait_for(driver.workers)
    (pid,) = (pid for pid, command in driver.family().items() if f"/{program} " in command)
    os.kill(pid, signal.SIGKILL)
    assert driver.finish(120) == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith(f"monosweep: a sweep on this machine needs Ray's {name}, which has died"), driver.said()
    assert last.endswith("launch the same command again to go on") and "Traceback" not in driver.said()
    again = Driver(spec, driver.out, "--workers", "2")
    assert again.finish(300) == 0, again.said()
    assert_whole(driver.out, undisturbed)


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=pytest.mark.long)])
def test_a_full_disk_stops_the_sweep_with_one_line(spec: Path, small_disk: Path, executor: str) -> None:
    (small_disk / "filler").write_bytes(bytes(160 * 1024))
    options = ("--set", "save_weights=log2", "--set", "n_steps=128", "--set", "repeats=8", "--workers", "2")
    driver = Driver(spec, small_disk / "out", *options, "--executor", executor)
    assert driver.finish() == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: cannot write ")
    assert "no space left; free some and launch again" in last
    assert "Traceback" not in driver.said()
    index = Store.open(str(driver.out)).index()
    assert index.unreadable == ()
    assert set(index.statuses.values()) <= {"completed"}


def test_an_address_without_a_cluster_is_one_line(spec: Path, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        driver = Driver(spec, tmp_path / "out", "--address", address)
        assert driver.finish() == 2, driver.said()
    assert driver.said().splitlines()[-1].startswith("monosweep: --address must be that of a running Ray cluster")


def test_nothing_is_marked_outside_a_launch() -> None:
    assert MARK not in os.environ
