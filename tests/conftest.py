"""Every test checks the shapes and types that model/ states in its annotations."""

import signal

from jaxtyping import install_import_hook

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background; Ctrl-C is tested all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)

TYPED = (
    "device", "device_copies", "device_fused", "device_products", "device_samples", "device_stream", "features",
    "graph", "lamb", "layout", "metrics", "network", "packed", "philox", "schedule", "solo", "stacked", "stacked_step",
    "train",
)  # fmt: skip
install_import_hook([f"model.{name}" for name in TYPED], "beartype.beartype")
