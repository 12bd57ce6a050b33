"""The article's phases and geometry: what is claimed, what is drawn, and that the presets train it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.claims.verdict import Outcome, check
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.elhage2022.batches import PAPER, PLATEAU, SIZES, SMALL
from monosweep.analysis.papers.elhage2022.claims import CLAIMS, ELHAGE2022
from monosweep.analysis.papers.elhage2022.phase import phase
from monosweep.analysis.papers.elhage2022.sharing import cluster, geometry
from monosweep.analysis.tables.root import Root, open_root
from monosweep.sweep.spec.sweep_spec import expand, load_spec

from ..made_rows import Row, rows_of, write_root

N_TRIALS = {
    ("tms", "intro"): 80, ("tms", "phase"): 1620, ("tms", "plateaus"): 160, ("tms", "geometry"): 48,
    ("tms", "cluster"): 24,
    ("tms/paper", "geometry"): 48, ("tms/paper", "cluster"): 100,
}  # fmt: skip
OF = {size.name: size for size in SIZES}
EVERY_SEED = {"intro": 3, "phase": 10, "plateaus": 10, "geometry": 3, "cluster": 3}
WHOLE = {"phase": 2, "plateaus": 2}
"""Numbers of a claim about a batch, where they are not one a seed."""


@pytest.mark.parametrize(("size", "batch"), N_TRIALS)
def test_a_preset_trains_its_batch_and_no_other(size: str, batch: str) -> None:
    trained = [config.to_dict() for config in expand(load_spec(f"{size}/{batch}"))]
    assert len(trained) == N_TRIALS[size, batch]
    holds = {(s.name, name) for s in SIZES for name, b in s.batches.items() for row in trained if b.holds(row)}
    assert holds == {(size, batch)} and all(map(OF[size].batches[batch].holds, trained))


def test_probabilities_of_claims_are_swept() -> None:
    for size in SIZES:
        trained = {config.feature_prob for config in expand(load_spec(f"{size.name}/geometry"))}
        assert {1.0, *PLATEAU} <= trained


# -- a world in which all is as the article has it


def shares(batch: str, config: Any, random: np.random.Generator) -> list[float]:
    """D of each feature, 0 of one that is not represented."""
    n, p = config.n_features, config.feature_prob
    if batch == "intro":
        return [1, 1, 0, 0, 0] if p > 0.5 else [0.4] * 5
    if batch == "plateaus":
        found = [0.5] * 4 + [0] if p > 0.25 else [0.4] * 5
        return found if config.seed in (0, 3) else [0.45] * 5
    if batch == "phase":
        last = 0.5 if p < 0.3 else float(config.last_importance >= 1)
        return [0.5] * (n - 1) + [last if config.seed in (0, 3) else 0.77]
    if batch == "geometry":
        return [0.1] * n if p == 1 else [0.5] * round(n / 5) + [0.0] * (n - round(n / 5))
    return list(np.where(random.random(n) < 0.3, random.normal(4 / 9, 0.002, n), random.uniform(0.41, 0.48, n)))


def metrics(batch: str) -> Callable[[Any, np.random.Generator], dict[str, Any]]:
    def found(config: Any, random: np.random.Generator) -> dict[str, Any]:
        d = shares(batch, config, np.random.default_rng(config.seed))
        squared = config.d_hidden / (1.0 if config.feature_prob > 0.5 else 0.5)
        return {
            "loss": 1.0 + config.seed * 7 % 10, "n_represented": sum(map(bool, d)), "norm_squared": squared,
            "dimensions_per_feature": config.d_hidden / squared, "capacity_sum": 1.0, "n_blocks": 1,
            "largest_block": 2, "mean_bias": 0.0,
        }  # fmt: skip

    return found


def world(path: Path, batch: str, change: Callable[[Row], dict[str, Any]], dealt: int | None = None) -> Root:
    """A root with a batch; `change` spoils rows of `trials` and `features`, `dealt` deals both out anew."""
    rows = rows_of(f"tms/{batch}", metrics(batch), EVERY_SEED[batch])
    configs = expand(load_spec(f"tms/{batch}", [f"seed={list(range(EVERY_SEED[batch]))}", "repeats=1"]))
    of = np.arange(len(rows)) if dealt is None else np.random.default_rng(dealt).permutation(len(rows))
    features = [
        {
            "trial_id": config.trial_id, "pack_id": "p0", "step": 1, "feature": i, "importance": 1.0,
            "norm": float(d > 0), "dimensionality": d, "bias": 0.0, "block": 0, "p": config.feature_prob,
            "last_importance": config.last_importance,
        }
        for config, j in zip(configs, of, strict=True)
        for i, d in enumerate(shares(batch, configs[j], np.random.default_rng(configs[j].seed)))
    ]  # fmt: skip
    numbers = ("loss", "n_represented", "dimensions_per_feature")
    rows = [row | {name: rows[j][name] for name in numbers} for row, j in zip(rows, of, strict=True)]
    spoilt = [row | change(row) for row in features]
    kept = [{name: value for name, value in row.items() if name not in ("p", "last_importance")} for row in spoilt]
    write_root(path, [row | change(row | {"p": row["feature_prob"]}) for row in rows], features=kept)
    return open_root(str(path))


def outcomes(root: Root, batch: str) -> dict[str, tuple[Outcome, int]]:
    mine = {claim.name for claim in CLAIMS if claim.batches == (batch,)}
    return {v.claim: (v.outcome, v.n_seeds) for v in check(root, [ELHAGE2022]) if v.claim in mine}


def nothing(row: Row) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("batch", SMALL.batches)
def test_claims_hold_where_they_are_true(batch: str, tmp_path: Path) -> None:
    found = outcomes(world(tmp_path / "r", batch, nothing), batch)
    assert set(found.values()) == {(Outcome.HOLDS, WHOLE.get(batch, 3))} and len(found) in (1, 2, 3)


EFFECTS = {
    "intro": {"dense features", "sparse features"}, "plateaus": {"pairs, pentagon"},
    "phase": {"phase: left out", "phase: dedicated"},
    "geometry": {"plateau at 1", "plateau at 1/2", "antipodal pairs"},
}  # fmt: skip


@pytest.mark.parametrize("batch", EFFECTS)
def test_no_effect_is_claimed_where_no_knob_does_anything(batch: str, tmp_path: Path) -> None:
    held = [
        {name for name, (outcome, _) in outcomes(world(tmp_path / str(i), batch, nothing, i), batch).items()
         if outcome is Outcome.HOLDS}
        for i in range(2)
    ]  # fmt: skip
    assert sum(len(names & EFFECTS[batch]) for names in held) <= 1


SPOILT: list[tuple[str, str, Callable[[Row], dict[str, Any]]]] = [
    ("intro", "dense features", lambda r: {"n_represented": 3} if "n_represented" in r else {}),
    ("intro", "sparse features", lambda r: {"n_represented": 4} if "n_represented" in r else {}),
    ("plateaus", "pairs, pentagon", lambda r: {"dimensionality": 0.415} if r.get("dimensionality") == 0.4 else {}),
    ("plateaus", "pairs, pentagon", lambda r: {"loss": -r["loss"]} if "loss" in r else {}),
    ("plateaus", "pairs, pentagon", lambda r: {"dimensionality": 0.485} if r.get("dimensionality") == 0.5 else {}),
    ("phase", "phase: left out", lambda r: {"norm": 0.6, "dimensionality": 0.1} if r.get("norm") == 0 else {}),
    ("phase", "phase: superposed", lambda r: {"dimensionality": 0.52} if r.get("dimensionality") == 0.5 else {}),
    ("phase", "phase: dedicated", lambda r: {"norm": 0.4} if r.get("dimensionality") == 1 else {}),
    ("phase", "phase: dedicated", lambda r: {"loss": -r["loss"]} if "loss" in r else {}),
    ("geometry", "plateau at 1", lambda r: {"dimensions_per_feature": 0.9} if "seed" in r else {}),
    ("geometry", "plateau at 1/2", lambda r: {"dimensions_per_feature": 0.7} if r.get("p") == 0.35 else {}),
    ("geometry", "plateau at 1/2", lambda r: {"dimensions_per_feature": 1.0} if "seed" in r else {}),
    ("geometry", "antipodal pairs", lambda r: {"dimensionality": 0.485} if r.get("dimensionality") == 0.5 else {}),
    ("cluster", "cluster at 4/9", lambda r: {"dimensionality": 0.41 + r.get("feature", 0) % 80 / 80 * 0.07}),
]
"""Just outside a claim's range, or the wrong restart."""


