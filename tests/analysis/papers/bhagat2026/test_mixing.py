"""The advantage over the naive solution against mixing: what is claimed, what is drawn, and that presets train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.claims.verdict import Outcome
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.bhagat2026.batches import MIXING, SIZES
from monosweep.analysis.papers.bhagat2026.claims import BHAGAT2026, CLAIMS
from monosweep.analysis.papers.bhagat2026.mixing import mixing
from monosweep.analysis.tables.root import open_root
from monosweep.sweep.spec.sweep_spec import expand, load_spec

from ..made_rows import Row, all_hold, rows_of, shuffled, verdicts, write_root

SMALL = SIZES[1]


def as_the_papers(config: Any, random: np.random.Generator) -> dict[str, Any]:
    advantage = 0.15 * config.mixing + 0.003 * random.normal()
    return {
        "loss": config.naive_loss * (1 - advantage), "naive_loss": config.naive_loss, "alone_loss": config.naive_loss,
        "n_computed": 50 + round(48 * config.mixing),
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of("resid_mlp/cc", as_the_papers)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_the_preset_trains_the_batch(size: Any) -> None:
    trained = [config.to_dict() for config in expand(load_spec(f"{size.name}/cc"))]
    mine = size.batches["cc"].pick(trained)
    assert sorted({row["mixing"] for row in mine}) == list(MIXING) and len(mine) == 30
    assert {row["n_layers"] for row in trained if row not in mine} == ({2, 3} if "paper" in size.name else set())
    assert {(row["n_features"], row["n_neurons"]) for row in trained if row["n_layers"] == 3} <= {(102, 51)}


def test_claims_hold_where_they_are_true_and_not_where_mixing_does_nothing(rows: list[Row]) -> None:
    assert verdicts(BHAGAT2026, SMALL, rows) == all_hold(CLAIMS, 4)
    for seed in range(5):
        found = verdicts(BHAGAT2026, SMALL, shuffled(rows, ["loss"], seed))
        assert Outcome.HOLDS not in (found["cc without mixing"][0], found["cc follows mixing"][0])


@pytest.mark.parametrize(
    ("claim", "advantage"),
    [
        ("cc beats naive", lambda s: 0.04 * s),
        ("cc without mixing", lambda s: 0.03 + 0.12 * s),
        ("cc without mixing", lambda s: -0.03 + 0.15 * s),
        ("cc follows mixing", lambda s: 0.15 * s * (2 - 1.5 * s)),
    ],
)
def test_a_claim_fails_where_it_is_not_true(claim: str, advantage: Any, rows: list[Row]) -> None:
    spoilt = [row | {"loss": row["naive_loss"] * (1 - advantage(row["mixing"]))} for row in rows]
    assert verdicts(BHAGAT2026, SMALL, spoilt)[claim][0] == Outcome.FAILS


def test_a_seed_that_lacks_a_value_is_not_counted(rows: list[Row]) -> None:
    part = [row for row in rows if (row["seed"], row["mixing"]) != (1, 0.6)]
    assert {n for _, n in verdicts(BHAGAT2026, SMALL, part).values()} == {3}


def test_the_figure_shows_every_trial_the_means_and_naive(rows: list[Row], tmp_path: Path) -> None:
    write_root(tmp_path / "root", rows)
    info = figures.info_of("cc", open_root(str(tmp_path / "root")), Selection())
    assert (info.mixing, info.n_neurons, info.n_features) == (list(MIXING), 50, 100)
    gained, computed = mixing(info).axes
    means = gained.containers[0].lines[0]
    by_mixing = [[1 - r["loss"] / (50 * 0.01 / 6) for r in rows if r["mixing"] == s] for s in MIXING]
    np.testing.assert_allclose(means.get_ydata(orig=False), np.mean(by_mixing, axis=1))
    np.testing.assert_allclose(means.get_xdata(orig=False), MIXING)
    assert len(gained.collections[0].get_offsets()) == 24 and gained.get_lines()[0].get_ydata() == [0, 0]
    assert computed.containers[0].lines[0].get_ydata(orig=False).tolist() == [50 + round(48 * s) for s in MIXING]
    assert computed.get_lines()[0].get_ydata() == [50, 50]
