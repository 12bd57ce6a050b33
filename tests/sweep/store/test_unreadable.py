"""What cannot be read is not damaged: it is waited for, then named, and nothing is moved or trained again for it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from made_packs import commit, config

from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.repair import set_aside_damaged
from monosweep.sweep.store.root import Store, StoreError

_NOBODY = 65534
_YAML = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, batch_size: 64, feature_prob: 0.125, n_steps: 64}
space: {lr: 0.003}
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users reach."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    folder = Path(tempfile.mkdtemp(prefix="ms-shared-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb of `monosweep`, by a second user."""
    user = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return subprocess.run(
        [*user, sys.executable, "-m", "monosweep.sweep", *arguments], capture_output=True, text=True, cwd=folder,
        env={**os.environ, "HOME": str(folder), "NUMBA_CACHE_DIR": str(folder / "numba")},
    )  # fmt: skip


def test_a_second_user_without_the_right_to_read_moves_nothing(shared: Path) -> None:
    """He may write into the root's folders, but not read its parts."""
    out = shared / "out"
    store = Store.create(str(out))
    for i in range(2):
        commit(store, f"{i}", [i], sweep="spec")
    store.write_spec("spec", "{}")
    (shared / "spec.yaml").write_text(_YAML)
    for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
        folder.chmod(0o777)
    parts = sorted(out.glob("*/*/*.parquet"))
    for part in parts:
        part.chmod(0o600)
    unreadable = "Permission denied; allow it or choose another --out"
    launch = ("launch", str(shared / "spec.yaml"), "--out", str(out), "--executor", "inline", "--device", "cpu")
    for verb in (launch, ("compact", str(out)), ("status", str(out))):
        done = as_nobody(shared, *verb)
        last = done.stderr.strip().splitlines()[-1]
        assert (done.returncode, last.startswith(f"monosweep: cannot read {out}/")) == (2, True), done.stderr
        assert unreadable in last and "Traceback" not in done.stderr
    assert sorted(out.glob("*/*/*.parquet")) == parts
    assert not (out / "quarantine").exists()
    (out / "trials").chmod(0o700)
    done = as_nobody(shared, "query", str(out), "from trials")
    assert (done.returncode, done.stdout) == (2, ""), "a folder that cannot be read is not an empty one"
    assert "Permission denied" in done.stderr and "Traceback" not in done.stderr


class Failing(pafs.FileSystemHandler):  # type: ignore[misc]
    """This machine's files; opening one whose path holds `word` fails so many times."""

    def __init__(self, word: str, code: int, times: int = 10**9) -> None:
        self._real, self._word, self._code, self.left = pafs.LocalFileSystem(), word, code, times

    def __eq__(self, other: object) -> bool:
        return self is other

    def get_type_name(self) -> str:
        return "failing"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        return self._real.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        return self._real.get_file_info(selector)

    def open_input_file(self, path: str) -> Any:
        if self._word in path and self.left > 0:
            self.left -= 1
            raise OSError(self._code, os.strerror(self._code), path)
        return self._real.open_input_file(path)

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return self._real.open_output_stream(path)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def create_dir(self, path: str, recursive: bool) -> None:
        self._real.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._real.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._real.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self._real.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        Path(dest).parent.mkdir(parents=True, exist_ok=True)
        self._real.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self._real.copy_file(src, dest)


def failing(root: Path, word: str, code: int, times: int = 10**9) -> Store:
    store = Store(str(root), pafs.PyFileSystem(Failing(word, code, times)), str(root))
    store.patience_s = 0.5 if times > 100 else 20
    return store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two packs merged, one not, and a checkpoint."""
    store = Store.create(str(tmp_path / "out"))
    for i in range(3):
        if i == 2:
            compact(store, grace_s=0)
        commit(store, f"{i}", [i])
    store.write_spec("s", "{}")
    store.save_checkpoint("s", "p", b"state")
    return tmp_path / "out"


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("word", ["trials/sweep=s/part-2", "trials/sweep=s/part-merged", "neurons/sweep=s/part-merged"])
def test_an_error_that_stays_is_named_and_moves_nothing(root: Path, word: str, code: int) -> None:
    store, before = failing(root, word, code), files(root)
    reads = {
        "index": store.index, "pack": lambda: store.pack_rows("s", "0"),
        "row": lambda: store.trial_row(config(0).trial_id), "repair": lambda: set_aside_damaged(store, "s"),
        "compact": lambda: compact(store, grace_s=0),
    }  # fmt: skip
    concerned = ("repair", "compact") if word.startswith("neurons") else tuple(reads)
    for name in concerned:
        if (name, word) == ("pack", "trials/sweep=s/part-2"):
            continue  # it is in another part
        if (name, word) == ("repair", "neurons/sweep=s/part-merged"):
            continue  # elsewhere than on this machine, a launch does not read them
        with pytest.raises(StoreError, match=f"cannot read .*{word}.*{os.strerror(code)}") as caught:
            reads[name]()
        assert "\n" not in str(caught.value)
    after = files(root)
    assert {path: data for path, data in after.items() if path in before} == before
    assert not (root / "quarantine").exists()


def test_an_error_that_passes_costs_nothing_but_time(root: Path) -> None:
    for word in ("part-2", "part-merged", "checkpoints"):
        store = failing(root, word, errno.ESTALE, times=2)
        assert set(store.index().statuses) == {config(i).trial_id for i in range(3)}
        assert set(store.pack_rows("s", "2")) == {config(2).trial_id}
        assert set_aside_damaged(store, "s") == {}
        assert store.load_checkpoint("s", "p") == b"state"
        assert any("Stale file handle; trying again" in note for note in store.notes())


def test_an_unreadable_checkpoint_is_not_dropped(root: Path) -> None:
    store = failing(root, "checkpoints", errno.EIO)
    for read in (store.load_checkpoint, store.checkpoint_metadata):
        with pytest.raises(StoreError, match=r"cannot read .*checkpoints/sweep=s/p\.safetensors: .*nput/output error"):
            read("s", "p")
    assert Store.open(str(root)).load_checkpoint("s", "p") == b"state"


def test_a_checkpoint_that_has_gone_is_none(root: Path) -> None:
    store = Store.open(str(root))
    store.drop_checkpoint("s", "p")
    assert (store.load_checkpoint("s", "p"), store.checkpoint_metadata("s", "p")) == (None, None)


def test_a_part_that_is_listed_and_never_there_is_not_dropped_silently(root: Path) -> None:
    """Which a reader takes for one that was merged away, and looks for what it was merged into."""
    store = failing(root, "trials/sweep=s/part-2", errno.ENOENT)
    with pytest.raises(StoreError, match=r"cannot read .*part-2.*it is not there"):
        store.index()


def test_wrong_bytes_that_were_read_once_set_nothing_aside(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read, wrong = Store.open(str(root)), Store._read, threading.Event()

    def flaky(self: Store, name: str) -> bytes:
        data = read(self, name)
        if name.startswith("curves/sweep=s/part-2") and not wrong.is_set():
            wrong.set()
            return data[:-5]
        return data

    monkeypatch.setattr(Store, "_read", flaky)
    before = files(root)
    assert set_aside_damaged(store, "s") == {}
    assert wrong.is_set()
    assert files(root) == before
