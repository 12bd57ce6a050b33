"""Which code trained: rows of an edited tree are told apart, with git and without it, here and on a node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monosweep.sweep.executors.shipping import bundled
from monosweep.sweep.version import HERE, code_version, digest

_SAY = "from monosweep.sweep.version import code_version; print(code_version())"
_GIT = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]


def version_of(folder: Path) -> str:
    """What a fresh interpreter says whose packages are those below `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", _SAY], cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages as `monosweep`; not a checkout."""
    for package in ("model", "sweep", "analysis"):
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / package, tmp_path / "path" / "monosweep" / package, ignore=skip)
    return tmp_path / "path"


def test_a_version_has_a_digest() -> None:
    assert re.fullmatch(r"[\w.]+\+src\.[0-9a-f]{12}(\.git\.[0-9a-f]{7,}(\.edited)?)?", code_version())
    assert f"+src.{digest(HERE)}" in code_version()


def test_the_same_sources_have_the_same_digest_anywhere(tree: Path) -> None:
    assert version_of(tree) == f"{code_version().partition('+')[0]}+src.{digest(HERE)}"


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("model/schedule.py", True),
        ("model/engines/cpu/engine.py", True),
        ("sweep/work/pack.py", True),
        ("sweep/store/schema.py", True),
        ("sweep/view/lines.py", False),
        ("analysis/cli.py", False),
    ],
)
def test_what_decides_a_row_decides_the_digest(tree: Path, name: str, counts: bool) -> None:
    before = digest(tree / "monosweep")
    with (tree / "monosweep" / name).open("a") as file:
        file.write("\n")
    assert (digest(tree / "monosweep") != before) == counts
    (tree / "monosweep" / "model" / "new.py").touch()
    assert digest(tree / "monosweep") != before


def test_a_checkout_names_its_commit_and_whether_it_is_edited(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tree / "monosweep"
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*_GIT, "-C", str(checkout), *words], check=True)
    commit = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    clean = version_of(tree)
    assert clean.endswith(f"+src.{digest(HERE)}.git.{commit}")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert version_of(tree) == clean, "as inside a hook of another repository"
    (checkout / "README.md").touch()
    assert version_of(tree) == clean
    (checkout / "analysis" / "cli.py").write_text("# edited")
    assert version_of(tree) == f"{clean}.edited"
    config = checkout / "model" / "config.py"
    config.write_text(config.read_text() + "# edited")
    edited = version_of(tree)
    assert edited.endswith(f".git.{commit}.edited") and digest(HERE) not in edited


def test_a_folder_in_somebody_elses_repository_is_no_checkout(tree: Path) -> None:
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*_GIT, "-C", str(tree), *words], check=True)
    assert ".git." not in version_of(tree)


def test_a_node_says_what_its_driver_says() -> None:
    with bundled() as folder:
        assert version_of(folder) == code_version()
