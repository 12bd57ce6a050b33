"""Every test checks the shapes and types that model/ states in its annotations."""

from jaxtyping import install_import_hook

TYPED = ("device", "features", "lamb", "layout", "metrics", "network", "packed", "schedule", "solo", "stacked", "train")
install_import_hook([f"model.{name}" for name in TYPED], "beartype.beartype")
