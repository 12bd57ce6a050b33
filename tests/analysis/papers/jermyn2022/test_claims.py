"""Claims: true tables hold every one, a table spoilt for a claim fails it, and what is missing is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import stats

from monosweep.analysis.claims.claim import Accept, Claim, whole
from monosweep.analysis.claims.evidence import MISSING, NO_EFFECT, Evidence, Number
from monosweep.analysis.claims.verdict import Outcome, Verdict, as_lines, judge, summary
from monosweep.analysis.claims.verdict import check as check_studies
from monosweep.analysis.cli import claims
from monosweep.analysis.knobs import said
from monosweep.analysis.papers.jermyn2022.batches import PAPER, SCALES, SMALL, Scale
from monosweep.analysis.papers.jermyn2022.claims import CLAIMS, JERMYN2022
from monosweep.analysis.papers.jermyn2022.mechanism import kink
from monosweep.analysis.stats.intervals import interval
from monosweep.analysis.stats.ranks import correlation
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root, open_root
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.store.schema import config_in

from ...conftest import Made
from ...paper_tables import SPOILT, Row, ideal_network, ideal_rows

ON_ROWS = [claim for claim in CLAIMS if not claim.also]
ON_MORE = [claim for claim in CLAIMS if claim.also]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    return {scale.name: ideal_rows(scale) for scale in SCALES}


def judged(claim: Claim, rows: Sequence[Row], scale: Scale, made: Made) -> Verdict:
    return judge(claim, Evidence(open_root(str(made.path)), list(rows), scale), "jermyn2022")


def check(root: Root, claims: Sequence[Claim] = CLAIMS, where: str | None = None) -> list[Verdict]:
    return check_studies(root, [replace(JERMYN2022, claims=claims)], where)


@pytest.mark.parametrize("scale", SCALES, ids=lambda s: s.name)
@pytest.mark.parametrize("claim", ON_ROWS, ids=lambda c: c.name)
def test_a_claim_holds_where_it_is_true_and_fails_where_it_is_not(
    claim: Claim, scale: Scale, tables: dict[str, list[Row]], made: Made
) -> None:
    true = judged(claim, tables[scale.name], scale, made)
    assert (true.outcome, true.n_seeds) == (Outcome.HOLDS, 3), true
    assert true.low is not None and true.high is not None and true.ours is not None
    assert true.low <= true.ours <= true.high
    false = judged(claim, list(map(SPOILT[claim.name], tables[scale.name])), scale, made)
    assert false.outcome is Outcome.FAILS, false
    assert false.reason == true.reason and false.accepted == true.accepted


@pytest.mark.parametrize("claim", ON_ROWS, ids=lambda c: c.name)
def test_a_claim_without_its_batches_says_what_to_launch(
    claim: Claim, tables: dict[str, list[Row]], made: Made
) -> None:
    for batch in claim.batches[:1]:
        left = [row for row in tables["small"] if not SMALL.batches[batch].holds(row)]
        verdict = judged(claim, left, SMALL, made)
        assert verdict.outcome is Outcome.NOT_COVERED
        assert f"small/{batch}" in verdict.reason


def without(rows: Sequence[Row], batch: str, **at: Any) -> list[Row]:
    """The rows but for those of a batch at these values."""
    return [r for r in rows if not (SMALL.batches[batch].holds(r) and all(r[k] == v for k, v in at.items()))]


@pytest.mark.parametrize("claim", ON_ROWS, ids=lambda c: c.name)
def test_a_batch_that_lacks_a_point_is_not_covered(claim: Claim, tables: dict[str, list[Row]], made: Made) -> None:
    """In every seed, or another one in each; and the reason says which, and what to launch."""
    for need in claim.needs:
        if not need.at("small"):
            continue
        (knob, values), *_ = {**SMALL.batches[need.batch].grid, **need.only}.items()
        verdict = judged(claim, without(tables["small"], need.batch, **{knob: values[-1]}), SMALL, made)
        assert verdict.outcome is Outcome.NOT_COVERED and verdict.ours is None
        if len(values) > 1:
            assert f"small/{need.batch} lacks {said(knob, values[-1])}" in verdict.reason
        assert f"launch small/{need.batch}" in verdict.reason
        rows = tables["small"]
        for seed in range(3):
            rows = without(rows, need.batch, seed=seed, **{knob: values[seed % len(values)]})
        assert judged(claim, rows, SMALL, made).outcome is Outcome.NOT_COVERED


def test_trials_beside_the_grid_are_no_evidence(made: Made, tables: dict[str, list[Row]]) -> None:
    """A rate that no claim asks for changes none, however odd it is."""
    odd = {"lr": 0.2, "min_loss": 99.0, "mono_per_feature": 9.0, "mean_bias": 9.0, "n_dead": 0}
    more = tables["small"] + [row | odd for row in tables["small"] if row["lr"] == 0.03]
    assert [judged(c, more, SMALL, made) for c in ON_ROWS] == [judged(c, tables["small"], SMALL, made) for c in ON_ROWS]


def test_seeds_that_lack_a_part_are_left_out(made: Made, tables: dict[str, list[Row]]) -> None:
    rows = [row for row in tables["small"] if not (row["seed"] == 1 and row["bias_offset"] == 0)]
    by_name = {claim.name: claim for claim in CLAIMS}
    verdict = judged(by_name["LR3 loss"], rows, SMALL, made)
    assert (verdict.n_seeds, verdict.left_out) == (2, "seed 1 of small/LR3")
    verdict = judged(by_name["LR3 mono"], rows, SMALL, made)
    assert (verdict.n_seeds, verdict.left_out) == (3, "")


def test_trials_whose_neurons_never_woke_say_nothing_of_the_bias(made: Made, tables: dict[str, list[Row]]) -> None:
    """Not even those that started at -2 and decayed too slowly to be trained."""
    silent = {"n_dead": 250, "mono_per_neuron": 0.0}
    rows = [row | silent if row["bias_offset"] == -2 else row for row in tables["small"]]
    for claim in (claim for claim in CLAIMS if claim.name.startswith("B ")):
        verdict, awake = judged(claim, rows, SMALL, made), judged(claim, tables["small"], SMALL, made)
        assert verdict.outcome is Outcome.HOLDS
        assert verdict.ours == pytest.approx(awake.ours, rel=0.01)


# -- on neurons and weights


def network_root(made: Made, change: Callable[[dict[str, np.ndarray]], None] = lambda network: None) -> Made:
    """LR3 of the small size for two seeds; neurons and weights are those of a network changed by `change`."""
    rows = ideal_rows(SMALL, "LR3", seeds=2)
    network = ideal_network()
    change(network)
    tensors = {f"{r['trial_id']}/{name}": value.copy() for r in rows for name, value in network.items()}
    (made.path / "weights" / "sweep=s").mkdir(parents=True)
    save_file(tensors, made.path / "weights" / "sweep=s" / "part-p0-step0000015872.safetensors")
    drive = np.maximum(network["w_in"] @ network["embedding"] + network["bias"][:, None], 0)
    r = drive.max(axis=1) / (1e-10 + drive.sum(axis=1))
    neurons = [
        {
            "trial_id": row["trial_id"], "step": step, "neuron": i, "r": float(r[i]) if step > 1 else 1.0,
            "bias": float(network["bias"][i]), "feature": 0, "norm_in": 1.0, "norm_out": 1.0,
        }
        for row in rows for step in (1, 15872) for i in range(256)
    ]  # fmt: skip
    made.write("neurons", "s", "p0", neurons)
    made.write("trials", "s", "p0", [{k: v for k, v in row.items() if k != "sweep"} for row in rows])
    return made


def _bias(neurons: slice, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(network: dict[str, np.ndarray]) -> None:
        network["bias"][neurons] = value

    return change


def _out(neurons: slice, factor: Any) -> Callable[[dict[str, np.ndarray]], None]:
    def change(network: dict[str, np.ndarray]) -> None:
        network["w_out"][:, neurons] *= factor

    return change


def _one_feature(network: dict[str, np.ndarray]) -> None:
    """One feature alone is left, and the neurons of positive bias answer it so strongly that all count as its own."""
    network["embedding"][:, 1:] = 0
    network["w_in"][POLY] = 1e6 * network["embedding"][:, 0]


POLY, ONE_SIGN, MONO = slice(0, 64), slice(0, 32), slice(64, 192)
UNEVEN = np.linspace(0.5, 1.5, 128, dtype=np.float32)[:, None]
SPOILT_NETWORK = {
    "LR3 mono bias sign": _bias(MONO, 0.0),
    "LR3 mono bias size": _bias(MONO, -0.9),
    "LR3 poly bias sign": _one_feature,
    "first kink": _bias(MONO, -0.8),
    "poly slope": _out(POLY, 2),
    "poly slope varies": _out(POLY, UNEVEN),
    "poly intercept": _bias(ONE_SIGN, 3.0),
    "poly rank": _out(slice(0, 64, 2), 0),
    "poly identity": _out(POLY, 1.3),
    "poly constant": _bias(ONE_SIGN, 3.0),
}


@pytest.mark.parametrize("claim", [c for c in ON_MORE if "small" in c.accepted], ids=lambda c: c.name)
def test_the_mechanism_holds_in_a_network_made_so_and_fails_in_others(claim: Claim, made: Made, tmp_path: Any) -> None:
    (true,) = check(open_root(str(network_root(made).path)), [claim])
    assert (true.outcome, true.n_seeds) == (Outcome.HOLDS, 2), true
    other = network_root(Made(tmp_path / "other"), SPOILT_NETWORK[claim.name])
    (false,) = check(open_root(str(other.path)), [claim])
    assert false.outcome is not Outcome.HOLDS, false


def test_the_ideal_network_gives_the_papers_numbers(made: Made) -> None:
    found = {v.claim: v.ours for v in check(open_root(str(network_root(made).path)), ON_MORE)}
    assert found["first kink"] == pytest.approx(0.4)
    assert found["poly slope"] == pytest.approx(1, rel=1e-6)
    assert found["poly rank"] == 1
    for name in ("poly slope varies", "poly intercept", "poly identity", "poly constant"):
        assert found[name] == pytest.approx(0, abs=1e-6)
    assert found["second kink"] is None


def test_the_second_kink_is_that_of_features_with_two_neurons() -> None:
    config = TwoLayerConfig(n_features=2, d_embed=2, n_neurons=3, batch_size=1, n_steps=1)
    network = {
        "w_in": np.array([[1.0, 0], [1, 0], [0, 1]]), "bias": np.array([-0.8, -0.3, -0.5]),
        "w_out": np.zeros((2, 3)), "embedding": np.eye(2),
    }  # fmt: skip
    assert kink(1, network, config) == pytest.approx(0.8)
    assert kink(0, network, config) == pytest.approx(0.5)


def test_without_weights_or_neurons_they_are_asked_for(made: Made) -> None:
    rows = [{k: v for k, v in row.items() if k != "sweep"} for row in ideal_rows(SMALL, "LR3")]
    made.write("trials", "s", "p0", rows)
    said = {v.claim: v.reason for v in check(open_root(str(made.path)), ON_MORE)}
    assert "with weights (monosweep weights OUT --sweep NAME)" in said["poly rank"]
    assert "with rows in neurons" in said["LR3 mono bias sign"]
    assert "small size" in said["second kink"]


# -- intervals and correlations


@pytest.mark.parametrize("n", [2, 3, 8, 21, 22, 60])
def test_intervals_against_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = interval(values.tolist())
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    assert found.mean == pytest.approx(values.mean())


def test_rank_correlation_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 5, 9).tolist(), rng.integers(0, 5, 9).tolist()
        assert correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation([1, 2], [3, 4]) is None
    assert correlation([1, 1, 1], [3, 4, 5]) is None


# -- the verb


def root_with(made: Made, rows: Sequence[Row]) -> str:
    made.write("trials", "s", "p0", [{k: v for k, v in row.items() if k != "sweep"} for row in rows])
    return str(made.path)


def test_claims_prints_a_line_per_claim(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = root_with(made, ideal_rows(SMALL, "LR1"))
    assert claims([path]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 + len(CLAIMS)
    (line,) = [line for line in out.splitlines() if "LR1 more mono" in line]
    assert line.split()[:2] == ["jermyn2022", "small"] and "≥ 0.7" in line and line.endswith("holds")
    assert "not covered: launch small/LR3" in out
    assert err.startswith("monosweep: 5 holds, 0 fails, 0 undecided, ")


def test_json_has_everything_and_is_the_same_every_time(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = root_with(made, ideal_rows(SMALL, "LR1", "LR3"))
    printed = []
    for _ in range(2):
        assert claims([path, "--format", "json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    verdicts = json.loads(printed[0])
    assert [v["claim"] for v in verdicts] == [claim.name for claim in CLAIMS]
    assert {v["outcome"] for v in verdicts} == {"holds", "not covered"}
    assert all(v["reason"] and v["finding"] and v["paper"] for v in verdicts)


def test_both_sizes_are_judged_by_their_own_ranges(made: Made) -> None:
    rows = ideal_rows(SMALL, "LR3") + ideal_rows(PAPER, "LR3")
    halved = [row | {"mono_per_feature": row["mono_per_feature"] / 2} for row in rows]
    verdicts = check(open_root(root_with(made, halved)), CLAIMS)
    found = {v.size: v.outcome for v in verdicts if v.claim == "LR3 mono"}
    assert found == {"paper": Outcome.FAILS, "small": Outcome.HOLDS}


def test_where_chooses_trials_and_a_bad_one_is_one_line(made: Made) -> None:
    path = root_with(made, ideal_rows(SMALL, "LR1"))
    verdicts = check(open_root(path), CLAIMS[:1], where="seed < 2")
    assert [v.n_seeds for v in verdicts] == [2]
    with pytest.raises(QueryError, match='"sed" not found'):
        claims([path, "--where", "sed < 2"])


def test_a_root_without_the_papers_trials_covers_nothing(quick: Made) -> None:
    """Its sizes are neither of the two."""
    verdicts = check(open_root(str(quick.path)), CLAIMS)
    assert {v.outcome for v in verdicts} == {Outcome.NOT_COVERED}
    assert {v.size for v in verdicts} == {"small"}


def diverged(row: Row) -> Row:
    return row | {"status": "diverged", "mono_per_feature": None}


def test_diverged_trials_are_missing_and_told(made: Made, tmp_path: Any) -> None:
    rows = ideal_rows(SMALL, "LR1")
    only = [c for c in CLAIMS if c.name == "LR1 more mono"]
    gone = [diverged(row) if row["lr"] > 0.02 else row for row in rows]
    (verdict,) = check(open_root(root_with(made, gone)), only)
    assert (verdict.outcome, verdict.n_seeds) == (Outcome.NOT_COVERED, 0)
    expected = "too few trials: small/LR1 lacks lr 0.03 (3 diverged); launch small/LR1"
    assert verdict.reason == expected
    some = [diverged(row) if row["lr"] > 0.02 and row["seed"] == 1 else row for row in rows]
    (verdict,) = check(open_root(root_with(Made(tmp_path / "some"), some)), only)
    assert (verdict.outcome, verdict.n_seeds) == (Outcome.HOLDS, 2)
    assert verdict.left_out == "seed 1 of small/LR1, of which 1 diverged"
    assert as_lines([verdict])["verdict"][0].as_py() == f"holds; left out: {verdict.left_out}"


def test_a_batch_of_which_half_diverged_is_not_covered_whatever_is_left(made: Made) -> None:
    rows = ideal_rows(SMALL, "LR1", seeds=4)
    (claim,) = [c for c in CLAIMS if c.name == "LR1 more mono"]
    lost = [diverged(row) for row in rows if row["seed"] > 1]
    kept = [row for row in rows if row["seed"] <= 1]
    evidence = Evidence(open_root(str(made.path)), kept, SMALL, lost)
    verdict = judge(claim, evidence, "jermyn2022")
    assert (verdict.outcome, verdict.reason) == (Outcome.NOT_COVERED, "of 24 trials of small/LR1 12 diverged")
    assert judge(claim, replace(evidence, lost=lost[1:], _batches={}), "jermyn2022").outcome is Outcome.HOLDS


def test_one_trial_in_two_precisions_is_no_two_seeds(made: Made) -> None:
    rows = ideal_rows(SMALL, "LR1", seeds=2)
    twins = [row | {"precision": "bf16", "mono_per_feature": 0.5, "trial_id": row["trial_id"][::-1]} for row in rows]
    (claim,) = [c for c in CLAIMS if c.name == "LR1 more mono"]
    alone, both = judged(claim, rows, SMALL, made), judged(claim, rows + twins, SMALL, made)
    assert (both.ours, both.n_seeds) == (alone.ours, 2)
    assert both.left_out == "12 trials of small/LR1 that are not fp32"
    most = judged(claim, rows[:3] + twins, SMALL, made)
    assert (most.n_seeds, most.n_without) == (0, 2) and most.outcome is Outcome.FAILS


def test_no_effect_and_missing_are_two_things(made: Made, tables: dict[str, list[Row]]) -> None:
    """Three of four seeds without a monosemantic neuron speak against, and the fourth holds no claim alone."""
    rows, by_name = ideal_rows(SMALL, "LR1", seeds=4), {claim.name: claim for claim in CLAIMS}
    none = {"features_by_n_mono": [128], "mono_per_feature": 0.0}
    bare = [row | none if row["seed"] else row for row in rows]
    for name in ("LR1 one each", "LR1 more mono"):
        verdict = judged(by_name[name], bare, SMALL, made)
        assert (verdict.outcome, verdict.n_seeds, verdict.n_without) == (Outcome.UNDECIDED, 1, 3)
        assert as_lines([verdict])["ours (95 % interval, seeds)"][0].as_py().endswith("(one seed; 3 without effect)")
        every = judged(by_name[name], [row | none for row in rows], SMALL, made)
        assert (every.outcome, every.ours, every.n_without) == (Outcome.FAILS, None, 4)
        two = judged(by_name[name], [row | none if row["seed"] > 1 else row for row in rows], SMALL, made)
        assert (two.outcome, two.n_seeds, two.n_without) == (Outcome.UNDECIDED, 2, 2)


def test_an_interval_across_the_edge_decides_nothing(made: Made) -> None:
    accept = Accept(low=1, high=3, reason="because")
    values: list[Number] = []
    claim = Claim(
        name="x", finding="", needs=whole("LR1"), effect=False, measure="", paper="", statistic=lambda e: values,
        accepted={"small": accept},
    )  # fmt: skip
    cases: list[tuple[list[Number], str]] = [
        ([2.0, 2.01], "holds"), ([0.5, 2.5], "undecided"), ([9.0, 9.1], "fails"), ([2.0], "undecided"),
        ([9.0], "undecided"), ([0.9, 0.91, 1.6], "undecided"), ([1.5, 2.0, 2.5], "undecided"), ([1.0, 1.0], "holds"),
        ([0.99, 0.99], "fails"), ([0.0, 4.0], "undecided"), ([2.0, 2.01, NO_EFFECT], "undecided"),
        ([9.0, 9.1, NO_EFFECT], "fails"), ([NO_EFFECT, NO_EFFECT], "fails"), ([NO_EFFECT], "undecided"),
        ([2.0, 2.01, MISSING], "holds"), ([NO_EFFECT, MISSING], "undecided"),
    ]  # fmt: skip
    for given, expected in cases:
        values[:] = given
        verdict = judged(claim, ideal_rows(SMALL, "LR1", seeds=1), SMALL, made)
        assert verdict.outcome == expected, given
    values[:] = [MISSING, MISSING]
    lines = [judged(claim, ideal_rows(SMALL, "LR1", seeds=1), SMALL, made)]
    assert summary(lines) == "0 holds, 0 fails, 0 undecided, 1 not covered"
    assert as_lines(lines).num_rows == 1


@pytest.mark.parametrize(
    ("bounds", "ends", "said"), [((0.0, 1.0), (0.833947, 1.0), "holds"), (None, (0.833947, 1.006053), "undecided")]
)
def test_an_interval_stays_where_its_statistic_can_be(
    bounds: tuple[float, float] | None, ends: tuple[float, float], said: str, made: Made
) -> None:
    values = [0.9, 0.9, 0.96]
    claim = Claim(
        name="x", finding="", needs=whole("LR1"), effect=False, measure="", paper="", statistic=lambda e: values,
        accepted={"small": Accept(low=0.8, high=1.0, reason="because")}, **({"bounds": bounds} if bounds else {}),
    )  # fmt: skip
    verdict = judged(claim, ideal_rows(SMALL, "LR1", seeds=1), SMALL, made)
    assert (verdict.low, verdict.high) == pytest.approx(ends, abs=1e-6)
    assert verdict.outcome == said


def test_ranges_say_themselves() -> None:
    assert str(Accept(low=0.3, reason="")) == "≥ 0.3"
    assert str(Accept(high=-0.005, reason="")) == "≤ −0.005"
    assert str(Accept(low=-0.1, high=math.pi, reason="")) == "−0.1 to 3.14"


def test_every_claim_gives_its_reasons() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.accepted["paper"].reason and claim.paper
        assert claim.accepted["small"].reason if "small" in claim.accepted else claim.beyond["small"]
    assert set(SPOILT) == {claim.name for claim in ON_ROWS}
    assert set(SPOILT_NETWORK) == {claim.name for claim in ON_MORE if "small" in claim.accepted}


def test_the_ideal_rows_are_trials_that_could_be(tables: dict[str, list[Row]]) -> None:
    assert all(config_in(row).trial_id == row["trial_id"] for row in tables["small"])
