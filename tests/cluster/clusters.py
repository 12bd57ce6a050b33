"""A Ray cluster with a token, and an S3 server, on machines of the tests' own.

Network -> RayCluster: head, workers, storage -> launch a sweep, disturb it, fetch its tables
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nodes import Network, Node, network
from processes import Driver, command_line, is_training

_BIN = Path(sys.executable).parent
_GCS_PORT, _S3_PORT = 6379, 5000
_UP_S, _POLL_S = 120.0, 0.1
_STARTED = "Ray runtime started"
_COMMIT = re.compile(r'"(?:PUT|POST) /bucket/\S*trials/sweep=\S+?/(part-[\w-]+)\.parquet')
_FETCH = "import sys, pyarrow.fs as f; f.copy_files(sys.argv[1], sys.argv[2])"


class RayCluster:
    """A head that trains nothing, unless told, workers of one CPU each, and a bucket.

    Args:
        settings: environment variables of every node, such as Ray's own `RAY_…`.
    """

    def __init__(self, net: Network, settings: dict[str, str]) -> None:
        self._network, self._folder = net, net.folder
        self.environment = {
            **settings, **_token(self._folder), "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        self.storage = net.node("storage")
        self.storage.start(_tool("moto_server"), "-H", self.storage.address, "-p", str(_S3_PORT), env=self.environment)
        self.head: Node | None = None
        self.workers: list[Node] = []

    @property
    def address(self) -> str:
        """Where the cluster is joined."""
        assert self.head is not None
        return f"{self.head.address}:{_GCS_PORT}"

    @property
    def out(self) -> str:
        """The results root."""
        where = f"{self.storage.address}:{_S3_PORT}"
        return f"s3://bucket/results?scheme=http&region=us-east-1&endpoint_override={where}"

    def start(self, n_workers: int, head_cpus: int = 0, workers_inside: Sequence[str] = ()) -> None:
        """Start a head and its workers, and wait until all of them are there.

        Args:
            workers_inside: what goes before the workers' command; it must become the command.
        """
        number = len(self._network.nodes)
        self.head = self._network.node(f"head{number}")
        self._ray(self.head, head_cpus, "--head", f"--port={_GCS_PORT}", "--include-dashboard=false")
        self.workers = [self._join(f"worker{number}-{i}", workers_inside) for i in range(n_workers)]
        self._make_bucket()
        for node in (self.head, *self.workers):
            wait(lambda node=node: _STARTED in node.log.read_text(), f"{node.name} did not start", node)

    def _join(self, name: str, inside: Sequence[str]) -> Node:
        node = self._network.node(name)
        self._ray(node, 1, f"--address={self.address}", inside=inside)
        return node

    def _ray(self, node: Node, cpus: int, *role: str, inside: Sequence[str] = ()) -> None:
        """`ray start` as a person would type it; the folder is the node's own, as its disk would be."""
        node.start(
            *inside, _tool("ray"), "start", *role, f"--node-ip-address={node.address}", f"--num-cpus={cpus}", "--block",
            f"--temp-dir={self._folder}/{len(self._network.nodes)}", "--object-store-memory=100000000",
            "--include-log-monitor=false", env=self.environment,
        )  # fmt: skip

    def _make_bucket(self) -> None:
        url = f"http://{self.storage.address}:{_S3_PORT}/bucket"
        again = ("--retry", "60", "--retry-connrefused", "--retry-delay", "1")
        self._run(self.storage, "curl", "-sS", "--fail", *again, "-X", "PUT", url)

    def launch(self, spec: Path, *options: str, out: str | None = None) -> Driver:
        """A driver on the head; the root is in the bucket unless `out` says where."""
        assert self.head is not None
        return Driver(
            spec, out or self.out, "--address", self.address, *options, inside=self.head.inside, env=self.environment
        )

    def committed(self) -> set[str]:
        """The packs whose rows the S3 server has been sent."""
        return set(_COMMIT.findall(self.storage.log.read_text()))

    def training(self, node: Node) -> list[int]:
        """The workers on a node that have a pack."""
        return [pid for pid in node.pids() if is_training(command_line(pid))]

    def raylet(self, node: Node) -> int:
        """The one raylet of a node."""
        (pid,) = (pid for pid in node.pids() if "/raylet/raylet " in command_line(pid))
        return pid

    def busy(self, nodes: Sequence[Node]) -> Node | None:
        """One of `nodes` that is training."""
        return next((node for node in nodes if self.training(node)), None)

    @contextmanager
    def storage_hangs(self) -> Iterator[None]:
        """The S3 server stops answering."""
        pids = self.storage.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def fetch(self, folder: Path) -> Path:
        """The results root as a local folder."""
        self._run(self.storage, sys.executable, "-c", _FETCH, self.out, str(folder))
        return folder

    def _run(self, node: Node, *command: str) -> None:
        process = node.start(*command, env=self.environment)
        assert process.wait(_UP_S) == 0, node.log.read_text()[-2000:]


@contextmanager
def ray_cluster(folder: Path, **settings: str) -> Iterator[RayCluster]:
    """A cluster without nodes yet; it goes with the block."""
    with network(folder) as net:
        yield RayCluster(net, settings)


def wait(happened: Callable[[], object], problem: str, node: Node) -> None:
    """Until `happened`."""
    deadline = time.monotonic() + _UP_S
    while not happened():
        assert time.monotonic() < deadline, f"{problem}: {node.log.read_text()[-2000:]}"
        time.sleep(_POLL_S)


def _tool(name: str) -> str:
    return str(_BIN / name)


def _token(folder: Path) -> dict[str, str]:
    """Ray's token authentication, with a token of this cluster's own."""
    home = {**os.environ, "HOME": str(folder), "RAY_AUTH_MODE": "token"}
    subprocess.run([_tool("ray"), "get-auth-token", "--generate"], env=home, check=True, capture_output=True)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / ".ray/auth_token")}
