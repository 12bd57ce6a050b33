"""The Ray that a launch starts for itself: its processes, its workers, and the same rows as without it."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.utils import publish_error_to_driver
from ray.tune.execution import class_cache
from rich.console import Console

from monosweep.model.config import ConfigError, UserError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.kinds import networks
from monosweep.sweep.drive import launch
from monosweep.sweep.executors import inline, own_ray, ray_private, tune
from monosweep.sweep.executors import site as sites
from monosweep.sweep.executors.addresses import clusters_here
from monosweep.sweep.executors.connect import Cluster, ask_a_worker, connected
from monosweep.sweep.executors.reaper import MARK
from monosweep.sweep.plan.options import LaunchOptions
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import load_spec
from monosweep.sweep.store.root import Store
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.work import waits
from monosweep.sweep.work.contract import Settings, Work
from monosweep.sweep.work.feed import Given
from processes import family, gone, is_training

Execute = Callable[[Work, Given, Progress], None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Ray of our own, whose user wants none to ask for a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        before = environment()
        with connected(None, 2, 1, [networks.__name__]) as cluster:
            yield cluster
        assert environment() == before


def environment() -> dict[str, str]:
    """But for what pytest and threadpoolctl keep there."""
    theirs = ("PYTEST", "KMP_DUPLICATE_LIB_OK")
    return {name: value for name, value in os.environ.items() if not name.startswith(theirs)}


@pytest.fixture(scope="module")
def waiting(cluster: Cluster) -> set[int]:
    """The workers, once they have imported what trains; nothing has been asked of them yet."""
    deadline = time.monotonic() + 120
    while len(found := workers()) < 2 or not all(has_torch(pid) for pid in found):
        assert time.monotonic() < deadline, family(os.getpid())
        time.sleep(0.1)
    return found


def as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """What another user of this machine gets from a command, with nothing of our environment."""
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if os.geteuid() != 0 or subprocess.run([*become, sys.executable, "-c", ""], capture_output=True).returncode:
        pytest.skip("needs root, and a Python that others may run")
    environment = {"HOME": "/nonexistent", "PATH": os.environ["PATH"], "RAY_AUTH_MODE": "disabled"}
    return subprocess.run([*become, *command], capture_output=True, text=True, env=environment, cwd="/", timeout=300)


def workers(title: str = "(IDLE|_Pack)") -> set[int]:
    """Ray's workers, with a pack or without."""
    return {pid for pid, command in family(os.getpid()).items() if re.match(f"ray::{title}", command)}


@contextmanager
def again_and_again(look: Callable[[], None]) -> Iterator[None]:
    """Beside the block: a pack is soon done, and its worker with it."""
    over = threading.Event()

    def looking() -> None:
        while not over.is_set():
            look()
            time.sleep(0.05)

    thread = threading.Thread(target=looking)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def environment_of(pid: int) -> bytes:
    """Empty for a process that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def train(out: Path, packs: tuple[Pack, ...], settings: Settings, execute: Execute, **about: Any) -> str:
    """`packs` through an executor; what was said."""
    store, total, said = Store.create(str(out)), sum(len(pack.configs) for pack in packs), io.StringIO()
    work = Work(store=store, sweep="s", settings=settings, n_workers=2, **about)
    with Progress(store, "s", packs, Counts(total=total), Console(file=said)) as progress:
        execute(work, Given(packs), progress)
    assert list(store.index().statuses.values()) == ["completed"] * total
    return said.getvalue()


def alone(work: Work, feed: Given, progress: Progress) -> None:
    """In this process: another one, started while Ray is there, would have to end with it."""
    inline.execute(replace(work, n_workers=1), feed, progress, lambda: False)


def test_every_process_carries_the_mark_by_which_the_reaper_ends_it(cluster: Cluster, waiting: set[int]) -> None:
    others = ("reaper.py", "resource_tracker")  # the latter is Python's, for whoever began processes here before
    commands = {pid: text for pid, text in family(os.getpid()).items() if not any(name in text for name in others)}
    assert len(commands) >= 6 and waiting < set(commands)
    mark = f"{MARK}={cluster.scratch}".encode()
    for pid, command in commands.items():
        assert mark in environment_of(pid).split(b"\0"), command


def test_packs_go_to_the_workers_that_wait_and_rows_are_those_of_inline(
    cluster: Cluster,
    waiting: set[int],
    tmp_path: Path,
    trial: Callable[..., TwoLayerConfig],
    rows: Callable[..., list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And none is sent the driver's key, which Ray would show to all its users.  Nothing is kept in the object store:
    else Ray ends the driver without a word as soon as a raylet is told to go.  Tune, which writes its state again and
    again, has neither packs nor reports in it once they have arrived."""
    monkeypatch.setattr(ray, "put", Mock(side_effect=AssertionError("something is kept in the object store")))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-to-be-shown")
    alike = partial(trial, n_steps=20_000)  # long enough to be seen in training
    packs = tuple(Pack((alike(seed=seed, lr=0.01), alike(seed=seed, lr=0.1))) for seed in range(3))
    settings, busy, told = Settings(save_weights="final", record_neurons="log2"), set[int](), set[int]()

    def look() -> None:
        busy.update(workers("_Pack"))
        told.update(pid for pid in workers() if b"never-to-be-shown" in environment_of(pid))

    with again_and_again(look):
        train(tmp_path / "ray", packs, settings, lambda *given: tune.execute(cluster, *given, lambda: False))
    assert not told
    (state,) = (cluster.scratch / "tune").rglob("experiment_state-*.json")
    assert "trial_id" in (text := state.read_text()) and TwoLayerConfig.__name__.encode().hex() not in text
    assert busy, "no worker was seen with a pack"
    assert busy & waiting or ray.__version__.startswith("2.52."), "which takes no environment for another one"
    train(tmp_path / "inline", packs, settings, alone)
    for table in ("trials", "curves", "neurons"):
        assert rows(tmp_path / "ray", table) == rows(tmp_path / "inline", table)
    names = [{path.name for path in (tmp_path / which).glob("weights/*/*")} for which in ("ray", "inline")]
    assert names[0] == names[1] and len(names[0]) == 3


