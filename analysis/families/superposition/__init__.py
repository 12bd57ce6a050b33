"""What is read of models of superposition alone."""
