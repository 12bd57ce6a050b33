"""The files that stand at the top: what Ray and make read from them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def pods() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "sweep/deploy/kuberay.yaml").read_text())
    return loaded


def test_ray_accepts_the_cluster_file(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_the_head_trains_nothing_and_workers_come_when_needed(cluster: dict[str, Any]) -> None:
    nodes = cluster["available_node_types"]
    assert nodes[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert [node["min_workers"] for name, node in nodes.items() if name != cluster["head_node_type"]] == [0]


def test_only_ssh_leads_into_the_cluster(cluster: dict[str, Any]) -> None:
    """Every inbound rule that Ray would make from this file, for real."""
    from ray.autoscaler._private.aws.config import _create_default_inbound_rules

    extended = cluster["provider"]["security_group"].get("IpPermissions", [])
    rules = _create_default_inbound_rules({"sg-own"}, extended)
    open_ports = [(rule["FromPort"], rule["ToPort"]) for rule in rules if "IpRanges" in rule]
    assert open_ports == [(22, 22)]
    (start,) = (command for command in cluster["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in start


def test_the_cluster_demands_a_token_and_reports_nothing(cluster: dict[str, Any]) -> None:
    options = cluster["docker"]["run_options"]
    assert {"--env RAY_AUTH_MODE=token", "--env RAY_USAGE_STATS_ENABLED=0"} <= set(options)
    assert "~/.ray/auth_token" in cluster["file_mounts"]


def test_one_version_of_ray_everywhere(cluster: dict[str, Any], pods: dict[str, Any]) -> None:
    """What is pinned for clusters is what the package allows."""
    requirements = map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    (ray,) = (requirement for requirement in requirements if requirement.name == "ray")
    pinned = {pods["spec"]["rayVersion"]}
    pinned |= set(re.findall(r"ray(?:\[[^]]*\]==|:)([\d.]+)", str(cluster)))
    assert len(pinned) == 1
    assert ray.specifier.contains(pinned.pop())


def test_pods_demand_a_token_and_the_head_trains_nothing(pods: dict[str, Any]) -> None:
    spec = pods["spec"]
    assert (pods["apiVersion"], pods["kind"]) == ("ray.io/v1", "RayCluster")
    assert spec["authOptions"] == {"mode": "token"}
    head = spec["headGroupSpec"]
    assert (head["serviceType"], head["rayStartParams"]["num-cpus"]) == ("ClusterIP", "0")
    (workers,) = spec["workerGroupSpecs"]
    assert (workers["minReplicas"], spec["enableInTreeAutoscaling"]) == (0, True)
    for group in (head, workers):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert container["resources"]["limits"] == container["resources"]["requests"]


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
