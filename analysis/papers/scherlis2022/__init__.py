"""Scherlis et al., *Polysemanticity and Capacity in Neural Networks* (arXiv 2210.01892)."""
