"""Which packs a launch trains."""
