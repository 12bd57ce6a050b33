"""Machines for the tests: network namespaces on a switch of their own, with no way in or out.

    Network -> Node (own address, own processes) -> start / kill / cut / restore

All that is started carries a mark, so that nothing outlives the tests, however they end.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from monosweep.sweep.executors.reaper import reaped

NO_SKIPS = "MONOSWEEP_NO_SKIPS"
"""The environment variable that makes a test fail that would be skipped for want of rights or tools."""
_PREFIX = "10.77.0"
_ENDS_S = 10.0


def requires_namespaces() -> None:
    """Skip where the tests cannot make network namespaces, and say so; `.ci/run` lets no such skip pass."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        _cannot("needs root and iproute2")
    probe = f"ms{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        _cannot("needs root and iproute2: network namespaces are not allowed here")
    _ip("netns", "del", probe)


def _cannot(reason: str) -> None:
    if os.environ.get(NO_SKIPS):
        pytest.fail(f"{reason}; unset {NO_SKIPS} to skip such tests")
    pytest.skip(reason)


class Node:
    """A namespace with one address on the network."""

    def __init__(self, name: str, namespace: str, switch: str, port: str, address: str, folder: Path) -> None:
        self.name, self.address, self.folder = name, address, folder
        self._namespace, self._switch, self._port = namespace, switch, port
        self.inside = ("ip", "netns", "exec", namespace)
        """What goes before a command to run it here."""
        self._started = list[subprocess.Popen[bytes]]()

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A process on this node; what it says goes to `log`."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.inside, *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                env={**os.environ, **(env or {})}, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    @property
    def log(self) -> Path:
        """What the node's processes print."""
        return self.folder / f"{self.name}.log"

    def pids(self) -> list[int]:
        """Every process on this node."""
        return [int(pid) for pid in _ip("netns", "pids", self._namespace).split()]

    def kill(self) -> int:
        """SIGKILL for everything that runs here; returns how many processes that were."""
        killed, deadline = 0, time.monotonic() + _ENDS_S
        while (pids := self.pids()) and time.monotonic() < deadline:
            killed = max(killed, len(pids))
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self._started:
            process.wait(_ENDS_S)
        return killed

    def cut(self) -> None:
        """Pull the cable: no packet passes, and no one is told."""
        _ip("-n", self._switch, "link", "set", self._port, "nomaster")

    def restore(self) -> None:
        """Plug it in again."""
        _ip("-n", self._switch, "link", "set", self._port, "master", "switch")


class Network:
    """A switch and the nodes on it."""

    def __init__(self, folder: Path) -> None:
        _remove_stale()
        self.folder, self.nodes = folder, list[Node]()
        self._names = f"ms{os.getpid()}-{time.monotonic_ns() % 10**6}"
        self._switch = f"{self._names}-switch"
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")

    def node(self, name: str) -> Node:
        """One more machine on the network."""
        number = len(self.nodes) + 1
        namespace, port, address = f"{self._names}-{name}", f"port{number}", f"{_PREFIX}.{number}"
        _ip("netns", "add", namespace)
        node = Node(name, namespace, self._switch, port, address, self.folder)
        self.nodes.append(node)
        link = ("type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._switch, "link", "add", port, *link)
        _ip("-n", self._switch, "link", "set", port, "master", "switch", "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        # Programs ask which of their addresses leads out; without a route they wait for a name server first.
        _ip("-n", namespace, "route", "add", "default", "dev", "eth0")
        return node

    def close(self) -> None:
        """Kill what still runs and take the network down."""
        for node in self.nodes:
            node.kill()
            _ip("netns", "del", node._namespace)
        _ip("netns", "del", self._switch)


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network that goes with everything on it; `folder` becomes the place of its nodes' files."""
    requires_namespaces()
    folder.mkdir()
    with reaped(folder):
        made = Network(folder)
        try:
            yield made
        finally:
            made.close()


def _remove_stale() -> None:
    """Namespaces of tests that were killed: their processes are gone already."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        owner = re.match(r"ms(\d+)-", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            with suppress(subprocess.CalledProcessError):  # other tests clear up too
                _ip("netns", "del", name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
