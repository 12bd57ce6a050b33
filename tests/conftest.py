"""Every test checks the shapes and types that model/ states in its annotations."""

import signal

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
