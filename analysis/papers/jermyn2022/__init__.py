"""Jermyn, Schiefer and Hubinger, Engineering Monosemanticity in Toy Models (arXiv 2211.09169)."""