@pytest.mark.parametrize(("batch", "claim", "change"), SPOILT, ids=[f"{c}-{i}" for i, (_, c, _) in enumerate(SPOILT)])
def test_a_claim_fails_where_it_is_not_true(batch: str, claim: str, change: Any, tmp_path: Path) -> None:
    def told(row: Row) -> dict[str, Any]:
        changed: dict[str, Any] = change(row)
        return {name: value for name, value in changed.items() if name in row}

    found = outcomes(world(tmp_path / "r", batch, told), batch)
    assert found[claim][0] is Outcome.FAILS


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    root = world(tmp_path / "r", "geometry", nothing)
    found = {v.claim: v for v in check(root, [ELHAGE2022])}
    assert found["pairs, pentagon"].reason == "launch tms/plateaus"
    assert found["cluster at 4/9"].reason == "launch tms/cluster"
    with pytest.raises(FigureError, match=r"^phase shows a batch of which no trial is here; launch tms/phase$"):
        figures.info_of("phase", root, Selection())
    part = open_root(root.uri).sql("select count(*) as n from features").to_pylist()
    assert part == [{"n": 16 * 3 * 80}] and PAPER.name not in {v.size for v in found.values()}


# -- figures


def test_the_phase_diagram_has_the_best_restart_of_each_point(tmp_path: Path) -> None:
    info = figures.info_of("phase", world(tmp_path / "r", "phase", nothing), Selection())
    assert [(d.n_features, d.d_hidden, d.restarts) for d in info.diagrams] == [(2, 1, (10, 10)), (3, 2, (10, 10))]
    dense = np.array(info.probs) > 0.3
    much = np.array(info.importances) >= 1
    wanted = np.where(dense[None], much[:, None].astype(float), 0.5)
    drawn = phase(info)
    for diagram, ax in zip(info.diagrams, drawn.axes, strict=False):
        np.testing.assert_allclose(diagram.share, wanted)
        np.testing.assert_allclose(ax.get_images()[0].get_array(), wanted)
        assert [label.get_text() for label in ax.get_xticklabels()][-1] == "1" and ax.get_images()[0].origin == "lower"


