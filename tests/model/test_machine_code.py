"""Machine code on disk never outlives its source, lies where nobody else writes, and is done without if it must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monosweep.model import machine_code
from monosweep.model.engines.cpu import compiled_step, gemm, jit


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside the sources is a folder of the test's own, and so is the user's cache."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(machine_code, "_CPU", tmp_path / "install")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_change_of_any_source_leaves_all_kept_code_behind(tmp_path: Path) -> None:
    sources = [tmp_path / name for name in ("caller.py", "callee.py")]
    for source in sources:
        source.write_text("a = 1\n")
    before = machine_code.cache_folder(sources)
    assert before is not None and machine_code.cache_folder(sources) == before
    sources[1].write_text("a = 2\n")
    assert machine_code.cache_folder(sources) != before


def test_every_compiled_module_counts_as_source() -> None:
    folder = Path(jit.__file__).parent
    users = {path for path in folder.glob("*.py") if "@compiled" in path.read_text()}
    assert users <= set(machine_code.SOURCES)
    assert jit._FOLDER in Path(compiled_step.train_chunk.stats.cache_path).parents


def test_what_the_user_names_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "named"))
    folder = machine_code.cache_folder()
    assert folder is not None and folder.parent == tmp_path / "named"


def test_an_install_that_is_read_only_has_it_in_the_users_cache(tmp_path: Path) -> None:
    (tmp_path / "install").write_text("no folder")
    folder = machine_code.cache_folder()
    assert folder is not None and folder.parent == tmp_path / "cache/monosweep"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir()) == [] and machine_code.problem() is None


def test_a_folder_that_others_write_is_not_used(tmp_path: Path) -> None:
    first = machine_code.cache_folder()
    assert first is not None
    first.chmod(0o777)
    second = machine_code.cache_folder()
    assert second is not None and second.parent == tmp_path / "cache/monosweep"
    if os.geteuid() == 0:
        os.chown(second, 65534, 65534)
        assert machine_code.cache_folder() is None


def test_no_place_at_all_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("install", "cache"):
        (tmp_path / name).write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nothing")
    line = machine_code.problem()
    assert line is not None and "/proc/nothing cannot be written: No such file" in line and "\n" not in line
    assert line.startswith("every worker compiles for up to a minute before it trains")


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "install").write_text("no folder")
    monkeypatch.delenv("XDG_CACHE_HOME")
    for home in (str(tmp_path / "nobody"), "~"):
        monkeypatch.setenv("HOME", home)
        assert machine_code.cache_folder() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["install"] and not Path("~").exists()


_TRAIN = """
import sys
from pathlib import Path
from monosweep.model import machine_code
machine_code._CPU = Path("/proc/none")
from monosweep.model.engines.cpu import jit
if sys.argv[1] == "full":
    jit._FOLDER = Path(sys.argv[2])
@jit.compiled
def twice(a):
    return 2 * a
print(twice(21), jit._FOLDER)
"""


@pytest.mark.parametrize("how", ["none", "full", "damaged"])
def test_code_that_cannot_be_kept_is_compiled(how: str, tmp_path: Path) -> None:
    """No folder at all, one whose disk is full when it is to be written, and one whose files are damaged."""
    (tmp_path / "script.py").write_text(_TRAIN)
    cache = tmp_path / "cache"
    environment = {**os.environ, "XDG_CACHE_HOME": "/proc/none" if how == "none" else str(cache), "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, str(tmp_path / "script.py"), how, "/dev/full" if how == "full" else ""]
    if how == "damaged":
        subprocess.run(command, env=environment, check=True, capture_output=True)
        kept = [path for path in cache.rglob("*") if path.is_file()]
        assert {path.suffix for path in kept} == {".nbi", ".nbc"}
        for path in kept:
            path.write_bytes(b"")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "42"


def test_no_compiled_function_is_without_its_cache() -> None:
    assert isinstance(gemm.gemm._cache, jit._Cache)
