"""What the user names wins: over Ray's variables, over proxies, and over what else runs on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from monosweep.model.config import ConfigError
from monosweep.sweep.executors import addresses
from monosweep.sweep.executors.addresses import clusters_here, resolved
from monosweep.sweep.executors.jobs import Cluster, ClusterError

_ROOT = "/mnt/results"


def job(number: int, state: str, sweep: str = "s") -> dict[str, Any]:
    """As the Jobs API tells it."""
    return {
        "type": "SUBMISSION", "submission_id": f"{sweep}-{number}", "entrypoint": "", "status": state,
        "start_time": 1000 * number, "metadata": {"monosweep_sweep": sweep, "monosweep_root": _ROOT},
    }  # fmt: skip


@contextmanager
def dashboard(*jobs: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and what it is asked."""
    asked = list[str]()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": ""}
            answer = json.dumps(jobs if self.path.startswith("/api/jobs") else version).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *about: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_the_dashboard_that_is_named_is_asked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with dashboard(job(1, "RUNNING")) as (there, asked), dashboard() as (elsewhere, not_asked):
        monkeypatch.setenv(name, elsewhere)
        assert [found.id for found in Cluster(there).jobs(_ROOT)] == ["s-1"]
        assert asked and not_asked == []


def test_the_job_that_trains_is_meant_and_not_the_newest() -> None:
    ended = (job(3, "FAILED"), job(4, "STOPPED"))
    with dashboard(*ended, job(1, "RUNNING"), job(2, "PENDING")) as (there, _):
        assert Cluster(there).current(_ROOT).id == "s-1"
    with dashboard(*ended) as (there, _):
        assert Cluster(there).current(_ROOT).id == "s-4"
    with dashboard(*ended, job(1, "RUNNING"), job(5, "RUNNING", "other")) as (there, _):
        with pytest.raises(ClusterError, match="2 sweeps train into /mnt/results: other, s; name one"):
            Cluster(there).current(_ROOT)
        assert Cluster(there).current(_ROOT, "s").id == "s-1"


@contextmanager
def raylet(address: str, folder: str) -> Iterator[None]:
    """What a node of Ray looks like from outside."""
    command = ["/somewhere/raylet", "-c", "input()", f"--raylet_socket_name={folder}/s", f"--gcs-address={address}"]
    process = subprocess.Popen(command, executable=sys.executable, stdin=subprocess.PIPE)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # Popen returns before the kernel has set it
        time.sleep(0.001)
    try:
        yield
    finally:
        process.communicate(b"\n")


def test_auto_is_the_cluster_of_this_machine_and_never_the_ray_of_a_launch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    before = clusters_here()  # what other tests run meanwhile
    with raylet("127.0.0.1:7001", "/tmp/monosweep-abc"):
        assert clusters_here() - before == set()
        with raylet("127.0.0.1:7002", "/tmp/ray"):
            assert clusters_here() - before == {"127.0.0.1:7002"}
            monkeypatch.setattr(addresses, "clusters_here", lambda: clusters_here() - before)
            assert resolved("auto") == "127.0.0.1:7002"
            with raylet("127.0.0.1:7003", "/tmp/ray"):
                with pytest.raises(ConfigError, match=r"belongs to 2: \S+:7002, \S+:7003; name one"):
                    resolved("auto")
                (tmp_path / "ray").mkdir()
                (tmp_path / "ray/ray_current_cluster").write_text("127.0.0.1:7003")
                assert resolved("auto") == "127.0.0.1:7003"
                monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
                assert (resolved("auto"), resolved("127.0.0.1:7002")) == ("10.0.0.1:6379", "127.0.0.1:7002")
                monkeypatch.delenv("RAY_ADDRESS")
        with pytest.raises(ConfigError, match="this machine, which belongs to none; start one with ray start --head"):
            resolved("auto")
