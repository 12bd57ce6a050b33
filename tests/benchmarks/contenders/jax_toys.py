"""The peer in JAX for models of superposition: `vmap` over trials, `scan` over steps, `jit`; prints what a step takes.

Samples are dense, from one uniform draw u a cell: present where u < p, with strength u / p.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def start(size: dict[str, Any], key: Any) -> Any:
    """W and biases, and Adam's moments."""
    n, m = size["n_features"], size["d_hidden"]
    params = {"w": jax.random.normal(jax.random.fold_in(key, 1), (m, n)) * (2 / (m + n)) ** 0.5, "bias": jnp.zeros(n)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    return params, zeros, zeros


def loss(params: Any, x: Any) -> Any:
    """Σ (x - x̂)², mean over the batch."""
    answer = jax.nn.relu(x @ params["w"].T @ params["w"] + params["bias"])
    return jnp.sum((answer - x) ** 2) / len(x)


def step(size: dict[str, Any], key: Any, state: Any, count: Any) -> Any:
    """One of one trial."""
    params, first, second = state
    u = jax.random.uniform(jax.random.fold_in(key, count), (size["batch_size"], size["n_features"]))
    x = jnp.where(u < size["feature_prob"], u / size["feature_prob"], 0)
    value, grads = jax.value_and_grad(loss)(params, x)
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
    now = count + 1.0

    def moved(p: Any, m: Any, v: Any) -> Any:
        return p - LR * (m / (1 - BETA1**now)) / (jnp.sqrt(v / (1 - BETA2**now)) + EPS)

    return (jax.tree.map(moved, params, first, second), first, second), value


def main() -> None:
    """Arguments as JSON: a size, trials, steps a call, calls."""
    size, n_trials, n_steps, calls = json.loads(sys.argv[1])
    keys = jax.vmap(jax.random.key)(jnp.arange(n_trials))
    state = jax.vmap(partial(start, size))(keys)

    def advance(state: Any, first: Any) -> Any:
        return jax.lax.scan(
            lambda state, count: jax.vmap(partial(step, size), in_axes=(0, 0, None))(keys, state, count),
            state, first + jnp.arange(n_steps),
        )  # fmt: skip

    run = jax.jit(advance, donate_argnums=0).lower(state, jnp.array(0)).compile()
    begin = time.perf_counter()
    for call in range(calls):
        state, losses = run(state, jnp.array(call * n_steps))
        losses.block_until_ready()
    seconds = time.perf_counter() - begin
    last = losses[-max(1, n_steps * calls // 8) :]
    print(json.dumps([1e6 * seconds / (n_trials * n_steps * calls), float(last.mean())]))


if __name__ == "__main__":
    main()
