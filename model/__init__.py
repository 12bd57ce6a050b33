"""The science: one trial or one pack, trained here.  Imports torch, never ray, sweep or analysis."""
