"""The peer in JAX: the same mathematics under `vmap` over trials, `scan` over steps and `jit`, all cores.

Trials of one seed share their samples and embedding, as the packed engine's do; the seeds are a second `vmap`.
Samples are dense, from one uniform draw u a cell: present where u < ε, with strength u / ε.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy import ndarray

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.optimizers import BETA1, BETA2, EPS, NORM_CAP

Params = dict[str, Any]


class State(NamedTuple):
    """Parameters and moments; each leaf has leading dimensions (seeds, trials of a seed)."""

    params: Params
    exp_avg: Params
    exp_avg_sq: Params


class JaxPack:
    """Trials of one shape: the same learning rates for every seed.

    Args:
        configs: the rates of the first seed, then of the next; only lr and seed may differ.
        n_steps: how many steps a call trains.
    """

    def __init__(self, configs: Sequence[TwoLayerConfig], n_steps: int) -> None:
        start = time.perf_counter()
        self.n_steps, self.n_trials, self._config = n_steps, len(configs), configs[0]
        self._rates = [c.lr for c in configs if c.seed == configs[0].seed]
        self.restart(configs)
        advance = partial(_advance, self._config, n_steps, jnp.array(self._rates, jnp.float32))
        arguments = (self.state, self._data, self._embedding, jnp.array(0))
        self._advance = jax.jit(advance, donate_argnums=0).lower(*arguments).compile()
        self.compile_s = time.perf_counter() - start
        """Seconds to make this object: initial values and compilation."""

    def restart(self, configs: Sequence[TwoLayerConfig]) -> None:
        """Go back to step 0 with the same rates and, perhaps, other seeds."""
        seeds = sorted({c.seed for c in configs})
        assert [(c.seed, c.lr) for c in configs] == [(s, lr) for s in seeds for lr in self._rates]
        keys = jax.vmap(jax.random.key)(jnp.array(seeds))
        self._data = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
        self._embedding = jax.vmap(partial(_embedding, self._config))(keys)
        self.state = jax.vmap(partial(_initial, self._config, len(self._rates)))(keys)
        self.step = 0

    def advance(self) -> ndarray:
        """Train `n_steps` more; losses, (n_steps, trials) in the order of `configs`."""
        self.state, losses = self._advance(self.state, self._data, self._embedding, jnp.array(self.step))
        self.step += self.n_steps
        return np.asarray(losses).reshape(self.n_steps, self.n_trials)


def _embedding(config: TwoLayerConfig, key: Any) -> Any:
    shape = (config.n_features, config.d_embed)
    u, _, _ = jnp.linalg.svd(jax.random.normal(jax.random.fold_in(key, 2), shape), full_matrices=False)
    return u / jnp.linalg.norm(u, axis=1, keepdims=True)


def _initial(config: TwoLayerConfig, n_trials: int, key: Any) -> State:
    """Uniform ±1/√fan_in, the same for every trial of a seed; no moments yet."""
    d, k, n = config.d_embed, config.n_neurons, config.n_features
    shapes = {"w_in": ((d, k), d), "bias": ((k,), d), "w_out": ((k, n), k)}
    params = {}
    for i, (name, (shape, fan_in)) in enumerate(shapes.items()):
        one = jax.random.uniform(jax.random.fold_in(key, 3 + i), shape, minval=-1, maxval=1) / fan_in**0.5
        params[name] = jnp.broadcast_to(one + (config.bias_offset if name == "bias" else 0), (n_trials, *shape))
    zeros = jax.tree.map(jnp.zeros_like, params)
    return State(params, zeros, zeros)


def _advance(
    config: TwoLayerConfig, n_steps: int, rates: Any, state: State, keys: Any, embeddings: Any, first: Any
) -> tuple[State, Any]:
    """`n_steps` of all trials; losses (n_steps, seeds, rates)."""

    def one_step(state: State, step: Any) -> tuple[State, Any]:
        lr = rates * 0.5 * (1 + jnp.cos(jnp.pi * step / config.lr_period))
        return jax.vmap(partial(_step_of_seed, config, lr, step))(state, keys, embeddings)

    return jax.lax.scan(one_step, state, first + jnp.arange(n_steps))


def _step_of_seed(
    config: TwoLayerConfig, lr: Any, step: Any, state: State, key: Any, embedding: Any
) -> tuple[State, Any]:
    f = _samples(config, jax.random.fold_in(key, step))
    x = f @ embedding
    return jax.vmap(partial(_step, x, f))(state, lr)


def _samples(config: TwoLayerConfig, key: Any) -> Any:
    u = jax.random.uniform(key, (config.samples_per_step, config.n_features))
    return jnp.where(u < config.feature_prob, u / config.feature_prob, 0)


def _loss(params: Params, x: Any, f: Any) -> Any:
    h = jax.nn.relu(x @ params["w_in"] + params["bias"])
    return jnp.sum((h @ params["w_out"] - f) ** 2) / len(x)


def _step(x: Any, f: Any, state: State, lr: Any) -> tuple[State, Any]:
    loss, grads = jax.value_and_grad(_loss)(state.params, x, f)
    exp_avg = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, state.exp_avg, grads)
    exp_avg_sq = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, state.exp_avg_sq, grads)
    params = jax.tree.map(partial(_lamb, lr), state.params, exp_avg, exp_avg_sq)
    return State(params, exp_avg, exp_avg_sq), loss


def _lamb(lr: Any, p: Any, m: Any, v: Any) -> Any:
    update = m / (jnp.sqrt(v) + EPS)
    p_norm, u_norm = jnp.minimum(jnp.linalg.norm(p), NORM_CAP), jnp.linalg.norm(update)
    ratio = jnp.where((p_norm == 0) | (u_norm == 0), 1, p_norm / u_norm)
    return p - lr * ratio * update
