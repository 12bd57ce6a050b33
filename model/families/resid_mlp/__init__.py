"""The residual MLP of Braun et al. (2025) for compressed computation, with the knob of its refutation."""
