"""A worker takes no more memory than the sizes that packs are bounded by say."""

import functools
import json
import subprocess
import sys

import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.memory import bytes_of_pack

SCRIPT = r"""
import json, re, sys
from pathlib import Path
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer
shape, n, seeds = json.loads(sys.argv[1])
trainer = PackTrainer([TwoLayerConfig(**shape, lr=0.001 * (i + 1), seed=i % seeds) for i in range(n)], "cpu")
trainer.advance()
trainer.to_bytes()
for _ in trainer:
    pass
trainer.results()
# Not ru_maxrss, which a child inherits from the process that started it.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""
QUICK = {
    "n_features": 128, "d_embed": 32, "n_neurons": 256, "batch_size": 512, "feature_prob": 1 / 32, "n_steps": 2,
}  # fmt: skip
PAPER = {"n_steps": 1}


def peak(shape, n, seeds):
    """Most bytes that a worker held while it trained, saved and finished a pack."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([shape, n, seeds])], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@functools.cache
def alone():
    return peak(QUICK, 1, 1)


@pytest.mark.parametrize("seeds", [1, 48])
def test_a_member_adds_no_more_than_documented(seeds):
    per_pack, per_member = bytes_of_pack(TwoLayerConfig(**QUICK))
    one, many = alone(), peak(QUICK, 49, seeds)
    assert many - one <= 48 * per_member
    assert many <= per_pack + 49 * per_member


def test_the_papers_size_fits_in_two_gigabytes():
    per_pack, per_member = bytes_of_pack(TwoLayerConfig(**PAPER))
    used = peak(PAPER, 6, 1)
    assert used < 2 * 2**30
    assert used <= per_pack + 6 * per_member
