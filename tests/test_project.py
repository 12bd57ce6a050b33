"""The files that stand at the top: what Ray and make read from them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_the_head_trains_nothing_and_workers_come_when_needed(cluster: dict[str, Any]) -> None:
    nodes = cluster["available_node_types"]
    assert nodes[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert [node["min_workers"] for name, node in nodes.items() if name != cluster["head_node_type"]] == [0]


def test_make_installs_before_it_runs(tmp_path: Path) -> None:
    """What `make sweep` and `make test` would do in a fresh clone, in order."""
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for target, last in (("sweep", "figures results summary"), ("test", "-m pytest")):
        dry = ["make", "-n", target]
        done = subprocess.run(dry, cwd=tmp_path, capture_output=True, text=True, check=True)
        steps = ["-m venv .venv", "install --editable", last]
        places = [done.stdout.find(step) for step in steps]
        assert -1 not in places
        assert places == sorted(places)


def test_make_leaves_an_installed_environment_alone(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".venv").mkdir()
    for stamp in ("created", "installed"):
        (tmp_path / ".venv" / stamp).touch()
    done = subprocess.run(["make", "-n", "sweep"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pip" not in done.stdout and "venv .venv" not in done.stdout
    assert "monosweep launch quick" in done.stdout