def test_geometry_shows_every_trial_and_every_represented_feature(tmp_path: Path) -> None:
    info = figures.info_of("geometry", world(tmp_path / "r", "geometry", nothing), Selection())
    plateaus, each = geometry(info).axes
    x, y = np.transpose(plateaus.collections[0].get_offsets())
    assert len(x) == 48 and set(y[x < 1.5]) == {1.0} and set(y[x > 2]) == {0.5}
    x, y = np.transpose(each.collections[0].get_offsets())
    assert len(x) == 3 * (80 + 15 * 16) and set(y[x > 1]) == {0.5} and len(x[x == 1]) == 240
    assert {"1/2", "2/5"} < {text.get_text() for text in each.texts}


def test_plateaus_show_the_best_restart_of_each_probability(tmp_path: Path) -> None:
    info = figures.info_of("plateaus", world(tmp_path / "r", "plateaus", nothing), Selection())
    each = geometry(info).axes[1]
    x, y = np.transpose(each.collections[0].get_offsets())
    assert len(info.probs) == 16 and set(y[x < 3.9]) == {0.5}
    np.testing.assert_allclose(y[x >= 4], 0.4, rtol=1e-6)


def test_the_cluster_figure_counts_every_feature(tmp_path: Path) -> None:
    info = figures.info_of("cluster", world(tmp_path / "r", "cluster", nothing), Selection())
    each, counts = cluster(info).axes
    assert sum(bar.get_width() for bar in counts.patches) == len(each.collections[0].get_offsets()) == 36 * 80
    fullest = max(counts.patches, key=lambda bar: bar.get_width())
    assert abs(fullest.get_y() + fullest.get_height() / 2 - 4 / 9) < 0.005
    assert "4/9" in {text.get_text() for text in counts.texts}


def test_trials_without_features_are_named(tmp_path: Path) -> None:
    root = world(tmp_path / "r", "geometry", lambda row: {"trial_id": "0" * 16} if row.get("feature") == 0 else {})
    assert figures.info_of("geometry", root, Selection()).n_features == 80
    emptied = world(tmp_path / "e", "geometry", lambda row: {"trial_id": "0" * 16} if "feature" in row else {})
    with pytest.raises(FigureError, match=r"^trial [0-9a-f]{16} left no rows in features; launch it again"):
        figures.info_of("geometry", emptied, Selection())
