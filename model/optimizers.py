"""LAMB for a tile of stacked trials, as `torch_optimizer.Lamb` 0.3.0 does it with its defaults.

Per trial and per tensor: m and v are running moments without bias correction, u = m / (√v + eps), and the
step is lr · min(‖p‖, 10) / ‖u‖ · u, with factor 1 when either norm is 0 (paper, section 2; You et al. 2020,
version 3).  No norm ever runs over two trials.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of the running moments of each tensor."""
BETA1, BETA2, EPS = 0.9, 0.999, 1e-6
NORM_CAP = 10.0


def lamb_step(
    params: Float[Tensor, "tile n_params"],
    grads: Float[Tensor, "tile n_params"],
    exp_avg: Float[Tensor, "tile n_params"],
    exp_avg_sq: Float[Tensor, "tile n_params"],
    update: Float[Tensor, "tile n_params"],
    segments: tuple[slice, ...],
    lr: Float[Tensor, " tile"],
) -> None:
    """Advance `params`, `exp_avg` and `exp_avg_sq` in place; `update` is scratch.

    Args:
        segments: where each of the network's tensors lies in a row; gaps between them must hold zeros.
        lr: this step's learning rate of each trial.
    """
    exp_avg.mul_(BETA1).add_(grads, alpha=1 - BETA1)
    exp_avg_sq.mul_(BETA2).addcmul_(grads, grads, value=1 - BETA2)
    torch.sqrt(exp_avg_sq, out=update).add_(EPS)
    torch.div(exp_avg, update, out=update)
    for segment in segments:
        p, u = params[:, segment], update[:, segment]
        p_norm = torch.linalg.vector_norm(p, dim=1).clamp_max_(NORM_CAP)
        u_norm = torch.linalg.vector_norm(u, dim=1)
        ratio = (p_norm / u_norm).masked_fill_((p_norm == 0) | (u_norm == 0), 1.0)
        p.addcmul_(u, (lr * ratio).unsqueeze(1), value=-1)
