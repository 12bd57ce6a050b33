"""One driver per sweep: who is refused, what is taken over, and how a driver that has lost its lease ends."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.sweep.cli.verbs import status
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.store import lease as leases
from monosweep.sweep.store import locks
from monosweep.sweep.store.retrying import PATIENCE_S
from monosweep.sweep.store.root import LeaseError, Store, StoreError

_HOLD = """
import sys, time
from monosweep.sweep.store.root import Store
with Store.create(sys.argv[1]).lease("s", "raysubmit_1"):
    print("held", flush=True)
    time.sleep(60)
"""
_LOCK = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""
_BASE = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 0.125, "batch_size": 64}


def hold(out: Path | str) -> subprocess.Popen[str]:
    """Another process that holds sweep `s`."""
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.kill()
    process.wait()
    process.stdout.close()


def rewrite(out: Path, **values: Any) -> None:
    """Make the lease say something else."""
    path = out / "sweeps" / "s.lease.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def spec(n_steps: int) -> SweepSpec:
    return SweepSpec(name="s", base={**_BASE, "n_steps": n_steps}, space=[{"lr": 0.01}], pack_size=1)


def inline(out: Path, n_steps: int = 64, **options: Any) -> Any:
    options = {"executor": "inline", "device": "cpu", **options}
    return launch(spec(n_steps), str(out), LaunchOptions(**options), Console(file=io.StringIO()))


def test_a_lease_is_there_for_its_block(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    assert store.read_lease("s") is None
    with store.lease("s", "raysubmit_7"):
        lease = store.read_lease("s")
        assert lease is not None
        assert (lease.sweep, lease.pid, lease.job_id) == ("s", os.getpid(), "raysubmit_7")
        assert store.sweeps() == []
    assert store.read_lease("s") is None
    assert list((tmp_path / "sweeps").iterdir()) == []


def test_a_second_launch_is_refused_in_one_line_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inline(tmp_path, n_steps=32)
    kept = sorted(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    process = hold(tmp_path)
    try:
        message = rf"'s' is being driven \(lease \w+, pid {process.pid} on .*, Ray job raysubmit_1, since .*wait for it"
        with pytest.raises(LeaseError, match=message) as refused:
            inline(tmp_path)
        assert "\n" not in str(refused.value)
        assert inline(tmp_path, dry_run=True).plan.n_trials == 1
        assert status([str(tmp_path)]) == 0
        assert f"(active: lease {json.loads((tmp_path / 'sweeps/s.lease.json').read_text())['holder']}, pid" in (
            capsys.readouterr().out
        )
    finally:
        end(process)
    assert sorted(path.read_bytes() for path in tmp_path.rglob("*.parquet")) == kept


def test_a_killed_drivers_lease_is_taken_over_at_once(tmp_path: Path) -> None:
    end(hold(tmp_path))
    assert (tmp_path / "sweeps" / "s.lease.json").exists()
    start = time.monotonic()
    assert inline(tmp_path).trained == 1
    assert time.monotonic() - start < leases.EXPIRES_S / 3
    assert not (tmp_path / "sweeps" / "s.lease.json").exists()


@pytest.mark.parametrize(
    ("values", "live"),
    [
        ({}, True),
        ({"expires_at": datetime.now(UTC).isoformat()}, False),
        ({"born": "another boot/pid:[1]/99"}, True),
        ({"born": "another boot/pid:[1]/99", "expires_at": datetime.now(UTC).isoformat()}, False),
        ({"pid": 2**22 + 1}, False),
        ({"pid": 1}, False),
    ],
)
def test_a_lease_ends_with_its_holder(tmp_path: Path, values: dict[str, Any], live: bool) -> None:
    """The last: a pid that was used again; the process has another beginning."""
    with ExitStack() as stack:
        store = Store.create(str(tmp_path))
        stack.enter_context(store.lease("s"))
        rewrite(tmp_path, **values)
        assert (store.read_lease("s") is not None) is live


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sweep": "s"}'])
def test_what_is_no_lease_is_in_nobodys_way(tmp_path: Path, content: str) -> None:
    store = Store.create(str(tmp_path))
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "s.lease.json").write_text(content)
    with store.lease("s") as held:
        assert not held.lost()


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    Store.create(str(tmp_path))
    together, everyone_tried = threading.Barrier(8), threading.Barrier(8)

    def attempt(_: int) -> bool:
        together.wait()
        try:
            with Store.open(str(tmp_path)).lease("s"):
                everyone_tried.wait()
                return True
        except LeaseError:
            everyone_tried.wait()
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == [False] * 7 + [True]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Store:
    """A root whose sweep `s` is held by a driver of another machine."""
    store = Store.create(str(tmp_path))
    now = datetime.now(UTC)
    about = {"sweep": "s", "holder": "feedbeef", "host": "elsewhere", "pid": 7, "born": "another boot/pid:[1]/99"}
    store.put("sweeps/s.lease.json", json.dumps({
        **about, "job_id": None, "since": now.isoformat(), "expires_at": now.isoformat()
    }).encode())  # fmt: skip
    return store


@pytest.mark.parametrize("clock", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_dead_drivers_clock_does_not_matter(
    elsewhere: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: timedelta
) -> None:
    """An hour ahead, it holds the sweep no longer than any lease lasts."""
    monkeypatch.setattr(leases, "LOOK_S", 0.6)
    monkeypatch.setattr(leases, "EXPIRES_S", 1.0)
    rewrite(tmp_path, expires_at=(datetime.now(UTC) + clock).isoformat())
    said: list[str] = []
    start = time.monotonic()
    with elsewhere.lease("s", say=said.append) as held:
        assert 0.5 < time.monotonic() - start < 30
        assert not held.lost()
    assert [line.startswith("'s' was being driven (lease feedbeef, pid 7 on elsewhere") for line in said] == [True]


@pytest.mark.parametrize("clock", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_living_drivers_clock_does_not_matter_either(elsewhere: Store, tmp_path: Path, clock: timedelta) -> None:
    """It renews its lease, which has ended long ago by our clock, or is far ahead."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.3):
            until = datetime.now(UTC) + clock + timedelta(seconds=leases.EXPIRES_S)
            elsewhere.put("sweeps/s.lease.json", json.dumps({**about, "expires_at": until.isoformat()}).encode())

    about = json.loads((tmp_path / "sweeps/s.lease.json").read_text())
    rewrite(tmp_path, expires_at=(datetime.now(UTC) + clock).isoformat())
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(LeaseError, match="'s' is being driven"), Store.open(str(tmp_path)).lease("s"):
            pass
    finally:
        ended.set()
        thread.join()


