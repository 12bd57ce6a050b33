"""Random draws: which values the random knobs of a sub-space have together.  From domains to points.

`random`: a knob's i-th value is a hash of (sample_seed, knob, i) and of nothing else.  `sobol`: the points of a
scrambled Sobol sequence (SciPy's), a dimension for each random knob, so that few draws fill the space evenly; the i-th
point is a function of (sample_seed, the random knobs, i).  Either way more draws, more grid points or another sub-space
extend a sweep and leave the trials that it already has as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import Any, Literal

from monosweep.sweep.spec.domains import value_at

Sampling = Literal["random", "sobol"]
_AT_A_TIME = 1024
"""Sobol points: a power of two, as SciPy wants the first call's."""


def draws(
    domains: Mapping[str, Mapping[str, Any]], sampling: Sampling, sample_seed: int, n_draws: int
) -> Iterator[dict[str, Any]]:
    """`n_draws` points of random domains that have been checked; one empty point if there are none.

    >>> [point["l1"] for point in draws({"l1": {"uniform": [0, 1]}}, "random", 0, 2)]
    [0.500992, 0.823651]
    """
    if not domains:
        return iter([{}])
    return islice(_SAMPLERS[sampling](domains, sample_seed), n_draws)


def _random(domains: Mapping[str, Mapping[str, Any]], sample_seed: int) -> Iterator[dict[str, Any]]:
    for i in count():
        yield {knob: value_at(domain, _share(f"{sample_seed}/{knob}/{i}")) for knob, domain in domains.items()}


def _sobol(domains: Mapping[str, Mapping[str, Any]], sample_seed: int) -> Iterator[dict[str, Any]]:
    from scipy.stats.qmc import Sobol  # a second to import

    knobs = sorted(domains)  # the order in which they are written means nothing
    sequence = Sobol(len(knobs), scramble=True, rng=_digest(f"{sample_seed}/sobol"))
    while True:
        for point in sequence.random(_AT_A_TIME).tolist():
            shares = dict(zip(knobs, point, strict=True))
            yield {knob: value_at(domain, shares[knob]) for knob, domain in domains.items()}


_SAMPLERS = {"random": _random, "sobol": _sobol}


def _share(key: str) -> float:
    """A number in [0, 1) that is a function of `key` alone, in every process and version."""
    return (_digest(key) >> 11) / 2**53


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
