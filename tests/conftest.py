"""Every test checks the shapes and types that model/ states in its annotations."""

from jaxtyping import install_import_hook

TYPED = (
    "device", "device_copies", "device_fused", "device_products", "device_samples", "device_stream", "features",
    "graph", "lamb", "layout", "metrics", "network", "packed", "philox", "schedule", "solo", "stacked", "stacked_step",
    "train",
)  # fmt: skip
install_import_hook([f"model.{name}" for name in TYPED], "beartype.beartype")
