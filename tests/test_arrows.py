"""Who may import whom: read from the sources, and asserted in fresh interpreters; what a verb loads before it has to.

A room is a folder, or a file that lies directly in one of the three packages.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("model", "sweep", "analysis")
HEAVY = {"torch", "ray", "pandas", "matplotlib", "pydantic", "rich", "ruamel", "duckdb", "tyro"}


# -- the sources


def module_of(path: Path) -> str:
    """As it is imported, such as `monosweep.model.config`."""
    place = path.relative_to(ROOT)
    return ".".join(("monosweep", *(place.parent if place.name == "__init__.py" else place.with_suffix("")).parts))


FILES = {module_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imported(tree: ast.AST, typing: bool = False) -> Iterator[str]:
    """What is imported at the top or inside a function; what is imported for type checkers only if `typing`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in FILES else str(node.module) for name in names}
        yield from imported(node, typing)


def imports_of(module: str, typing: bool = False) -> set[str]:
    return set(imported(ast.parse(FILES[module].read_text()), typing)) - {module}


def room_of(module: str) -> str:
    """Such as `model.engines.cpu` of a file there, `model.config` of that file, and `model` of its face."""
    folder = FILES[module].parent.relative_to(ROOT).parts
    return module.removeprefix("monosweep.") if len(folder) == 1 else ".".join(folder)


GRAPH = {module: {other for other in imports_of(module) if other in FILES} for module in FILES}
ROOMS: dict[str, set[str]] = {}
for _module, _others in GRAPH.items():
    ROOMS.setdefault(room_of(_module), set()).update(room_of(other) for other in _others)
for _room, _others in ROOMS.items():
    _others.discard(_room)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One, if there is any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert len(GRAPH) > 100 and sum(map(len, GRAPH.values())) > 200
    assert circle(GRAPH) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    assert circle(ROOMS) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


ARROWS = {
    "model.config": [], "model.additions": ["model.config"], "model.records": [],
    "model.precision": ["model.config", "model.processor"], "model.processor": [], "model.heap": [],
    "model.schedule": ["model.config"],
    "model.data": ["model.config"], "model.geometry": [], "model.machine_code": [],
    "model.optimizers": ["model.config"],
    "model.losses": ["model.config", "model.schedule"],
    "model.family": ["model.config", "model.records"],
    "model.procedure": ["model.config", "model.family", "model.records"],
    "model.member": ["model.config"], "model.results": ["model.config", "model.records"],
    "model.families": [
        "model.additions", "model.config", "model.data", "model.family", "model.geometry", "model.precision",
        "model.procedure", "model.records", "model.schedule",
    ],
    "model.engines": [
        "model.additions", "model.config", "model.data", "model.device", "model.families", "model.family", "model.heap",
        "model.machine_code", "model.member", "model.optimizers", "model.precision", "model.processor",
        "model.schedule",
    ],
    "model.bench": ["model.config", "model.device", "model.engines", "model.families", "model.trainer"],
    "model.checkpoint": ["model.checkpoint_header", "model.config", "model.families", "model.member"],
    "model.checkpoint_header": ["model.config"],
    "sweep.streams": ["model.config"], "sweep.text": [], "sweep.homes": [], "sweep.ahead": [],
    "sweep.version": [],
    "sweep.numerals": ["model.config"],
    "sweep.parse": ["model.config", "sweep.numerals"],
    "sweep.spec": ["model.config", "model.families", "sweep.numerals", "sweep.text"],
    "sweep.plan": ["model", "sweep.ahead", "sweep.spec", "sweep.store", "sweep.version"],
    "sweep.store": ["model.config", "model.families", "model.family", "model.records", "sweep.text"],
    "sweep.work": ["model", "sweep.plan", "sweep.store", "sweep.text", "sweep.version"],
    "sweep.executors": [
        "model", "sweep.homes", "sweep.plan", "sweep.spec", "sweep.text", "sweep.version", "sweep.work",
    ],
    "sweep.search": [
        "model.config", "model.families", "model.records", "sweep.plan", "sweep.spec", "sweep.store", "sweep.work",
    ],
    "sweep.view": [
        "model.families", "model.records", "sweep.plan", "sweep.spec", "sweep.store", "sweep.text", "sweep.version",
        "sweep.work",
    ],
    "sweep.bench": ["model", "sweep.plan", "sweep.text"],
    "analysis.knobs": ["model.config", "model.families"], "analysis.stats": [],
    "analysis.output": [],
    "analysis.search": ["analysis.knobs", "analysis.stats", "model.records"],
    "analysis.tables": [
        "analysis.knobs", "analysis.search", "model.config", "model.families", "model.records", "sweep.store",
    ],
    "analysis.figures": [
        "analysis.knobs", "analysis.output", "analysis.search", "analysis.stats", "analysis.tables", "model.records",
    ],
    "analysis.claims": ["analysis.knobs", "analysis.stats", "analysis.tables", "model.config", "model.records"],
    "analysis.panels": [],
    "analysis.report": [
        "analysis.claims", "analysis.families", "analysis.figures", "analysis.knobs", "analysis.panels",
        "analysis.papers", "analysis.search", "analysis.tables", "model.records", "sweep.store", "sweep.view",
    ],
    "analysis.families": [
        "analysis.figures", "analysis.knobs", "analysis.panels", "analysis.tables", "model.config", "model.families",
        "sweep.store",
    ],
}  # fmt: skip
"""All that a room may import of ours, with the rooms inside it.  Who stands above them (`model.trainer`, `sweep.drive`,
the verbs, the catalogue and papers) may use any room of its package that closes no circle."""


