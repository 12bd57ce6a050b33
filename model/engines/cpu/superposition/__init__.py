"""Models of superposition at the cost of the features that are present."""
