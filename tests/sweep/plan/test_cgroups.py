"""Quotas and limits of control groups: real ones where they can be made, and what other machines show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from monosweep.sweep.plan import cgroups

_ROOT = Path("/sys/fs/cgroup")
_ASKED = "from monosweep.sweep.plan.machine import *; print(n_cores(), free_memory(), total_memory('cpu'))"
_GIB = 2**30


@contextmanager
def nested(hierarchy: Path, limits: Mapping[str, int | str]) -> Iterator[Path]:
    """A group without limits inside one that has them."""
    outer = hierarchy / f"monosweep-test-{os.getpid()}"
    made = [outer, outer / "inner"]
    try:
        for folder in made:
            folder.mkdir()
        for name, value in limits.items():
            (outer / name).write_text(str(value))
        yield made[-1]
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    finally:
        for folder in reversed(made):
            if folder.exists():
                folder.rmdir()


def test_a_group_around_this_one_limits_cores_and_memory() -> None:
    with ExitStack() as groups:
        if (_ROOT / "cgroup.controllers").exists():
            limits: dict[str, int | str] = {"cpu.max": "50000 100000", "memory.max": _GIB}
            inside = [groups.enter_context(nested(_ROOT, limits))]
        else:
            cpu = groups.enter_context(nested(_ROOT / "cpu", {"cpu.cfs_quota_us": 50_000}))
            inside = [cpu, groups.enter_context(nested(_ROOT / "memory", {"memory.limit_in_bytes": _GIB}))]
        enter = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in inside)
        command = ["sh", "-c", f'{enter}; exec "$0" -c "$1"', sys.executable, _ASKED]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "1"
    assert _GIB / 2 < int(said[1]) < int(said[2]) == _GIB


def process(folder: Path, groups: str, mounts: str, files: Mapping[str, str]) -> Path:
    """A folder as of /proc/self; `ROOT` in `mounts` stands for where `files` are."""
    (here := folder / "self").mkdir()
    (here / "cgroup").write_text(groups)
    (here / "mountinfo").write_text(mounts.replace("ROOT", str(folder / "sys")))
    for name, text in files.items():
        (path := folder / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return here


_SECOND = "31 23 0:28 / ROOT rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cores", "free"),
    [
        pytest.param(
            "0::/user.slice/job\n", _SECOND,
            {
                "user.slice/cpu.max": "150000 100000", "user.slice/job/cpu.max": "max 100000",
                "user.slice/job/memory.max": "max", "user.slice/memory.max": "1000", "user.slice/memory.current": "600",
                "user.slice/memory.stat": "anon 100\ninactive_file 250\n",
            }, 1.5, 650, id="v2-nested",
        ),
        pytest.param(
            "0::/\n", _SECOND, {"cpu.max": "200000 100000", "memory.high": "900", "memory.current": "1000"}, 2, 0,
            id="v2-in-a-container",
        ),
        pytest.param(
            "0::/../../elsewhere\n", _SECOND, {"cpu.max": "50000 100000"}, 0.5, None, id="v2-of-another-namespace",
        ),
        pytest.param(
            "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n",
            "32 31 0:29 /docker/abc ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
            "33 31 0:30 /docker/abc ROOT/memory rw - cgroup cgroup rw,memory\n",
            {
                "cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "5000", "memory/memory.usage_in_bytes": "4000",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 500\n",
            }, 3, 1500, id="v1-docker",
        ),
        pytest.param(
            "5:memory:/slurm/uid_1/job_2/step_0\n4:cpu:/slurm\n",
            "32 31 0:29 / ROOT/cpu rw - cgroup cgroup rw,cpu\n33 31 0:30 / ROOT/memory rw - cgroup cgroup rw,memory\n",
            {
                "cpu/slurm/cpu.cfs_quota_us": "-1", "cpu/slurm/cpu.cfs_period_us": "100000",
                "memory/slurm/uid_1/job_2/memory.limit_in_bytes": "800",
                "memory/slurm/uid_1/job_2/memory.usage_in_bytes": "100",
                "memory/slurm/uid_1/job_2/step_0/memory.limit_in_bytes": str(2**63 - 4096),
                "memory/slurm/uid_1/job_2/step_0/memory.usage_in_bytes": "50",
            }, None, 700, id="v1-slurm",
        ),
        pytest.param("", "", {}, None, None, id="none"),
    ],
)  # fmt: skip
def test_groups_of_other_machines(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], cores: float | None, free: int | None
) -> None:
    here = process(tmp_path, groups, mounts, files)
    assert (cgroups.cores(here), cgroups.free_memory(here)) == (cores, free)
    limit = cgroups.memory_limit(here)
    assert (limit is None) == (free is None) and (limit or 0) >= (free or 0)


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert (cgroups.cores(tmp_path), cgroups.free_memory(tmp_path)) == (None, None)
