"""Schindler and Jermyn (2020), *Algorithms for Tensor Network Contraction Ordering*."""
