"""What of Ray is private: all names that we use which a release of Ray may change, and what each is for.

    own_ray, connect, tune -> here -> ray

Two are about safety, and a Ray that lacks them is refused: servers that listen on loopback alone (`on_loopback`), and
workers that are sent no keys (`nothing_forwarded`).  Without the others Ray is slower or says less.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import ray
from ray import _raylet
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.grpc_utils import init_grpc_channel
from ray._private.node import Node
from ray.tune.execution import class_cache

from monosweep.model.config import UserError

ALLOWED = ">=2.52,<2.61"
"""The releases of Ray on which the tests are run (`make test-ray`), as in pyproject.toml."""
_NO_PROXY = (("grpc.enable_http_proxy", 0),)
"""As all of Ray's own channels."""
_SAYS = "print_to_stdstream"
_NOBODY = b"127.0.0.1:0"


class RayError(UserError):
    """A Ray that cannot be had as it must be."""


# -- safety


@contextmanager
def on_loopback() -> Iterator[None]:
    """All servers of a Ray that starts meanwhile listen on 127.0.0.1.

    What Ray does on Windows and macOS.  Its public argument for an address takes the machine's outward one instead of
    127.0.0.1.

    Raises:
        RayError: if this Ray does not know of it.
    """
    with _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False, "keeps Ray on loopback"):
        yield


@contextmanager
def nothing_forwarded() -> Iterator[None]:
    """Tune's workers have the environment that every process here or of the job has.

    Tune would give them one with a variable for Lightning and with the driver's AWS keys: the workers that wait already
    could not be used, and Ray would show the keys to all its users.  There is no public setting.

    Raises:
        RayError: if this Ray does not know of it.
    """
    why = "keeps AWS keys from all users of a cluster"
    with (
        _replaced(class_cache, "DEFAULT_ENV_VARS", {}, why),
        _replaced(class_cache, "ENV_VARS_TO_PROPAGATE", set(), why),
    ):
        yield


def read_token_again() -> None:
    """Ray reads `RAY_AUTH_MODE` and the token once; a process that has had another cluster would go on with its own."""
    _raylet.AuthenticationTokenLoader.instance().reset_cache()
    _raylet.Config.initialize("")


# -- speed and words


@contextmanager
def lean() -> Iterator[None]:
    """A head without autoscaler (there is one node), log monitor (logs stay where they are) and dashboard.

    `ray.init` has no settings for them.  They are half of what Ray takes to start and most of what it takes to end.
    """
    instead = {"start_monitor": _nothing, "start_log_monitor": _nothing, "start_api_server": _no_dashboard}
    with ExitStack() as stack:
        for name, function in instead.items():
            if hasattr(Node, name):
                stack.enter_context(_replaced(Node, name, function, "saves a process"))
        yield


def _nothing(node: Node) -> None:
    """Instead of a process."""


def _no_dashboard(node: Node, **options: Any) -> None:
    """Ray's agent would look for the dashboard's address every second, and log each time that there is none."""
    namespace = ray_constants.KV_NAMESPACE_DASHBOARD
    node.get_gcs_client().internal_kv_put(ray_constants.DASHBOARD_ADDRESS.encode(), _NOBODY, True, namespace)


@contextmanager
def words_to_stderr() -> Iterator[None]:
    """What Ray says of its processes, such as "(raylet) A worker died", is no output of ours.

    Its setting `log_to_driver` is about workers' words alone.
    """
    if not hasattr(ray_worker, _SAYS):
        yield
        return
    says = getattr(ray_worker, _SAYS)

    def to_stderr(data: dict[str, Any], *given: Any, **options: Any) -> None:
        says({**data, "is_err": True}, *given, **options)

    with _replaced(ray_worker, _SAYS, to_stderr, "keeps Ray's words apart"):
        yield


def dead_process() -> str | None:
    """Which process the Ray that we have started has lost; those of a cluster are its own business.

    Ray itself ends the driver's process a while after, with its own words.
    """
    started = ray_worker._global_node.all_processes
    for kind, name in (("raylet", "raylet"), ("gcs_server", "control service (GCS)")):
        if any(process.process.poll() is not None for process in started.get(kind, [])):
            return name
    return None


def takes_our_token(address: str, timeout_s: float) -> bool:
    """Whether the GCS there lets us in.  Ray itself tries a wrong token for twenty seconds, and says so in each."""
    ask = init_grpc_channel(address, _NO_PROXY).unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
    try:
        ask(b"", timeout=timeout_s)
    except grpc.RpcError as error:
        return bool(error.code() != grpc.StatusCode.UNAUTHENTICATED)
    return True


@contextmanager
def _replaced(owner: Any, name: str, value: Any, why: str) -> Iterator[None]:
    """Another value for a while."""
    if not hasattr(owner, name):
        raise RayError(
            f"a launch on Ray needs a release with {owner.__name__}.{name}, which {why}; got {ray.__version__}; "
            f"pip install 'ray[default,tune]{ALLOWED}', or launch with --executor inline"
        )
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
