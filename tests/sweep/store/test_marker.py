"""Which root it is: one for all who begin at once, refused in another's place, and found again without its marker."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.fs as pafs
import pytest
from made_packs import commit, config
from rich.console import Console

from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.executors import inline
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.store import files
from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.marker import MARKER
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.view.lines import launch_lines
from processes import Driver

_BASE = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 0.125, "batch_size": 64, "n_steps": 64}
_WORKER = """
import pickle, sys
from monosweep.sweep.store.root import StoreError
from monosweep.sweep.work.contract import Settings
from monosweep.sweep.work.pack import train_pack
store, pack = pickle.loads(sys.stdin.buffer.read())
try:
    train_pack(store, "s", pack, Settings())
except StoreError as error:
    print(error)
"""
_YAML = f"""
base: {json.dumps({**_BASE, "n_steps": 20_000})}
space: {{lr: {{grid: [0.003, 0.03]}}}}
repeats: 6
pack_size: 1
"""


def spec() -> SweepSpec:
    return SweepSpec(name="s", base=_BASE, space=[{"lr": {"grid": [0.01, 0.1]}}], repeats=2, pack_size=2)


def inline_launch(out: Path, said: io.StringIO | None = None, **more: Any) -> Any:
    options = LaunchOptions(executor="inline", device="cpu", **more)
    return launch(spec(), str(out), options, Console(file=said or io.StringIO(), width=400))


def identity(out: Path) -> str:
    return str(json.loads((out / MARKER).read_text())["identity"])


def at_once(n: int, act: Callable[[], str]) -> list[str]:
    """What `act` returns in n processes that begin together; an error's words for one that fails."""
    ready, results = os.pipe(), os.pipe()
    for _ in range(n):
        if os.fork() == 0:
            os.read(ready[0], 1)
            try:
                said = act()
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(results[1], said.encode() + b"\n")
            os._exit(0)
    os.write(ready[1], bytes(n))
    for _ in range(n):
        os.wait()
    os.close(results[1])
    with os.fdopen(results[0]) as file:
        said = file.read().splitlines()
    for handle in ready:
        os.close(handle)
    return said