def inside(room: str, outer: str) -> bool:
    return f"{room}.".startswith(f"{outer}.")


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_uses_those_below_it(room: str) -> None:
    mine = {name: others for name, others in ROOMS.items() if inside(name, room)}
    assert mine
    for name, others in mine.items():
        wrong = {other for other in others if not any(inside(other, below) for below in [room, *ARROWS[room]])}
        assert not wrong, f"{name} imports {wrong}"


RAY_FILES = (
    *(f"sweep/executors/{name}.py" for name in ("connect", "jobs", "own_ray", "ray_private", "tune")),
    *(f"sweep/search/{name}.py" for name in ("optuna_search", "searcher", "tune_judge")),
)
DUCKDB_FILE = "monosweep.sweep.search.expressions"
"""The one of `sweep` that evaluates SQL."""
FRONT_DOOR = "monosweep.sweep.__main__"
FORBIDDEN = {
    "model": ("ray", "monosweep.sweep", "monosweep.analysis", "pyarrow", "duckdb"),
    "sweep": ("monosweep.analysis", "duckdb", "matplotlib"),
    "analysis": (
        "torch", "ray", "monosweep.model.trainer", "monosweep.model.watch", "monosweep.model.notebook",
        "monosweep.model.trained", "monosweep.model.engines",
        "monosweep.model.data", "monosweep.model.device", "monosweep.sweep.store.root", "monosweep.sweep.drive",
        "monosweep.sweep.executors", "monosweep.sweep.work",
    ),
}  # fmt: skip


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_is_hidden_in_a_function(package: str) -> None:
    modules = [module for module in FILES if inside(module, f"monosweep.{package}")]
    assert len(modules) > 10
    for module in modules:
        forbidden = set(FORBIDDEN[package])
        forbidden -= {"monosweep.analysis"} if module == FRONT_DOOR else set()
        forbidden -= {"duckdb"} if module == DUCKDB_FILE else set()
        ray_may = FILES[module].relative_to(ROOT).as_posix() in RAY_FILES
        forbidden |= {"ray"} if package == "sweep" and not ray_may else set()
        for name in imports_of(module, typing=True):
            assert not any(inside(name, other) for other in forbidden), f"{module}: {name}"
            assert name.split(".")[0] not in PACKAGES, f"{module} imports {name} without monosweep."


# -- fresh interpreters


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter holds after `statement`: top-level modules, and ours with `monosweep.` before them."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return {".".join(name.split(".")[: 2 if name.startswith("monosweep.") else 1]) for name in names}


def modules_in(package: str) -> list[str]:
    return [module for module in FILES if inside(module, f"monosweep.{package}") and "__main__" not in module]


def importing(modules: list[str]) -> str:
    return "; ".join(f"import {module}" for module in modules)


def test_model_knows_no_other_package_and_no_ray() -> None:
    loaded = loaded_by(importing(modules_in("model")))
    assert "torch" in loaded
    assert not loaded & {"ray", "monosweep.sweep", "monosweep.analysis", "pyarrow", "duckdb"}


def test_analysis_knows_no_torch_and_no_ray() -> None:
    loaded = loaded_by(importing(modules_in("analysis")))
    assert "pyarrow" in loaded
    assert not loaded & {"torch", "ray"}


def test_sweep_never_imports_analysis() -> None:
    assert "monosweep.analysis" not in loaded_by(importing(modules_in("sweep")))


def test_only_the_ray_files_know_ray() -> None:
    with_ray = {module for module, path in FILES.items() if path.relative_to(ROOT).as_posix() in RAY_FILES}
    assert len(with_ray) == len(RAY_FILES)
    assert "ray" not in loaded_by(importing([module for module in modules_in("sweep") if module not in with_ray]))


def test_what_is_private_of_ray_is_in_one_file() -> None:
    private = re.compile(r"\bray\._(?!_version__)|\b_raylet\b|\bray\.tune\.execution\b")
    using = {path.name for module, path in FILES.items() if private.search(path.read_text())}
    assert using == {"ray_private.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_alone_brings_nothing(package: str) -> None:
    assert not loaded_by(f"import monosweep.{package} as m; dir(m)") & (HEAVY | {"pyarrow", "numpy"})


FREE_OF_TORCH = [
    "model.config", "model.records", "sweep.store.schema", "sweep.spec.sweep_spec", "sweep.plan.packs",
    "sweep.store.root", "sweep.parse", "sweep.cli.verbs", "sweep.drive", "sweep.view.live", "sweep.view.status",
    "sweep.work.pack", "sweep.work.rows", "model.kinds.procedures",
]  # fmt: skip


@pytest.mark.parametrize("module", FREE_OF_TORCH)
def test_what_everyone_reads_brings_no_torch(module: str) -> None:
    assert not loaded_by(f"import monosweep.{module}") & {"torch", "ray"}


def test_the_front_door_brings_nothing_but_the_verb() -> None:
    assert not loaded_by("import monosweep.sweep.__main__") & (HEAVY | {"pyarrow", "numpy"})


@pytest.mark.parametrize("argv", ["--help", "--version", "query --help"])
def test_help_needs_no_engine(argv: str) -> None:
    main = f"import monosweep.sweep.__main__ as m\ntry: m.main({argv.split()!r})\nexcept SystemExit: pass"
    assert not loaded_by(main) & {"torch", "ray", "pydantic", "rich", "ruamel", "matplotlib", "pandas"}
