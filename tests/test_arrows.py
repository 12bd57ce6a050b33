"""Who may import whom, asserted in fresh interpreters; and what a verb may load before it has to."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "ray", "pandas", "matplotlib", "pydantic", "rich", "yaml", "duckdb", "tyro"}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules, ours with their second part, that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {name.split(".")[0] for name in names}


def modules_of(room: str) -> list[str]:
    return [m.name for m in pkgutil.walk_packages([str(ROOT / room)], f"{room}.") if "__main__" not in m.name]


def importing(modules: list[str]) -> str:
    return "; ".join(f"import {module}" for module in modules)


def test_model_knows_no_other_room_and_no_ray() -> None:
    loaded = loaded_by(importing(modules_of("model")))
    assert "torch" in loaded
    assert not loaded & {"ray", "sweep", "analysis", "pyarrow", "duckdb"}


def test_analysis_knows_no_torch_and_no_ray() -> None:
    loaded = loaded_by(importing(modules_of("analysis")))
    assert "pyarrow" in loaded
    assert not loaded & {"torch", "ray"}


def test_sweep_never_imports_analysis() -> None:
    assert "analysis" not in loaded_by(importing(modules_of("sweep")))


def test_only_the_ray_rooms_know_ray() -> None:
    rooms = [room.removesuffix(".py").replace("/", ".") for room in RAY_ROOMS]
    without = [m for m in modules_of("sweep") if m not in rooms]
    assert "ray" not in loaded_by(importing(without))


def imported_anywhere(path: Path) -> set[str]:
    """Modules that a file imports at its top or inside a function; type-checking imports count too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


RAY_ROOMS = ("sweep/executors/ray.py", "sweep/executors/local.py", "sweep/cluster.py")
FORBIDDEN = {
    "model": ("ray", "sweep", "analysis", "pyarrow", "duckdb"),
    "sweep": ("analysis", "duckdb", "matplotlib"),
    "analysis": ("torch", "ray", "model.train", "model.solo", "model.packed", "sweep.store", "sweep.launch"),
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_import_is_hidden_in_a_function(room: str) -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 3
    for name in files:
        forbidden = set(FORBIDDEN[room])
        forbidden -= {"analysis"} if name == "sweep/__main__.py" else set()
        forbidden |= {"ray"} if room == "sweep" and name not in RAY_ROOMS else set()
        for module in imported_anywhere(ROOT / name):
            assert not any(f"{module}.".startswith(f"{other}.") for other in forbidden), f"{name}: {module}"


FREE_OF_TORCH = [
    "model.config", "model.records", "sweep.schema", "sweep.spec", "sweep.packing", "sweep.store",
    "sweep.options", "sweep.cli",
]  # fmt: skip


@pytest.mark.parametrize("module", FREE_OF_TORCH)
def test_what_everyone_reads_brings_no_torch(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"torch", "ray"}


def test_the_front_door_brings_nothing_but_the_verb() -> None:
    assert not loaded_by("import sweep.__main__") & (HEAVY | {"pyarrow", "numpy"})


@pytest.mark.parametrize("argv", ["--help", "--version", "query --help"])
def test_help_needs_no_engine(argv: str) -> None:
    main = f"import sweep.__main__ as m\ntry: m.main({argv.split()!r})\nexcept SystemExit: pass"
    assert not loaded_by(main) & {"torch", "ray", "pydantic", "rich", "yaml", "matplotlib", "pandas"}
