"""The cluster in small: two nodes, one of which is killed in the middle of its training."""

from __future__ import annotations

from pathlib import Path

from clusters import RayCluster, ray_cluster
from processes import Driver
from same_tables import assert_same

_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 10000}
space: {lr: {grid: [0.003, 0.03]}}
repeats: 4
pack_size: 2
"""
_NOTICED_SOON = {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000"}
"""A lost node is declared dead after seconds rather than half a minute."""


def test_a_lost_node_costs_nothing_but_time(short_folder: Path, tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(_SPEC)
    undisturbed = Driver(spec, tmp_path / "undisturbed", "--executor", "inline")
    with ray_cluster(short_folder / "n", **_NOTICED_SOON) as cluster:
        cluster.start(n_workers=1, head_cpus=1)
        driver = cluster.launch(spec)
        _lose_the_worker(cluster, driver)
        assert driver.finish(120) == 0, driver.said()
        assert "a worker died (killed or crashed); pack " in driver.said()
        found = cluster.fetch(tmp_path / "found")
    assert undisturbed.finish() == 0, undisturbed.said()
    assert_same(found, undisturbed.out)


def _lose_the_worker(cluster: RayCluster, driver: Driver) -> None:
    (worker,) = cluster.workers
    driver.wait_for(lambda: cluster.training(worker))
    assert worker.kill() > 1
