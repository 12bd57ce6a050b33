"""Jermyn (2017), *Efficient Decomposition of High-Rank Tensors*."""