def test_another_user_comes_to_none_of_our_files(cluster: Cluster) -> None:
    """Ray opens its folder to everybody; the driver and its workers unpickle what lies there."""
    open_to_all = [path for path in cluster.scratch.rglob("*") if path.is_dir() and path.stat().st_mode & 0o002]
    assert open_to_all, "Ray no longer does so: the test shows nothing"
    for folder in (cluster.scratch, *open_to_all):
        assert "Permission denied" in as_nobody("touch", f"{folder}/here").stderr
        assert "Permission denied" in as_nobody("ls", str(folder)).stderr


def test_another_user_cannot_speak_to_our_ray(cluster: Cluster) -> None:
    """Functions that workers unpickle lie in its GCS, which is on loopback."""
    address = ray.get_runtime_context().gcs_address
    done = as_nobody(sys.executable, "-c", _INTRUDER, address)
    assert done.returncode != 0 and "uthenticat" in done.stderr, done.stdout + done.stderr


_INTRUDER = """
import sys
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", b"fun"))
"""


def test_a_launch_leaves_a_ray_alone_that_is_there_already(cluster: Cluster, tmp_path: Path) -> None:
    for options in (LaunchOptions(), LaunchOptions(address="auto")):
        with pytest.raises(ConfigError, match=r"this process is connected already; call ray\.shutdown\(\)"):
            launch(load_spec("tiny"), str(tmp_path / "out"), options)
    assert ray.is_initialized() and ray.cluster_resources()["CPU"] == 2


