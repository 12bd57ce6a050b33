"""Elhage et al., *Toy Models of Superposition* (Transformer Circuits, 2022)."""