def test_an_outage_that_is_waited_out_does_not_cost_the_lease() -> None:
    """A renewal is tried every few seconds for as long, and comes in time once the storage is back."""
    assert leases.EXPIRES_S > PATIENCE_S + 2 * leases.RENEW_S


def test_who_keeps_the_folder_locked_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may read a folder may lock it; another process does, for good."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.5)
    store = Store.create(str(tmp_path))
    (tmp_path / "sweeps").mkdir()
    lock = [sys.executable, "-c", _LOCK, str(tmp_path / "sweeps")]
    process = subprocess.Popen(lock, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        with store.lease("s"), pytest.raises(LeaseError, match="'s' is being driven"), store.lease("s"):
            pass
        assert f"another process keeps {tmp_path}/sweeps locked (flock); going on without the lock" in store.notes()
    finally:
        end(process)


def test_a_lease_that_cannot_be_read_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = Store.create(str(tmp_path)), Store._read

    def stale(self: Store, name: str) -> bytes:
        if name.endswith(".lease.json"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(self, name)

    monkeypatch.setattr(Store, "_read", stale)
    store.patience_s = 0.3
    with pytest.raises(StoreError, match=r"cannot read .*Stale file handle"), store.lease("s"):
        pass
    assert not (tmp_path / "sweeps/s.lease.json").exists()


def test_a_driver_that_loses_its_lease_stops_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped for so long that its lease expired, and another took over."""
    monkeypatch.setattr(leases, "RENEW_S", 0.2)

    def take_over() -> None:
        while not (tmp_path / "sweeps" / "s.progress.json").exists():
            time.sleep(0.02)
        rewrite(tmp_path, holder="feedbeef", pid=1, host="elsewhere", born="", sweep="s")

    thread = threading.Thread(target=take_over)
    thread.start()
    with pytest.raises(LeaseError, match=r"taken over sweep 's' \(lease feedbeef, pid 1 on elsewhere"):
        inline(tmp_path, n_steps=2_000_000)
    thread.join()
    assert json.loads((tmp_path / "sweeps" / "s.lease.json").read_text())["holder"] == "feedbeef"
    assert Store.open(str(tmp_path)).list_checkpoints("s") != []


def test_a_lease_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.1)
    store = Store.create(str(tmp_path))
    with store.lease("s") as held:
        first = held.lease.expires_at
        deadline = time.monotonic() + 5
        while (lease := store.read_lease("s")) is None or lease.expires_at < first + timedelta(seconds=0.3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert lease.since == held.lease.since


def test_sigterm_gives_the_lease_back(tmp_path: Path) -> None:
    yaml = tmp_path / "s.yaml"
    base = ", ".join(f"{key}: {value}" for key, value in {**_BASE, "n_steps": 2_000_000}.items())
    yaml.write_text(f"base: {{{base}}}\nspace: {{lr: 0.01}}\n")
    command = [sys.executable, "-m", "monosweep.sweep", "launch", str(yaml), "--out", str(tmp_path / "out")]
    process = subprocess.Popen([*command, "--executor", "inline"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    heartbeat, lease = (tmp_path / "out" / "sweeps" / f"s.{kind}.json" for kind in ("progress", "lease"))
    while not heartbeat.exists():
        assert process.poll() is None
        time.sleep(0.05)
    assert lease.exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    assert not lease.exists()
