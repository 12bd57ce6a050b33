"""Every test checks the shapes and types that model/ states in its annotations."""

import signal
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background; Ctrl-C is tested all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)

TYPED = (
    "data.embedding", "data.random", "data.stream", "device", "engines.cpu.engine", "engines.cpu.member",
    "engines.cpu.samples", "engines.cpu.step", "engines.gpu.copies", "engines.gpu.elementwise", "engines.gpu.engine",
    "engines.gpu.graph", "engines.gpu.layout", "engines.gpu.products", "engines.gpu.samples", "engines.gpu.sampling",
    "engines.gpu.step", "engines.solo", "engines.vmapped", "families.two_layer.decay", "families.two_layer.metrics",
    "families.two_layer.network", "families.two_layer.samples", "families.two_layer.weights", "losses", "member",
    "precision", "schedule", "train",
)  # fmt: skip
install_import_hook([f"monosweep.model.{name}" for name in TYPED], "beartype.beartype")

SLOWEST = (
    "sweep/test_crash.py", "sweep/test_faults.py", "chaos/test_chaos.py", "cluster/test_node_loss.py",
    "sweep/test_drive.py", "test_one_name.py", "sweep/test_streams.py", "sweep/search/test_sweep.py",
    "sweep/search/test_adaptive.py", "sweep/executors/test_own_ray.py", "test_readme.py", "model/test_memory.py",
    "sweep/test_own_family.py", "sweep/test_environment.py", "sweep/test_told_to_go.py", "model/test_packs.py",
    "benchmarks/test_contenders.py", "model/engines/cpu/test_bits.py", "model/engines/test_engines.py",
)  # fmt: skip
"""Files that take half a minute or more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files come first, so that no process of pytest works long after the others."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
