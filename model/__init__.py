"""The science: one trial or one pack of trials, trained here.  Imports torch, never ray, sweep or analysis."""
