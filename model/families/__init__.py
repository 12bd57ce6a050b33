"""Kinds of toy model, a folder each: what is trained, and what is measured of it."""
