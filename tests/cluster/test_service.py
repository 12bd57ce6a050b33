"""From nothing to a sweep on two machines, with the README's four commands; then followed, stopped, resumed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodes import Node, network
from processes import Driver, command_line, is_training
from same_tables import assert_same

_BIN = Path(sys.executable).parent
_README = (Path(__file__).parents[2] / "README.md").read_text()
_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 100000}
space: {lr: {grid: [0.003, 0.03]}}
repeats: 2
pack_size: 2
"""
_SECRET = "never-to-be-shown"
_WAIT_S = 120.0
_DASHBOARD = "http://127.0.0.1:8265"


_OWN_DISK = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$RAY_TMPDIR" && exec "$@"')
"""Ray's nodes of one session have their files under the same path; two that share them delete each other's."""


class Machine:
    """A node on which a person types commands, with a disk of its own for Ray."""

    def __init__(self, node: Node, **settings: str) -> None:
        self.node, self._disk, shared = node, node.folder / node.name, node.folder / "ray"
        self._environment = {
            **os.environ, "HOME": str(node.folder), "RAY_TMPDIR": str(shared),
            "PATH": f"{_BIN}:{os.environ['PATH']}", **settings,
        }  # fmt: skip
        self._disk.mkdir()
        shared.mkdir(exist_ok=True)

    def type(self, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; daemons may stay behind, so its words go through files."""
        said = self.node.folder / f"{self.node.name}-{time.monotonic_ns()}"
        with said.open("w") as words:
            status = subprocess.run(
                [*self.node.inside, *_OWN_DISK, str(self._disk), *command], stdin=subprocess.DEVNULL, stdout=words,
                stderr=words, cwd=self.node.folder, env={**self._environment, **settings}, timeout=_WAIT_S,
            ).returncode  # fmt: skip
        return subprocess.CompletedProcess(command, status, said.read_text())

    def logs(self) -> list[Path]:
        """What Ray has written on this machine."""
        return list(self._disk.glob("ray/session_*/logs/**/*"))


def four_commands() -> list[list[str]]:
    """The README's block that begins with the token."""
    (block,) = re.findall(r"^```sh\n(ray get-auth-token.*?)^```", _README, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.fixture
def machines(short_folder: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines; who starts Ray on them has a secret in the environment."""
    with network(short_folder / "n") as net:
        settings = {"AWS_SECRET_ACCESS_KEY": _SECRET, "AWS_ACCESS_KEY_ID": _SECRET}
        yield Machine(net.node("head"), **settings), Machine(net.node("worker"), **settings)


def start(machines: tuple[Machine, Machine], spec: Path, out: Path, n_commands: int) -> str:
    """Type the first of the README's four commands; returns what the last one says."""
    head, worker = machines
    words = {"HEAD:6379": f"{head.node.address}:6379", "quick": str(spec), "s3://BUCKET/results": str(out)}
    said = ""
    for place, command in [*zip((head, head, worker, head), four_commands(), strict=True)][:n_commands]:
        typed = [re.sub("HEAD:6379|^quick$|s3://BUCKET/results", lambda word: words[word[0]], part) for part in command]
        done = place.type("env", *typed)
        assert done.returncode == 0, done.stdout
        assert "--head" not in command or "Usage stats collection is disabled" in done.stdout
        said = done.stdout
    return said


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Four trials in two packs of many seconds, so that there is something to stop."""
    path = tmp_path / "small.yaml"
    path.write_text(_SPEC)
    return path


@pytest.mark.long
def test_from_nothing_to_a_sweep_on_two_machines(machines: tuple[Machine, Machine], spec: Path, tmp_path: Path) -> None:
    (head, worker), out = machines, tmp_path / "out"
    undisturbed = Driver(spec, tmp_path / "undisturbed", "--executor", "inline")
    assert f"{out} small --address {_DASHBOARD} --follow" in start(machines, spec, out, 4)
    _wait(lambda: _training(worker))
    _is_driven_once(head, spec, out)
    _a_worker_that_is_told_to_go_checkpoints(worker, out)
    _stops_and_goes_on(head, out)
    followed = _monosweep(head, "logs", str(out), "small", "--follow")
    assert (followed.returncode, followed.stdout.splitlines()[-1][-10:]) == (0, " SUCCEEDED"), followed.stdout
    assert "go on from their checkpoints" in followed.stdout and "starts over" not in followed.stdout
    again = _monosweep(head, "resume", str(out))
    assert (again.returncode, again.stdout) == (0, "nothing to resume: all 4 trials of small have their rows\n")
    assert undisturbed.finish(_WAIT_S) == 0, undisturbed.said()
    assert_same(out, undisturbed.out)
    _nothing_is_shown(machines, out, followed.stdout)


@pytest.mark.long
def test_nobody_gets_in_without_the_token(machines: tuple[Machine, Machine], spec: Path, tmp_path: Path) -> None:
    """One line and status 2 for every verb, whether the token is wrong, lost, or not even asked for."""
    (head, worker), out, nowhere = machines, tmp_path / "out", tmp_path / "home"
    nowhere.mkdir()
    start(machines, spec, out, 3)
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    lost, unaware = {"RAY_AUTH_MODE": "token", "HOME": str(nowhere)}, {"HOME": str(nowhere)}
    submit, launch = ("submit", str(spec), "--out", str(out)), ("launch", str(spec), "--out", str(out), "--address")
    tried = [(verb, who) for verb in (submit, ("logs", str(out)), ("stop", str(out))) for who in (wrong, lost, unaware)]
    gcs = f"{head.node.address}:6379"
    for verb, who in [*tried, ((*launch, gcs), lost), ((*launch, gcs), wrong), ((*launch, gcs), unaware)]:
        done = head.type(str(_BIN / "monosweep"), *verb, **who)
        assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stdout
        assert "lets in who has its token" in done.stdout, done.stdout
    assert list(out.glob("trials/*/*")) == []
    knock = worker.type("curl", "-sS", "--max-time", "10", f"http://{head.node.address}:8265/")
    assert "Could" in knock.stdout and "connect" in knock.stdout, knock.stdout


def _is_driven_once(head: Machine, spec: Path, out: Path) -> None:
    twice = _monosweep(head, "submit", str(spec), "--out", str(out))
    assert (twice.returncode, twice.stdout.count("\n")) == (2, 1), twice.stdout
    assert re.search("a sweep is trained once at a time; .*small-[0-9a-f]{8}", twice.stdout)


def _a_worker_that_is_told_to_go_checkpoints(worker: Machine, out: Path) -> None:
    (pid, *_) = _wait(lambda: _training(worker))
    os.kill(pid, signal.SIGTERM)
    _wait(lambda: not command_line(pid))
    assert list(out.glob("checkpoints/*/*.safetensors")) or list(out.glob("trials/*/*.parquet"))


def _stops_and_goes_on(head: Machine, out: Path) -> None:
    stopped = _monosweep(head, "stop", str(out))
    assert (stopped.returncode, "STOPPED; monosweep resume" in stopped.stdout) == (0, True), stopped.stdout
    said = _monosweep(head, "logs", str(out)).stdout
    assert "(told to go)" in said and "launch the same command again to go on" in said
    assert re.search(r"small +unfinished ", _monosweep(head, "list", str(out)).stdout)
    idle = _monosweep(head, "stop", str(out))
    assert (idle.returncode, "only a running job can be stopped" in idle.stdout) == (2, True), idle.stdout
    resumed = _monosweep(head, "resume", str(out))
    assert resumed.returncode == 0 and "that small lacks as job small-" in resumed.stdout, resumed.stdout


def _nothing_is_shown(machines: tuple[Machine, Machine], out: Path, said: str) -> None:
    """The secret is in no file of the results root, in no log of Ray, and not in what Ray tells of its jobs."""
    head = machines[0]
    token = (head.node.folder / ".ray/auth_token").read_text().strip()
    listed = head.type("curl", "-sS", "--fail", "-H", f"Authorization: Bearer {token}", f"{_DASHBOARD}/api/jobs/")
    assert {job["status"] for job in json.loads(listed.stdout)} == {"STOPPED", "SUCCEEDED"}
    logs = [log for machine in machines for log in machine.logs()]
    assert len(logs) > 10
    assert _SECRET not in listed.stdout + said
    files = [path for path in (*out.rglob("*"), *logs) if path.is_file()]
    assert [path for path in files if _SECRET.encode() in path.read_bytes()] == []


def _monosweep(machine: Machine, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return machine.type(str(_BIN / "monosweep"), *command, RAY_AUTH_MODE="token", **settings)


def _training(machine: Machine) -> Sequence[int]:
    return [pid for pid in machine.node.pids() if is_training(command_line(pid))]


def _wait(happened: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _WAIT_S
    while not (result := happened()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return result
