"""Everything of ours is `monosweep.…`: a user's own model.py, sweep.py or analysis/ changes nothing, and what is
installed is what the folders hold."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("model", "sweep", "analysis")
COMMAND = str(Path(sys.executable).parent / "monosweep")


def run(*argv: str, folder: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- a user's own files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user works, with files of our names that must not be run."""
    (tmp_path / "analysis").mkdir()
    for name in ("model.py", "sweep.py", "analysis/__init__.py"):
        (tmp_path / name).write_text("raise RuntimeError('the user’s own file was run')\n")
    return tmp_path


@pytest.mark.parametrize(
    ("executor", "command"),
    [
        ("inline", (COMMAND,)),
        ("ray", (sys.executable, "-m", "monosweep.sweep")),
        pytest.param("inline", (sys.executable, "-m", "monosweep.sweep"), marks=pytest.mark.long),
        pytest.param("ray", (COMMAND,), marks=pytest.mark.long),
    ],
    ids=["inline-script", "ray-module", "inline-module", "ray-script"],
)
def test_files_of_our_names_change_nothing(executor: str, command: tuple[str, ...], folder: Path) -> None:
    """A script has PYTHONPATH=. and the module its working directory on the path."""
    path = {"PYTHONPATH": "."} if command == (COMMAND,) else {}
    run(*command, "launch", "tiny", "--out", "out", "--executor", executor, folder=folder, **path)
    count = "select count(*) as n from trials where status = 'completed'"
    assert run(*command, "query", "out", count, "--format", "csv", folder=folder, **path).split() == ["n", "4"]
    trained = "from monosweep.analysis import open_root; print(len(open_root('out').trials))"
    assert run(sys.executable, "-c", trained, folder=folder, **path).split() == ["4"]


# -- what is installed


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return found


def test_every_folder_with_python_files_is_installed(project: dict[str, Any]) -> None:
    setuptools = project["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert setuptools["packages"] == sorted(".".join(("monosweep", *folder.parts)) for folder in folders)
    assert all((ROOT / folder / "__init__.py").is_file() for folder in folders)
    assert setuptools["package-dir"] == {f"monosweep.{package}": package for package in PACKAGES}


def test_every_other_file_is_package_data(project: dict[str, Any]) -> None:
    """Presets, what deploys a cluster, and the frame, style and script of the page."""
    data = project["tool"]["setuptools"]["package-data"]
    assert set(data) == {"monosweep.sweep", "monosweep.analysis.report"}
    kept = [f"{package.removeprefix('monosweep.').replace('.', '/')}/{p}" for package in data for p in data[package]]
    tracked = run("git", "ls-files", *PACKAGES, folder=ROOT).split()
    others = [name for name in tracked if not name.endswith(".py")]
    assert len(others) > 40
    for name in others:
        assert any(fnmatch(name, pattern.replace("**/", "*")) for pattern in kept), name


# -- the faces


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_shows_its_public_names_and_has_them(package: str) -> None:
    face: ModuleType = importlib.import_module(f"monosweep.{package}")
    assert face.__doc__ and 4 <= len(face.__all__) <= 20
    assert dir(face) == sorted(face.__all__) == sorted(name for names in face._HOMES.values() for name in names)
    for name in face.__all__:
        alias = name.isupper() or name in ("Float32", "Int32")  # of types of others
        assert alias or getattr(face, name).__module__.startswith(f"monosweep.{package}.")
        assert not (ROOT / package / name).exists() and not (ROOT / package / f"{name}.py").exists(), "a room hides it"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = face.nothing


@pytest.mark.parametrize("package", PACKAGES)
def test_the_folders_answer_at_the_root_of_a_checkout(package: str) -> None:
    code = f"import {package}, monosweep.{package} as ours; print({package} is ours, *dir({package}))"
    same, *names = run(sys.executable, "-c", code, folder=ROOT).split()
    assert same == "True" and names == dir(importlib.import_module(f"monosweep.{package}"))


def test_the_command_answers_at_the_root_of_a_checkout() -> None:
    assert run(sys.executable, "-m", "sweep", "--version", folder=ROOT).startswith("monosweep ")
