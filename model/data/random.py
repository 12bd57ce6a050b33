"""Counter-based random bits: numpy's `Philox`, and the same in torch, so that a GPU draws what a CPU draws.

Philox4x64-10 (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*) scrambles a counter of four 64-bit
words with a key of two, four words a time, whatever came before.  Torch has no unsigned 64-bit arithmetic; signed
words hold the same bits, since products and sums wrap, and a shift to the right masks off the copies of the sign.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Int64
from torch import Tensor, arange, stack

_PURPOSES = {"weights": 1, "embedding": 2, "target_map": 3, "features": 4, "optimizer": 5, "masks": 6}
"""Our own; others' purposes have numbers that follow from their names."""
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_HALF = 2**32 - 1
_Word = Tensor | int


def generator(seed: int, purpose: str, part: int = 0, block: int = 0) -> np.random.Philox:
    """The counter-based stream of random bits for one purpose; no two arguments share bits.

    >>> first, again = (np.random.Generator(generator(7, "my noise", block=3)) for _ in range(2))
    >>> bool((first.random(2) == again.random(2)).all())
    True
    """
    return np.random.Philox(
        key=np.array([seed, _purpose(purpose)], np.uint64), counter=np.array([0, 0, block, part], np.uint64)
    )


def _purpose(name: str) -> int:
    if name in _PURPOSES:
        return _PURPOSES[name]
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 2**63


def random_words(
    seeds: Int64[Tensor, " streams"], purpose: int, part: int, blocks: Int64[Tensor, " blocks"], n: int
) -> Int64[Tensor, "streams blocks n"]:
    """The first `n` words of `numpy.random.Philox(key=[seed, purpose], counter=[0, 0, block, part])`, as `random_raw`
    gives them, for every seed and block; bits of uint64 in int64.

    Nothing here waits for the device or depends on its data.

    >>> import numpy, torch
    >>> ours = random_words(torch.tensor([7]), 4, 2, torch.tensor([9]), 5)
    >>> theirs = numpy.random.Philox(key=[7, 4], counter=[0, 0, 9, 2]).random_raw(5)
    >>> bool((ours.numpy().view(numpy.uint64) == theirs).all())
    True
    """
    quads = arange(1, -(-n // 4) + 1, device=seeds.device)  # numpy counts up before it draws
    counter = (quads[None, None, :], 0, blocks[None, :, None], part)
    drawn = _scramble(counter, (seeds[:, None, None], purpose))
    shape = (len(seeds), len(blocks), len(quads))
    return stack([word.expand(shape) for word in drawn], dim=-1).flatten(start_dim=-2)[..., :n]


def _scramble(
    counter: tuple[Tensor, _Word, Tensor, _Word], key: tuple[Tensor, int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds; the words that a key and a counter stand for."""
    c0, c1, c2, c3 = counter
    for done in range(_ROUNDS):
        key0 = key[0] + _signed(done * _KEY_STEPS[0])
        key1 = _signed(key[1] + done * _KEY_STEPS[1])
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high2, low2 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high2 ^ c1 ^ key0, low2, high0 ^ c3 ^ key1, low0
    assert not isinstance(c1, int) and not isinstance(c3, int)
    return c0, c1, c2, c3


def _multiply(a: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Upper and lower 64 bits of a · factor, by halves of 32 bits."""
    a_high, a_low = _upper(a), a & _HALF
    f_high, f_low = factor >> 32, factor & _HALF
    middle = a_high * f_low + _upper(a_low * f_low)
    other = a_low * f_high + (middle & _HALF)
    return a_high * f_high + _upper(middle) + _upper(other), a * _signed(factor)


def _upper(word: Tensor) -> Tensor:
    return (word >> 32) & _HALF


def _signed(word: int) -> int:
    """The int64 with the bits of `word` modulo 2^64."""
    word &= 2**64 - 1
    return word - 2**64 if word >> 63 else word
