"""Update rules for a tile of stacked trials, each held to the optimizer that the solo engine uses.

    Lamb            as `torch_optimizer.Lamb` 0.3.0 does it with its defaults
    Adam, AdamW     as `torch.optim` does them (Kingma and Ba 2015; Loshchilov and Hutter 2019: decoupled decay)
    SGD             as `torch.optim` does it, with momentum and without dampening

LAMB, per trial and per tensor: m and v are running moments without bias correction, u = m / (√v + eps), and the
step is lr · min(‖p‖, 10) / ‖u‖ · u, with factor 1 when either norm is 0 (paper, section 2; You et al. 2020,
version 3).  No norm ever runs over two trials.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.config import Meanings

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of the running moments of each tensor."""
STATES = Meanings("optimizer", {"Lamb": MOMENTS, "Adam": MOMENTS, "AdamW": MOMENTS, "SGD": ("momentum_buffer",)})
"""What an optimizer keeps of each tensor, all zero before the first step."""
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


def update(
    optimizer: str,
    params: Float[Tensor, "tile n_params"],
    grads: Float[Tensor, "tile n_params"],
    states: Mapping[str, Float[Tensor, "tile n_params"]],
    lr: Float[Tensor, " tile"],
    knobs: Mapping[str, Float[Tensor, " tile"]],
    steps: Float[Tensor, " tile"],
) -> None:
    """One step of one tensor of every trial; `params` and `states` change in place, `grads` may.

    Args:
        optimizer: one of `config.OPTIMIZERS`.
        states: by the names that `STATES` gives.
        knobs: the optimizer's, of each trial.
        steps: which step of its trial this is, from 1, in double precision.
    """
    first, second = (states[name] for name in (STATES[optimizer] * 2)[:2])  # SGD has but one
    if optimizer == "Lamb":
        lamb_step(params, grads, first, second, torch.empty_like(params), (slice(None),), lr)
    elif optimizer == "SGD":
        _sgd_step(params, grads, first, lr, knobs)
    else:
        _adam_step(params, grads, first, second, lr, knobs, steps, decoupled=optimizer == "AdamW")


def _adam_step(
    params: Tensor, grads: Tensor, exp_avg: Tensor, exp_avg_sq: Tensor, lr: Tensor, knobs: Mapping[str, Tensor],
    steps: Tensor, *, decoupled: bool,
) -> None:  # fmt: skip
    decay, beta1, beta2, eps = (knobs[name].unsqueeze(1) for name in ("weight_decay", "beta1", "beta2", "eps"))
    if decoupled:
        params.mul_(1 - lr.unsqueeze(1) * decay)
    else:
        grads = torch.addcmul(grads, params, decay)
    exp_avg.lerp_(grads, 1 - beta1)
    exp_avg_sq.mul_(beta2).addcmul_(grads, grads * (1 - beta2))
    first, second = (1 - knobs[name].double().pow(steps) for name in ("beta1", "beta2"))
    root = exp_avg_sq.sqrt().div_(second.sqrt().to(params.dtype).unsqueeze(1)).add_(eps)
    params.addcmul_(exp_avg.div(root), (lr / first.to(params.dtype)).unsqueeze(1), value=-1)


def _sgd_step(params: Tensor, grads: Tensor, buffer: Tensor, lr: Tensor, knobs: Mapping[str, Tensor]) -> None:
    grads = torch.addcmul(grads, params, knobs["weight_decay"].unsqueeze(1))
    buffer.mul_(knobs["momentum"].unsqueeze(1)).add_(grads)
    params.addcmul_(buffer, lr.unsqueeze(1), value=-1)
