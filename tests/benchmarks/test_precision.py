"""The precision study on a sweep of seconds, and its statistic against closed forms."""

import io

import numpy as np
import pytest
from rich.console import Console

import precision
from monosweep.analysis.tables.root import open_root
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.spec.sweep_spec import load_spec

SMALL = ["n_features=8", "d_embed=4", "n_neurons=8", "batch_size=16", "n_steps=64", "repeats=3"]


def test_effects_of_a_small_study(tmp_path, capsys, monkeypatch):
    launch(load_spec("precision", SMALL), str(tmp_path), LaunchOptions(executor="inline"), Console(file=io.StringIO()))
    found = list(precision.effects(open_root(str(tmp_path))))
    assert [(e.bias_offset, e.precision, e.metric) for e in found] == [
        (offset, p, metric) for offset in (0, -1) for p in ("tf32", "bf16") for metric in precision.METRICS
    ]
    assert {e.seeds for e in found} == {3}
    for loss in found[0], found[2]:  # with a negative bias these networks stay silent, and rounding changes nothing
        assert loss.mean != loss.mean_fp32
        assert loss.mean == pytest.approx(loss.mean_fp32, rel=0.01)
    monkeypatch.setattr("sys.argv", ["precision.py", str(tmp_path)])
    assert precision.main() == 1
    assert "needs 32 seeds; launch the preset" in capsys.readouterr().err


def test_effect_size_of_a_shift_by_one_standard_deviation():
    a = np.random.default_rng(0).normal(3, 0.5, size=(2, 10_000))
    np.testing.assert_allclose(precision.effect_size(a, a + a.std(axis=-1, ddof=1)[:, None]), 1, rtol=1e-12)
    np.testing.assert_allclose(precision.effect_size(a[0], 3 + 2 * (a[0] - 3)), 0, atol=0.05)


@pytest.mark.parametrize(("shift", "unchanged"), [(0, True), (0.5, False)])
def test_a_shift_of_half_a_deviation_is_seen_over_pairs(shift, unchanged):
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(32, 1))
    a, b = (pairs + 0.3 * rng.normal(size=(32, 2))).T
    assert precision._effect(0, "bf16", "loss", a, b + shift).unchanged == unchanged