@pytest.mark.parametrize(
    ("owner", "name", "guard"),
    [
        (ray_constants, "ENABLE_RAY_CLUSTER", ray_private.on_loopback),
        (class_cache, "DEFAULT_ENV_VARS", ray_private.nothing_forwarded),
        (class_cache, "ENV_VARS_TO_PROPAGATE", ray_private.nothing_forwarded),
    ],
)
def test_a_ray_that_cannot_be_made_safe_is_refused(
    owner: Any, name: str, guard: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    rule = f"needs a release with {owner.__name__}.{name}, .*; got {ray.__version__};"
    with pytest.raises(UserError, match=rule), guard():
        pytest.fail("went on")


def test_a_ray_that_listens_elsewhere_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeManagerAddress": "192.0.2.7"}])
    with pytest.raises(UserError, match=r"must listen on 127.0.0.1 alone; Ray .* listens on 127.0.0.1, 192.0.2.7"):
        own_ray._check_loopback()


def test_the_releases_of_ray_that_are_named_are_those_that_are_installed() -> None:
    needs = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"ray[default,tune]{ray_private.ALLOWED}" in needs


def test_no_process_is_without_use(cluster: Cluster) -> None:
    commands = "\n".join(family(os.getpid()).values())
    assert "raylet/raylet" in commands
    assert not re.findall(r"\S*(?:monitor|dashboard)\.py", commands)


def test_what_ray_says_of_its_processes_is_no_output(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    publish_error_to_driver("worker_died", "A worker died, said Ray", gcs_client=ray_worker.global_worker.gcs_client)
    told, deadline = "", time.monotonic() + 30
    while "A worker died, said Ray" not in told:
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
        said = capsys.readouterr()
        assert said.out == ""
        told += said.err


def test_a_worker_that_hangs_is_ended_and_its_pack_taken_up_again(
    cluster: Cluster, tmp_path: Path, trial: Callable[..., TwoLayerConfig]
) -> None:
    packs, struck, seen = (Pack((trial(n_steps=100_000),)),), set[int](), list[float]()

    def stop() -> bool:
        training = [pid for pid, command in family(os.getpid()).items() if is_training(command)]
        seen.extend([time.monotonic()] * bool(training))
        if not struck and seen and time.monotonic() - seen[0] > 0.3:
            struck.update(training)
            for pid in training:
                os.kill(pid, signal.SIGSTOP)
        return False

    said = train(tmp_path, packs, Settings(), lambda *given: tune.execute(cluster, *given, stop), patience_s=10.0)
    assert struck and gone(struck, 60)
    assert "(hung: no report for " in said and f"pack {packs[0].pack_id} is taken up again" in said


def test_auto_does_not_find_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray.get_runtime_context().gcs_address not in clusters_here()


def test_gpus_are_counted_as_torch_does(cluster: Cluster) -> None:
    assert cluster.n_gpus == 1


def asleep() -> int:
    time.sleep(600)
    return 0


def test_a_worker_that_does_not_come_is_waited_for_in_a_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here because others have its GPU."""
    monkeypatch.setattr(waits, "LONG_S", 0.5)
    other, said = ray.remote(num_cpus=1, num_gpus=1)(asleep).remote(), list[str]()
    ray.wait([other], timeout=1)
    with pytest.raises(KeyboardInterrupt, match="stopped while waiting for a worker; nothing was trained"):
        ask_a_worker(asleep, "cuda", lambda: bool(said), said.append)
    ray.cancel(other, force=True)
    assert said[0].startswith("waiting for a worker with 1 CPU and 1 GPU: Ray has 1 of 2 CPUs free, 0 of 1 GPUs free,")


def test_packs_that_no_worker_takes_are_told(
    cluster: Cluster, tmp_path: Path, trial: Callable[..., TwoLayerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask for two GPUs, and there is one."""
    monkeypatch.setattr(waits, "LONG_S", 0.5)
    monkeypatch.setattr(tune, "resources", lambda device, packs_per_gpu: {"CPU": 1, "GPU": 2})
    store, said = Store.create(str(tmp_path)), io.StringIO()
    pack = Pack((trial(),))
    work = Work(store=store, sweep="s", settings=Settings(), n_workers=1)
    with Progress(store, "s", [pack], Counts(total=1), Console(file=said, width=200)) as progress:
        tune.execute(cluster, work, Given([pack]), progress, lambda: "waiting" in said.getvalue())
    told = r"waiting for a worker with 1 CPU and 2 GPUs: Ray has \d of 2 CPUs free, \d of 1 GPUs free; only a new node"
    assert re.match(f"{told} can bring a GPU, for ", said.getvalue())


def test_a_dry_run_asks_no_worker(cluster: Cluster) -> None:
    """With no GPU free, and no node that could bring another: to ask would be to wait."""
    said, options = list[str](), LaunchOptions(device="cuda", workers=2, address="there", dry_run=True)
    other = ray.remote(num_cpus=0, num_gpus=1)(asleep).remote()
    site, sharing = sites._there(options, cluster, lambda: pytest.fail("a worker was asked"), said.append)
    ray.cancel(other, force=True)
    assert (site.device, site.n_workers, site.memory_bytes, sharing) == ("cuda", 2, 16 * 10**9, 2)
    assert said == ["no worker was asked: packs are sized as for 16 GB each"]


@pytest.mark.long
def test_a_gpu_that_does_not_answer_is_nobodys_failure(
    cluster: Cluster, tmp_path: Path, trial: Callable[..., TwoLayerConfig]
) -> None:
    """Ray counts one here, and torch finds none; neither the driver nor a row says that a trial has failed."""
    store, packs = Store.create(str(tmp_path)), tuple(Pack((trial(seed=seed),)) for seed in range(2))
    work = Work(store=store, sweep="s", settings=Settings(device="cuda"), n_workers=2)
    with (
        Progress(store, "s", packs, Counts(total=2), Console(file=io.StringIO())) as progress,
        pytest.raises(UserError, match=r"is left that can train \(GPU 0 of \S+: .*device cuda needs a usable"),
    ):
        tune.execute(cluster, work, Given(packs), progress, lambda: False, packs_per_gpu=2)
    assert store.index().statuses == {}
