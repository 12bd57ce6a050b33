"""Fixed maps between features and the few dimensions that a network reads: pure functions of a seed."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.data.random import generator


def orthonormal_map(seed: int, purpose: str, n_features: int, d_embed: int) -> Float[Tensor, "d_embed n_features"]:
    """Thin SVD of a Gaussian (N, d) matrix, U kept, rows normalised, transposed; columns have length 1; float64
    (Jermyn et al., section 2)."""
    gaussian = np.random.Generator(generator(seed, purpose)).standard_normal((n_features, d_embed))
    u = torch.linalg.svd(torch.from_numpy(gaussian), full_matrices=False).U
    # A singular vector's sign is the library's choice; fixing it lets another machine draw the same P.
    u = u * torch.where(u.sum(dim=0) < 0, -1.0, 1.0)
    rows: Tensor = u / torch.linalg.vector_norm(u, dim=1, keepdim=True)
    return rows.T.contiguous()
