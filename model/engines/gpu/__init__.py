"""Packs on one NVIDIA GPU: steps of a whole pack in CUDA graphs, samples drawn where they are used."""
