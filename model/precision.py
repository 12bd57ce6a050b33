"""What the knob `precision` means for what is kept in memory; the products are rounded by the engines."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "fp64": torch.float64, "bf16": torch.float32, "tf32": torch.float32}
"""Type of parameters, moments and element-wise arithmetic by `precision`."""
