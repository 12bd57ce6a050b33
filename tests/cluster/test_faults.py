"""What happens to clusters, at full length: `make cluster-test`.

Three nodes; each time something else fails, and each time the tables end as those of an undisturbed sweep.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import RayCluster, ray_cluster
from monosweep.sweep.store.root import Store
from processes import Driver, command_line
from same_tables import assert_same

pytestmark = pytest.mark.long

_CUT_S, _STORAGE_AWAY_S = 60.0, 20.0
_LONG_S = 1800.0
_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 100000}
space: {lr: {grid: [0.003, 0.01, 0.03]}}
repeats: 4
pack_size: 3
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve trials in four packs, each of which saves several checkpoints."""
    path = tmp_path_factory.mktemp("faults") / "faults.yaml"
    path.write_text(_SPEC)
    return path


@pytest.fixture(scope="module")
def undisturbed(spec: Path) -> Path:
    """The same sweep trained inline."""
    driver = Driver(spec, spec.parent / "undisturbed", "--executor", "inline")
    assert driver.finish(_LONG_S) == 0, driver.said()
    return driver.out


@pytest.fixture
def cluster(short_folder: Path) -> Iterator[RayCluster]:
    """A head that trains nothing and two workers, with Ray's own patience."""
    with ray_cluster(short_folder / "n") as cluster:
        cluster.start(n_workers=2)
        yield cluster


def finish(cluster: RayCluster, driver: Driver, undisturbed: Path, folder: Path) -> None:
    """The sweep ends by itself with the tables of the undisturbed one."""
    assert driver.finish(_LONG_S) == 0, driver.said()
    assert_same(cluster.fetch(folder), undisturbed)


def test_a_node_is_lost(cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path) -> None:
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    node = driver.wait_for(lambda: cluster.busy(cluster.workers))
    assert node.kill() > 1
    finish(cluster, driver, undisturbed, tmp_path / "found")
    assert "a worker died" in driver.said()


def test_a_raylet_is_lost(cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Of all that runs on a node, only Ray's own process dies."""
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    node = driver.wait_for(lambda: cluster.busy(cluster.workers))
    os.kill(cluster.raylet(node), signal.SIGKILL)
    finish(cluster, driver, undisturbed, tmp_path / "found")
    assert "a worker died" in driver.said()


def test_a_node_is_cut_off_for_a_minute(cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path) -> None:
    driver = cluster.launch(spec)
    node = driver.wait_for(lambda: cluster.busy(cluster.workers), 300)
    node.cut()
    time.sleep(_CUT_S)
    assert driver.process.poll() is None, driver.said()
    node.restore()
    finish(cluster, driver, undisturbed, tmp_path / "found")


def test_the_storage_hangs_for_a_while(cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path) -> None:
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    with cluster.storage_hangs():
        time.sleep(_STORAGE_AWAY_S)
    assert driver.process.poll() is None, driver.said()
    finish(cluster, driver, undisturbed, tmp_path / "found")


def test_the_storage_is_cut_off_for_a_while(cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path) -> None:
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    cluster.storage.cut()
    time.sleep(_STORAGE_AWAY_S)
    assert driver.process.poll() is None, driver.said()
    cluster.storage.restore()
    finish(cluster, driver, undisturbed, tmp_path / "found")


@pytest.mark.parametrize("workers_too", [False, True], ids=["alone", "with-every-node"])
def test_the_head_is_lost_with_the_driver(
    cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path, workers_too: bool
) -> None:
    """A new cluster does the rest, and nothing that was done; workers of the old one may still be training then."""
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    assert cluster.head is not None
    for node in (cluster.head, *(cluster.workers if workers_too else ())):
        node.kill()
    assert driver.finish() == -signal.SIGKILL
    before = Store.open(str(cluster.fetch(tmp_path / "before"))).index()
    assert 3 <= len(before.statuses) < 12
    cluster.start(n_workers=2)
    again = cluster.launch(spec)
    finish(cluster, again, undisturbed, tmp_path / "found")
    if workers_too:
        assert f"{12 - len(before.statuses)} trials trained" in again.said()


def test_the_raylet_beside_the_driver_is_lost(
    cluster: RayCluster, spec: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """The driver was told of a cluster: the raylet is none of its own processes.  `ray start` ends with it."""
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    assert cluster.head is not None
    os.kill(cluster.raylet(cluster.head), signal.SIGKILL)
    assert driver.finish() == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: a sweep needs the head of its cluster; that at "), driver.said()
    assert last.endswith("launch the same command again once it is back") and "Traceback" not in driver.said()
    for node in (cluster.head, *cluster.workers):
        node.kill()
    cluster.start(n_workers=2)
    finish(cluster, cluster.launch(spec), undisturbed, tmp_path / "found")


def test_the_control_service_of_the_head_is_lost(cluster: RayCluster, spec: Path) -> None:
    """The rest of the head lives, the driver too."""
    driver = cluster.launch(spec)
    driver.wait_for(cluster.committed, 300)
    assert cluster.head is not None
    (gcs,) = (pid for pid in cluster.head.pids() if "/gcs_server " in command_line(pid))
    os.kill(gcs, signal.SIGKILL)
    driver.wait_for(lambda: "does not answer (Connection refused)" in driver.said(), 30)
    assert driver.finish() == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert last.startswith("monosweep: a sweep needs the head of its cluster; that at "), driver.said()
    assert last.endswith("what is finished is kept; launch the same command again once it is back")


def test_nodes_with_another_root_at_the_same_path_give_no_rows(short_folder: Path, spec: Path, tmp_path: Path) -> None:
    """As where a shared mount is missing on the workers, and a sweep was once launched into what lies there."""
    ours, theirs = tmp_path / "out", tmp_path / "theirs"
    for root in (ours, theirs):
        Store.create(str(root))
    mounted = ("sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", str(theirs), str(ours))
    before = sorted(theirs.rglob("*"))
    with ray_cluster(short_folder / "n") as cluster:
        cluster.start(n_workers=1, workers_inside=mounted)
        driver = cluster.launch(spec, out=str(ours))
        assert driver.finish(300) == 2, driver.said()
    last = driver.said().strip().splitlines()[-1]
    assert f"sees another results root at {ours}" in last and "Traceback" not in driver.said()
    assert "completed" not in driver.said()
    assert sorted(theirs.rglob("*")) == before
    assert Store.open(str(ours)).index().statuses == {}
