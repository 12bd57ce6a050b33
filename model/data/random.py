"""Counter-based random bits: numpy's `Philox`, which a GPU draws too (`model.engines.gpu.drawing`).

Philox4x64-10 (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*) scrambles a counter of four 64-bit
words with a key of two, four words a time, whatever came before.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

_PURPOSES = {"weights": 1, "embedding": 2, "target_map": 3, "features": 4, "optimizer": 5, "masks": 6}
"""Our own; others' purposes have numbers that follow from their names."""


def generator(seed: int, purpose: str, part: int = 0, block: int = 0) -> np.random.Philox:
    """The counter-based stream of random bits for one purpose; no two arguments share bits.

    >>> first, again = (np.random.Generator(generator(7, "my noise", block=3)) for _ in range(2))
    >>> bool((first.random(2) == again.random(2)).all())
    True
    """
    return np.random.Philox(
        key=np.array([seed, _purpose(purpose)], np.uint64), counter=np.array([0, 0, block, part], np.uint64)
    )


@cache
def _purpose(name: str) -> int:
    if name in _PURPOSES:
        return _PURPOSES[name]
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 2**63
