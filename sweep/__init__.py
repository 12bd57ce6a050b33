"""Sweeps: specs into trials, trials into packs, packs onto workers, rows into Parquet."""
