"""Where a launch's own files lie when the usual places cannot be written; in mount namespaces of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SHORT = Path("/run/ms")
_ASK = "from monosweep.sweep.executors.scratch import new_folder; print(new_folder())"
_MEMORY = "from pathlib import Path; from monosweep.sweep.executors.scratch import has_room; print(has_room({}, {}))"


def inside(mounts: str, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Python with its own view of the filesystems, which goes with it."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs root and the right to mount")
    script = f'set -e; {mounts}; exec "$@"'
    environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "XDG_RUNTIME_DIR")}
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", script, "bash", sys.executable, "-c", code], capture_output=True, text=True,
        env=environment | variables, cwd="/", timeout=300,
    )  # fmt: skip


def read_only(folder: str) -> str:
    return f"mount -t tmpfs -o ro none {folder}"


def full(folder: str) -> str:
    return f"mount -t tmpfs -o size=256k none {folder}"


def test_it_is_in_tmp_and_private() -> None:
    done = inside("mount -t tmpfs none /tmp", f"{_ASK}; import os; print(*os.popen('ls -l /tmp').read().split())")
    folder, _, _, mode, *_, name = done.stdout.split()
    assert folder == f"/tmp/{name}" and name.startswith("monosweep-") and mode == "drwx------", done.stderr


@pytest.mark.parametrize("broken", [read_only("/tmp"), full("/tmp")])
def test_tmp_that_cannot_be_written_is_done_without(broken: str) -> None:
    """What the user names comes first, then memory; and nothing is left in /tmp."""
    room = f"{broken}; mount -t tmpfs none /run; mkdir {_SHORT}; ls -A /tmp >&2"
    named = inside(room, f"{_ASK}; import os; assert not os.listdir('/tmp')", TMPDIR=str(_SHORT))
    assert named.stdout.startswith(f"{_SHORT}/monosweep-"), named.stderr
    long = inside(f"{broken}; mount -t tmpfs none /dev/shm", _ASK, TMPDIR="/run/" + 40 * "x")
    assert long.stdout.startswith("/dev/shm/monosweep-"), long.stderr


def test_no_place_at_all_is_one_line() -> None:
    nothing = "; ".join([read_only("/tmp"), read_only("/dev/shm"), full("/var/tmp")])
    done = inside(nothing, _ASK)
    last = done.stderr.splitlines()[-1]
    assert "Ray needs a folder for its sockets and logs: a path of at most " in last
    assert "/tmp cannot be written (Read-only file system), /dev/shm cannot be written (Read-only" in last
    assert "/var/tmp cannot be written (" in last and last.endswith("launch with --executor inline")


@pytest.mark.parametrize(("mount", "room"), [(read_only("/dev/shm"), False), (full("/dev/shm"), False), ("true", True)])
def test_memory_without_room_is_seen(mount: str, room: bool) -> None:
    assert inside(mount, _MEMORY.format("Path('/dev/shm')", 128 * 2**20)).stdout.strip() == str(room)
