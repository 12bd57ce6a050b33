"""The plain contender: what a user writes with Ray Tune and nothing else.

One function trainable per trial, `nn.Module`, autograd, `torch_optimizer.Lamb`, dense samples, one CPU each.
It keeps the losses as tensors until its end, which is kinder to it than the usual `.item()` a step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import ray
import torch
import torch_optimizer
from ray import tune
from torch import nn

from contenders.sample import CHECKED_RATES, Case, Losses, Sample, Turn, windowed
from monosweep.model.bench.shapes import Shape, shape_named
from monosweep.sweep.executors.connect import Cluster, connected


class ToyModel(nn.Module):
    """y = L2 relu(L1 x + b)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder = nn.Linear(shape.d_embed, shape.n_neurons)
        self.decoder = nn.Linear(shape.n_neurons, shape.n_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, d_embed) to (batch, n_features)."""
        return self.decoder(torch.relu(self.encoder(x)))


def train(config: dict[str, Any]) -> None:
    """The trainable: one trial; reports its losses and the seconds of its steps but the first."""
    shape = shape_named(config["shape"])
    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    model, embedding = ToyModel(shape), _embedding(shape)
    optimizer = torch_optimizer.Lamb(model.parameters(), lr=config["lr"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=512)
    losses = []
    for step in range(config["n_steps"]):
        if step == 1:
            start = time.perf_counter()
        f = torch.rand(shape.batch_size, shape.n_features)
        f *= torch.rand(shape.batch_size, shape.n_features) < shape.feature_prob
        loss = ((model(f @ embedding) - f) ** 2).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    seconds = time.perf_counter() - start
    tune.report({"seconds": seconds, "trace": torch.stack(losses).double().numpy()})


def _embedding(shape: Shape) -> torch.Tensor:
    u = torch.linalg.svd(torch.randn(shape.n_features, shape.d_embed), full_matrices=False).U
    return u / u.norm(dim=1, keepdim=True)


def turn(cases: Sequence[Case], n_workers: int, seed: int, cluster: Cluster | None = None) -> Turn:
    """All cases in one Tune session; trials of equal shape train side by side.

    It starts a Ray of its own, unless `cluster` is connected.
    """
    start = time.perf_counter()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it
    with connected(None, n_workers) if cluster is None else nullcontext(cluster) as connected_to:
        results = tune.Tuner(
            tune.with_resources(_trainable, {"cpu": 1}),
            param_space={"trial": tune.grid_search([t for case in cases for t in _trials(case, seed)])},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=n_workers),
            run_config=tune.RunConfig(storage_path=str(connected_to.scratch / "plain"), verbose=0),
        ).fit()
        metrics = [result.metrics for result in results]
    wall_s = time.perf_counter() - start
    busy_s = sum(m["seconds"] for m in metrics) / n_workers
    return Turn(samples=tuple(_sample(case, metrics, n_workers) for case in cases), startup_s=wall_s - busy_s)


def _trainable(config: dict[str, Any]) -> None:
    train(config["trial"])


def _trials(case: Case, seed: int) -> list[dict[str, Any]]:
    about = {"shape": case.shape.name, "n_steps": case.n_steps}
    return [{**about, "lr": CHECKED_RATES[i % 2], "seed": seed + i} for i in range(case.n_plain)]


def _sample(case: Case, metrics: Sequence[dict[str, Any]], n_workers: int) -> Sample:
    of_case = [m for m in metrics if m["config"]["trial"]["shape"] == case.shape.name]
    seconds, steps = sum(m["seconds"] for m in of_case), len(of_case) * (case.n_steps - 1)
    return Sample(
        contender="plain", shape=case.shape.name, step_ms=1e3 * seconds / (n_workers * steps),
        losses=_losses(case, of_case),
    )  # fmt: skip


def _losses(case: Case, metrics: Sequence[dict[str, Any]]) -> Losses:
    trial = case.shape.trials(1, case.n_steps)[0]
    losses: dict[tuple[float, int], list[float]] = {}
    for m in metrics:
        for step in case.loss_steps:
            key = m["config"]["trial"]["lr"], step
            losses.setdefault(key, []).append(windowed(trial, m["trace"], step))
    return losses
