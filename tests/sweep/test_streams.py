"""Whoever reads what a command says, or does not: what it does is done, its exit status is right, and no traceback."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from monosweep.sweep.store.root import Store

_COMMAND = (sys.executable, "-m", "monosweep.sweep")
_TINY = ("launch", "tiny", "--executor", "inline", "--set", "n_steps=64", "--out", "out")


def shell(line: str, folder: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which `"$@"` is the command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *_COMMAND, *argv], cwd=folder, capture_output=True, text=True, timeout=200,
        env={**os.environ, **variables},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a results root of four trials."""
    folder = tmp_path_factory.mktemp("streams")
    done = shell('"$@" >&- 2>&-', folder, *_TINY)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


def statuses(root: Path) -> list[str]:
    return [str(status) for status in Store.open(str(root)).index().statuses.values()]


def test_a_launch_without_streams_trains(folder: Path) -> None:
    """Its files do not take the numbers of the streams, where libraries write."""
    assert statuses(folder / "out") == ["completed"] * 4


@pytest.mark.parametrize("where", [">/dev/full 2>&1", "2>&1 | true"])
def test_a_launch_that_is_not_heard_is_done(where: str, folder: Path) -> None:
    name = f"out{abs(hash(where))}"
    done = shell(f'"$@" {where}; exit ${{PIPESTATUS[0]}}', folder, *_TINY[:-1], name)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert statuses(folder / name) == ["completed"] * 4


def test_output_that_is_the_product_must_be_written(folder: Path) -> None:
    done = shell('"$@" >/dev/full', folder, "query", "out", "select * from curves")
    rule = "the output must go where it can be written; standard output cannot be"
    assert (done.returncode, done.stderr) == (2, f"monosweep: {rule}: No space left on device\n")
    assert shell('"$@" >&-', folder, "status", "out").returncode == 0
    assert shell('"$@" 2>&-', folder, "status", "nowhere").returncode == 2
    many = shell('"$@" | true; exit ${PIPESTATUS[0]}', folder, "query", "out", "select * from curves, range(500)")
    assert (many.returncode, many.stderr) == (141, "")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_terminal_that_knows_ascii_alone(variables: dict[str, str], folder: Path) -> None:
    """Tables are UTF-8 wherever they go."""
    code = "from monosweep.sweep.streams import prepare; prepare(); print('ε÷…')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) in [(0, r"\u03b5\xf7\u2026"), (0, "ε÷…")], done.stderr
    done = shell('"$@"', folder, "query", "out", "select 'ε÷…' as name", **variables)
    assert (done.returncode, done.stdout.split()[-1]) == (0, "ε÷…"), done.stderr


def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = shell('cd gone; rmdir "$PWD"; "$@"', tmp_path, *_TINY)
    assert done.returncode == 2
    assert done.stderr.startswith("monosweep: a command needs a working directory; the one of this shell is gone")


def hung_up(argv: Sequence[str], out: Path) -> int:
    """The exit status of a launch whose terminal closes once a trial is committed."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    command = ["setsid", "--ctty", *_COMMAND, *argv, "--out", str(out)]
    # Whoever runs the tests may have told their processes to pass over a hang-up.
    listens = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    launch = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=out.parent, preexec_fn=listens)
    os.close(theirs)
    deadline, said = time.monotonic() + 150, b""
    while not list(out.glob("trials/*/*.parquet")):
        assert time.monotonic() < deadline and launch.poll() is None, said.decode()
        with suppress(OSError):
            said += os.read(ours, 10**6)
        time.sleep(0.05)
    os.close(ours)
    try:
        return launch.wait(60)
    finally:
        launch.kill()
        launch.wait()


_ON_RAY = ("--executor", "ray", "--workers", "2")


@pytest.mark.parametrize(
    "options",
    [pytest.param((), marks=pytest.mark.long), ("--workers", "2"), pytest.param(_ON_RAY, marks=pytest.mark.long)],
)
def test_a_terminal_that_closes_has_packs_checkpointed(options: tuple[str, ...], tmp_path: Path) -> None:
    """Packs of which one half leaves, and is committed, soon, and the other would train for hours."""
    spec = tmp_path / "s.yaml"
    spec.write_text(
        "base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64}\n"
        "space: {n_steps: {grid: [20000, 500000000]}}\nrepeats: 4\npack_size: 4\n"
    )
    out = tmp_path / "out"
    assert hung_up(("launch", str(spec), "--executor", "inline", *options), out) == 130
    assert 1 <= len(statuses(out)) <= 4 and set(statuses(out)) == {"completed"}
    assert len(list(out.glob("checkpoints/*/*"))) >= 1
