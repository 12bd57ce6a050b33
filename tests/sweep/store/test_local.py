"""Files of this machine: file systems that refuse fsync of a folder, and what writers leave that are killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from monosweep.sweep.store.local import is_orphan, is_temporary, put, put_first
from monosweep.sweep.store.repair import clear_half_written
from monosweep.sweep.store.root import Store, StoreError
from processes import Driver

_YAML = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, batch_size: 64, feature_prob: 0.125, n_steps: 64}
space: {lr: {grid: [0.003, 0.03]}}
pack_size: 1
"""
_REFUSES = """
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
int fsync(int handle) {
    struct stat about;
    if (fstat(handle, &about) == 0 && S_ISDIR(about.st_mode)) { errno = EINVAL; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(handle);
}
"""
_WRITE = """
import sys
from monosweep.sweep.store.root import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
while True:
    store.save_checkpoint("s", "p", bytes(8_000_000))
"""


@pytest.fixture(scope="module")
def cifs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library before which no file system knows fsync of a folder."""
    folder = tmp_path_factory.mktemp("cifs")
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler")
    (folder / "refuses.c").write_text(_REFUSES)
    build = ["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", "refuses.so", "refuses.c", "-ldl"]
    subprocess.run(build, cwd=folder, check=True)
    return str(folder / "refuses.so")


def test_a_file_system_without_fsync_of_folders_is_used_and_that_is_said_once(tmp_path: Path, cifs: str) -> None:
    (tmp_path / "s.yaml").write_text(_YAML)
    out = tmp_path / "out"
    driver = Driver(
        tmp_path / "s.yaml", out, "--executor", "inline", "--workers", "2", "--device", "cpu", env={"LD_PRELOAD": cifs}
    )
    assert driver.finish() == 0, driver.said()
    assert driver.said().count("cannot be told to put a new file's name on the disk") == 1, driver.said()
    assert sorted(Store.open(str(out)).index().statuses.values()) == ["completed"] * 2
    assert not list(out.rglob(".*"))


def test_other_errors_of_fsync_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    store = Store.create(str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        store.write_spec("s", "{}")


def temporaries(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if is_temporary(path.name)]


def test_what_a_killed_writer_leaves_is_cleared_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path))
    while not temporaries(tmp_path):
        writer = subprocess.Popen([sys.executable, "-c", _WRITE, store.root], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        while not (left := temporaries(tmp_path)):
            assert time.monotonic() < deadline
        os.kill(writer.pid, signal.SIGSTOP)
        if left := temporaries(tmp_path):
            clear_half_written(store, "s")
            assert temporaries(tmp_path) == left, "its writer is there"
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert is_orphan(left[0].name)
    clear_half_written(store, "s")
    assert temporaries(tmp_path) == []
    assert store.checkpoint_metadata("s", "p") in ({}, None)


def test_files_that_come_and_go_while_they_are_listed_are_no_error(tmp_path: Path) -> None:
    """A busy root: each file was another a moment ago, under a name of its own."""
    store, ended = Store.create(str(tmp_path)), threading.Event()

    def churn() -> None:
        while not ended.is_set():
            store.put("trials/sweep=s/part-1.parquet", b"data")
            store.remove("trials/sweep=s/part-1.parquet")

    writers = [threading.Thread(target=churn) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(300):
            assert set(store.names("trials", ".parquet")) <= {"trials/sweep=s/part-1.parquet"}
            assert "monosweep.json" in store.entries()
    finally:
        ended.set()
        for writer in writers:
            writer.join()


def test_another_machines_are_left_to_it(tmp_path: Path) -> None:
    assert not is_orphan(f".p.safetensors.{2**22 + 1}-{'0' * 24}.tmp")
    assert not is_orphan(".p.safetensors.7-0011aabb.tmp")
    assert is_temporary(".p.safetensors.7-0011aabb.tmp") and not is_temporary("p.safetensors")


def test_a_folder_that_has_gone_is_not_made_anew(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with pytest.raises(FileNotFoundError):
        put(str(base), str(base / "a/b/c"), b"data")
    assert not base.exists()
    base.mkdir()
    assert put(str(base), str(base / "a/b/c"), b"data")
    assert (base / "a/b/c").read_bytes() == b"data"


def test_without_hard_links_the_first_one_wins_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", no_links)
    path = str(tmp_path / "new" / "file")
    assert put_first(path, b"first") is True
    assert put_first(path, b"second") is False
    assert Path(path).read_bytes() == b"first" and os.listdir(tmp_path / "new") == ["file"]
