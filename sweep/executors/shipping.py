"""What travels to a cluster: the sources of this very version, a spec, and settings that are no secret.

    bundled(spec) -> folder -> Ray's runtime environment -> every node's sys.path

Nothing of the user's own folder goes along but the families that the spec names.  Torch- and ray-free.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monosweep.model.config import ConfigError
from monosweep.sweep.text import without_secrets
from monosweep.sweep.version import HERE, commit_here, release

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Read by Ray, Tune and their processes: quiet, nothing phoned home, no second set of logs.
Ctrl-C is ours: Tune's handler would wait for every pack's current step."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""For the processes that train."""
JOB = "MONOSWEEP_JOB"
"""The environment variable that tells a submitted driver and its workers the id of their Ray job."""
SPEC = "spec.json"
_PACKAGES = ("model", "sweep", "analysis")
_SHARED = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Where the storage is.  Who may use it never travels: Ray shows a job's environment to all its users."""
_NONE: Mapping[str, str] = {}
_SCRAP = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


@contextmanager
def bundled(spec: str | None = None, files: Mapping[str, str] = _NONE) -> Iterator[Path]:
    """A folder with all of `monosweep` and, as spec.json, `spec` beside the files that it names; goes with the block.

    Nodes have it before their own packages on the path, and `monosweep` is a namespace, so that each package is
    found here first, whatever a node has installed.
    """
    with tempfile.TemporaryDirectory(prefix="monosweep-bundle-") as name:
        folder = Path(name)
        for package in _PACKAGES:
            shutil.copytree(HERE / package, folder / "monosweep" / package, ignore=_SCRAP)
        _name_version(folder)
        if spec is not None:
            (folder / SPEC).write_text(spec)
        for file, text in files.items():
            (folder / file).write_text(text)
        yield folder


def runtime_env(folder: Path, **variables: str) -> dict[str, Any]:
    """Ray's runtime environment of a bundle; `variables` join those of its processes."""
    found = {name: os.environ[name] for name in _SHARED if name in os.environ}
    shared = {name: value for name, value in found.items() if without_secrets(value) == value}
    return {"working_dir": str(folder), "env_vars": {**QUIET, **ONE_THREAD, **shared, **variables}}


@contextmanager
def lent(variables: Mapping[str, str], *, over: bool = False) -> Iterator[None]:
    """These environment variables for a while; those that the user has set stay as they are, unless `over`."""
    ours = {name: value for name, value in variables.items() if over or name not in os.environ}
    before = {name: os.environ[name] for name in ours if name in os.environ}
    os.environ |= ours
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        os.environ |= before


def check_root(root: str) -> None:
    """Whether every node can understand `root`, and none of its secrets is shown.

    Raises:
        ConfigError: if it is a relative folder, or a URI with a password.
    """
    if without_secrets(root) != root:
        raise ConfigError(
            f"--out must name no password on a cluster, where Ray shows it to every user; got "
            f"{without_secrets(root)}; let the nodes have the credentials (an instance profile, or AWS_… where "
            f"ray start runs)"
        )
    if "://" not in root and not root.startswith("/"):
        raise ConfigError(
            f"--out must mean the same on every node: s3://bucket/folder, or the full path of a shared mount; "
            f"got {root!r}"
        )


def needs_token(address: str) -> str:
    """What to tell whom a cluster does not let in."""
    return (
        f"the cluster at {address} lets in who has its token; set RAY_AUTH_MODE=token and put the token of the "
        f"head's ~/.ray/auth_token into yours, or into RAY_AUTH_TOKEN"
    )


def _name_version(folder: Path) -> None:
    """What `importlib.metadata` reads on the nodes, for the column `code_version`: no git is there to ask."""
    known, commit = release(), commit_here()
    if commit:
        known = f"{known.partition('+')[0]}+{commit}"
    about = folder / f"monosweep-{known}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: monosweep\nVersion: {known}\n")