@pytest.mark.parametrize("links", [True, False])
def test_of_several_that_begin_at_once_all_have_the_same_root(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says the identity that it has, and writes something at once; also where there are no hard links."""

    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for i in range(25 if links else 1):
        out = tmp_path / f"out{i}"

        def create(out: Path = out) -> str:
            store = Store.create(str(out))
            store.write_spec(f"s{os.getpid()}", "{}")
            return str(store.identity)

        assert at_once(4, create) == [identity(out)] * 4
        assert len(Store.open(str(out)).sweeps()) == 4


def test_where_nothing_tells_who_was_first_all_take_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long each is held up between its look and its writing."""

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    def late(storage: Storage, name: str, data: bytes) -> None:
        if MARKER in name:
            time.sleep(Random(f"{os.getpid()} {name}").uniform(0, 0.4))
        put(storage, name, data)

    put = Storage._put
    monkeypatch.setattr(Storage, "_put", late)
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(files, "SETTLE_S", 0.05)
    for i in range(5):
        out = tmp_path / f"out{i}"
        assert at_once(4, lambda out=out: str(Store.create(str(out)).identity)) == [identity(out)] * 4  # type: ignore[misc]
        assert os.listdir(out) == [MARKER]


def test_an_older_root_gets_one_identity_from_several(tmp_path: Path) -> None:
    for i in range(10):
        out = tmp_path / f"out{i}"
        Store.create(str(out))
        (out / MARKER).write_text('{"format": "monosweep results", "schema_version": 2}')
        assert Store.open(str(out)).identity is None
        assert at_once(4, lambda out=out: str(Store.create(str(out)).identity)) == [identity(out)] * 4  # type: ignore[misc]


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    """A bucket on a real S3 server on loopback, and what goes behind a name in it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    options = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"
    pafs.FileSystem.from_uri(f"s3://key:secret@bucket?{options}&allow_bucket_creation=true")[0].create_dir("bucket")
    yield f"s3://key:secret@bucket/{{}}?{options}"
    server.stop()


def test_on_an_object_store_too(s3_bucket: str) -> None:
    root, together = s3_bucket.format("new"), threading.Barrier(4)

    def create(_: int) -> str | None:
        together.wait()
        return Store.create(root).identity

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(create, range(4)))
    assert found == {Store.open(root).identity}
    store = Store.create(root)
    store.filesystem.delete_file(store.path(MARKER))
    with pytest.raises(StoreError, match="does not see the results root"):
        store.write_heartbeat("s", {})
    assert store.entries() == []


@pytest.mark.parametrize("name", ["lost+found", ".DS_Store", ".monosweep.json.99-0011aabb.tmp", ".nfs0000000007"])
def test_what_systems_leave_does_not_make_a_folder_foreign(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir() if name == "lost+found" else (tmp_path / name).touch()
    assert Store.find(str(tmp_path)) is None
    assert Store.create(str(tmp_path)).identity == identity(tmp_path)
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("name", [".bashrc", "weights", "trials"])
def test_what_belongs_to_somebody_does(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(StoreError, match=f"it holds {name}"):
        Store.create(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", '{"name": 1}', "{"])
def test_a_folder_with_families_of_another_kind_does_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "smith.json").write_text(text)
    with pytest.raises(StoreError, match="it holds families"):
        Store.create(str(tmp_path))
    store = Store.create(str(tmp_path / "out"))
    (tmp_path / "families").rename(tmp_path / "out" / "families")
    with pytest.raises(StoreError, match=r"cannot use .*smith\.json: it must say what a family's columns mean"):
        store.load_families()


def test_a_worker_with_another_root_at_the_same_path_refuses(tmp_path: Path) -> None:
    """In a mount namespace of its own, as on a machine whose mount is another."""
    inside = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]
    if subprocess.run([*inside, "/", str(tmp_path), "true"], capture_output=True).returncode:
        pytest.skip("needs root and mount namespaces")
    ours, pack = Store.create(str(tmp_path / "out")), Pack((config(0),))
    for other, said in ((tmp_path / "other", "sees another results root at"), (tmp_path / "bare", "does not see the")):
        other.mkdir()
        if said.startswith("sees"):
            Store.create(str(other))
        before = sorted(other.rglob("*"))
        command = [*inside, str(other), str(tmp_path / "out"), sys.executable, "-c", _WORKER]
        done = subprocess.run(command, input=pickle.dumps((ours, pack)), capture_output=True, check=True)
        assert f"{said} " in done.stdout.decode() and "all nodes share" in done.stdout.decode()
        assert sorted(other.rglob("*")) == before
    assert ours.index().statuses == {}


def test_a_root_that_is_removed_while_packs_train_is_not_made_anew(tmp_path: Path) -> None:
    yaml = tmp_path / "gone.yaml"
    yaml.write_text(_YAML)
    driver = Driver(yaml, tmp_path / "out", "--executor", "inline", "--workers", "2")
    driver.wait_for(driver.parts)
    while driver.out.exists():
        shutil.rmtree(driver.out, ignore_errors=True)
    assert driver.finish() == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: ") and "launch the same command again to go on" in last
    assert "does not see the results root" in last or "its folder was removed" in last, "or it was just being written"
    assert not driver.out.exists()
    assert "completed" not in driver.said()


def test_a_root_without_its_marker_goes_on_with_what_is_there(tmp_path: Path) -> None:
    """As what a removal leaves that was stopped."""
    inline_launch(tmp_path)
    before, was = Store.open(str(tmp_path)), identity(tmp_path)
    (tmp_path / MARKER).unlink()
    next(tmp_path.glob("trials/*/*.parquet")).unlink()
    assert inline_launch(tmp_path, dry_run=True).plan.n_trials == 2
    assert not (tmp_path / MARKER).exists()
    said = io.StringIO()
    report = inline_launch(tmp_path, said)
    assert (report.trained, report.after.completed) == (2, 4)
    assert f"{tmp_path} had lost its {MARKER}; it has a new one" in said.getvalue()
    assert identity(tmp_path) != was
    with pytest.raises(StoreError, match="sees another results root"):
        commit(before, "late", [7])
    assert inline_launch(tmp_path).plan is None


def test_a_launch_ends_by_reading_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its workers say that all is done; half of the rows are not there."""
    train = inline.execute

    def lost(*args: Any, **given: Any) -> None:
        train(*args, **given)
        next(tmp_path.glob("trials/*/*.parquet")).unlink()

    monkeypatch.setattr(inline, "execute", lost)
    report = inline_launch(tmp_path)
    assert (report.trained, report.n_missing, report.after.completed, report.after.missing) == (2, 2, 2, 2)
    lines = list(launch_lines(report, str(tmp_path)))
    assert lines[0].endswith(": 2 of 4 completed, 2 missing")
    assert "missing   2 trials that were to be trained have no row there: launch the same command again" in lines


def test_identity_travels_with_the_store(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "out"))
    store.note("told here")
    there = pickle.loads(pickle.dumps(store))
    assert (there.identity, there.notes(), store.notes()) == (store.identity, [], ["told here"])
