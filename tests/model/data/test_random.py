"""Torch's Philox against numpy's, bit for bit."""

import numpy as np
import pytest
import torch

from monosweep.model.data.random import random_words

EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1]


def numpys(seed, purpose, part, block, n):
    key, counter = np.array([seed, purpose], np.uint64), np.array([0, 0, block, part], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(n)


def agree(seeds, purpose, part, blocks, n):
    ours = random_words(torch.tensor(seeds), purpose, part, torch.tensor(blocks), n)
    assert ours.shape == (len(seeds), len(blocks), n)
    expected = [[numpys(seed, purpose, part, block, n) for block in blocks] for seed in seeds]
    np.testing.assert_array_equal(ours.numpy().view(np.uint64), np.array(expected))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 4097])
def test_the_words_are_numpys(n):
    rng = np.random.default_rng(n)
    for part in range(4):
        seeds, blocks = rng.integers(0, 2**63, (2, 5)).tolist()
        agree(seeds, int(rng.integers(1, 2**63)), part, blocks, n)


def test_the_words_are_numpys_at_the_edges_of_a_word():
    agree(EDGES, 4, 2**63 - 1, EDGES, 9)


def test_a_long_stream():
    agree([11], 4, 0, [3], 2**18 + 1)
