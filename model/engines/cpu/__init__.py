"""Packs on one CPU core: the steps are compiled by numba, the products are those of the BLAS below torch."""
