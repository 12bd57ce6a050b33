"""A trial as a user writes it without monosweep: `nn.Module`, autograd, `torch_optimizer.Lamb`, dense samples.

It never looks at its loss, which is kinder to it than the usual `.item()` a step.
"""

from __future__ import annotations

import torch
import torch_optimizer
from torch import nn

from monosweep.model.bench.shapes import Shape


class PlainTrial:
    """One model on one device, a step at a time; fp32."""

    def __init__(self, shape: Shape, device: str, lr: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.shape, self.device = shape, device
        u = torch.linalg.svd(torch.randn(shape.n_features, shape.d_embed), full_matrices=False).U
        self.embedding = (u / u.norm(dim=1, keepdim=True)).to(device)
        self.model = nn.Sequential(
            nn.Linear(shape.d_embed, shape.n_neurons),
            nn.ReLU(),
            nn.Linear(shape.n_neurons, shape.n_features, bias=False),
        ).to(device)
        self.optimizer = torch_optimizer.Lamb(self.model.parameters(), lr=lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=512)

    def step(self) -> torch.Tensor:
        """One optimiser step; the loss before it."""
        f = torch.rand(self.shape.batch_size, self.shape.n_features, device=self.device)
        f *= torch.rand_like(f) < self.shape.feature_prob
        loss = ((self.model(f @ self.embedding) - f) ** 2).sum(dim=1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()
