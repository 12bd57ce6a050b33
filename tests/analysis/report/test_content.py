"""What the page tells is what the tables hold; what it leaves out is said; nothing of users' text can break it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monosweep.analysis.cli import OutputError, report
from monosweep.analysis.families.two_layer.responses import network_config, responses
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.studies import check
from monosweep.analysis.report import content, lines, trials
from monosweep.analysis.report.content import gather
from monosweep.analysis.report.encode import Block, column
from monosweep.analysis.report.families import panels_of
from monosweep.analysis.report.page import page
from monosweep.analysis.search.objectives import objectives_in
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import open_root
from monosweep.model.families import OURS
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import arrow_table, columns, tables_of

from ..conftest import Made, curve_of, neurons_of, trial, weights_of
from .unpack import Unpacked, unpacked

HOSTILE = "</script><img src=x onerror=alert(1)> <!--SCRIPT-->\nthe second line"


def told(made: Made, **selection: Any) -> Unpacked:
    return unpacked(page(gather(open_root(str(made.path)), Selection(**selection))))


_TOLD: dict[str, Unpacked] = {}


def told_once(name: str, made: Made) -> Unpacked:
    """The page of a root that several tests look at and none has changed."""
    if name not in _TOLD:
        _TOLD[name] = told(made)
    return _TOLD[name]


def rows_of(made: Made) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_root(str(made.path)).sql("select * from trials order by trial_id").to_pylist()
    return rows


# -- columns


def test_each_trial_is_there_with_its_knobs_and_metrics(troubled: Made) -> None:
    page, rows = told_once("troubled", troubled), rows_of(troubled)
    assert len(rows) == 20
    assert page.column("trial_id") == [row["trial_id"] for row in rows]
    for name in ("lr", "bias_offset", "seed", "status", "n_features", "error"):
        assert page.column(name) == [row[name] for row in rows], name
    for name in ("loss", "mono_per_feature"):
        assert page.column(name) == [None if (v := row[name]) is None else pytest.approx(v, rel=1e-6) for row in rows]


def test_varied_knobs_come_first_and_lists_do_not_come(troubled: Made) -> None:
    (family,) = told_once("troubled", troubled).said["families"]
    assert family["knobs"] == ["lr", "bias_offset", "bias_decay"]
    assert "n_features" in family["fixed"] and not {"seed", "family"} & {*family["knobs"], *family["fixed"]}
    assert family["metrics"][:2] == ["loss", "mono_per_feature"] and "wall_time_s" not in family["metrics"]
    assert "features_by_n_mono" not in family["columns"] and "family_digest" not in family["columns"]
    assert family["columns"]["lr"]["doc"] == "Peak learning rate, above 0."


def test_knobs_are_exact_however_many_values_they_have(made: Made) -> None:
    rates = np.random.default_rng(0).uniform(0.001, 0.1, 20)
    made.write("trials", "s", "p0", [trial(lr=float(lr)) for lr in rates])
    page = told(made)
    assert "data" in page.said["families"][0]["columns"]["lr"]
    assert sorted(page.column("lr")) == sorted(rates) and page.column("loss") != [row["loss"] for row in rows_of(made)]


def test_values_survive_the_way() -> None:
    wide = list(range(2**53 - 6000, 2**53))
    many = [float(v) for v in np.random.default_rng(0).lognormal(size=6000)]
    block = Block()
    given = {
        "wide": (pa.array([None, *wide[1:]]), False), "exact": (pa.array(many), True),
        "single": (pa.array(many), False), "huge": (pa.array([1e300, *many[1:]]), False),
        "words": (pa.array([f"w{i}" for i in range(6000)]), False), "same": (pa.array([3] * 6000), False),
        "gaps": (pa.array([None, 0.5, float("nan"), float("inf")] * 1500), False),
        "truth": (pa.array([True, False, None] * 2000), False),
    }  # fmt: skip
    placed = {name: column(block, pa.chunked_array([v]), exact) for name, (v, exact) in given.items()}
    packed = block.packed({"families": [{"shown": 6000, "columns": placed}]})
    page = unpacked(f'<script type="text/plain" id="content">{packed}</script>')
    assert page.column("wide") == [None, *map(float, wide[1:])] and page.column("exact") == many
    assert page.column("single") == pytest.approx(many, rel=1e-7) and page.column("single") != many
    assert page.column("huge") == [1e300, *many[1:]] and page.column("words")[5999] == "w5999"
    assert page.column("same") == [3] * 6000 and page.column("gaps") == [None, 0.5, None, None] * 1500
    assert page.column("truth") == ["True", "False", None] * 2000
    assert column(block, pa.chunked_array([pa.nulls(3, pa.float64())])) is None


# -- the front, curves, neurons, response maps


def test_the_front_is_who_is_beaten_by_nobody(troubled: Made) -> None:
    page, rows = told_once("troubled", troubled), rows_of(troubled)
    done = [(i, r["loss"], -r["mono_per_feature"]) for i, r in enumerate(rows) if r["status"] == "completed"]
    beaten = {i for i, *a in done for _, *b in done if b != a and b[0] <= a[0] and b[1] <= a[1]}
    assert np.flatnonzero(page.array(page.said["families"][0]["front"])).tolist() == [
        i for i, *_ in done if i not in beaten
    ]
    assert 0 < len(beaten) < len(done)


def test_curves_and_neurons_are_those_of_their_trials(quick: Made) -> None:
    page, rows = told_once("quick", quick), rows_of(quick)
    (family,) = page.said["families"]
    traces = family["traces"]
    assert traces["columns"] == ["loss", "min_loss", "n_mono", "mean_bias"]
    bias, r = family["parts"]
    assert [part["column"] for part in (bias, r)] == ["bias", "r"]
    for row in rows:
        points, neurons = list(curve_of(row)), list(neurons_of(row))
        assert page.lines(traces, "step")[row["trial_id"]] == [p["step"] for p in points]
        assert page.lines(traces, "loss")[row["trial_id"]] == pytest.approx([p["loss"] for p in points], rel=1e-6)
        pairs = zip(page.lines(bias, "bias")[row["trial_id"]], page.lines(bias, "r")[row["trial_id"]], strict=True)
        assert sorted(pairs) == sorted((float(np.float32(n["bias"])), float(np.float32(n["r"]))) for n in neurons)


def test_neurons_are_those_of_the_last_step(quick: Made) -> None:
    (first, *_) = rows = rows_of(quick)
    early = [{**n, "step": 64, "r": 0.125} for n in neurons_of(first)]
    quick.write("neurons", "quick", "p0", [*early, *(n for row in rows for n in neurons_of(row))])
    page = told(quick)
    values = page.lines(page.said["families"][0]["parts"][1], "r")[first["trial_id"]]
    assert len(values) == first["n_neurons"] and 0.125 not in values


def test_a_response_map_has_its_values_within_a_step_of_the_scale(quick: Made) -> None:
    page, rows = told_once("quick", quick), rows_of(quick)
    (family,) = page.said["families"]
    assert len(family["images"]) == lines.MOST_IMAGES == len(rows)
    for image in family["images"]:
        row = rows[image["trial"]]
        values = (
            page.array(image["values"]).reshape(image["rows"], -1) / 255 * (image["high"] - image["low"]) + image["low"]
        )
        whole = responses(weights_of(row), network_config(row))
        assert sorted(values.max(axis=1)) == pytest.approx(sorted(whole.max(axis=1)), abs=whole.max() / 254)
        assert np.sort(values, axis=None) == pytest.approx(np.sort(whole, axis=None), abs=whole.max() / 254)
    front = np.flatnonzero(page.array(family["front"]))
    assert [image["trial"] for image in family["images"]][: len(front)] == front.tolist()


def test_what_is_too_much_is_cut_at_whole_trials_and_said(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_TRIALS", 10)
    monkeypatch.setattr(lines, "MOST_TRACED", 3)
    monkeypatch.setattr(lines, "MOST_VALUES", 300)  # of 128 neurons a trial
    monkeypatch.setattr(lines, "MOST_IMAGES", 1)
    page = told(quick)
    (family,) = page.said["families"]
    assert (family["n"], family["shown"], family["traces"]["n"], len(family["images"])) == (16, 10, 3, 1)
    assert page.column("trial_id") == [row["trial_id"] for row in rows_of(quick)][:10]
    assert len(page.lines(family["traces"], "loss")) == 3
    assert [len(v) for v in page.lines(family["parts"][0], "bias").values()] == [128, 128]


@pytest.mark.parametrize("constraints", [["n_mono < 20"], ["loss < 10", "n_mono <= 0.5 * best_n_mono"]])
def test_who_breaks_a_constraint_is_on_no_front(quick: Made, constraints: list[str]) -> None:
    """The front of the others is drawn; of two sweeps, whose constraints differ, that of all."""
    spec = {"name": "quick", "objectives": {"loss": "min", "n_mono": "max"}, "search": "optuna"}
    (quick.path / "sweeps").mkdir(exist_ok=True)
    (quick.path / "sweeps" / "quick.json").write_text(json.dumps({**spec, "constraints": constraints}))
    page = told(quick)
    n_mono, loss = (np.array(page.column(name)) for name in ("n_mono", "loss"))
    on_front = np.array(page.array(page.said["families"][0]["front"]), bool)
    keeps = n_mono < 20 if len(constraints) == 1 else n_mono <= n_mono.max() / 2
    assert 0 < keeps.sum() < len(keeps) and page.said["families"][0]["breaking"] == (~keeps).sum()
    as_good = (loss <= loss[:, None]) & (n_mono >= n_mono[:, None])
    better = as_good & ((loss < loss[:, None]) | (n_mono > n_mono[:, None]))
    assert on_front.tolist() == (keeps & ~(better & keeps).any(axis=1)).tolist()
    (quick.path / "sweeps" / "other.json").write_text(json.dumps({**spec, "name": "other"}))
    assert told(quick).said["families"][0]["breaking"] == 0
    assert told(quick, sweep="quick").said["families"][0]["breaking"] == (~keeps).sum()


# -- sweeps and failures


def test_sweeps_are_counted_by_what_was_asked_for(troubled: Made) -> None:
    one = trial("p9", lr=0.0123)
    asked = [{"trial_id": i, "config": "{}", "asked_at": datetime.now(UTC)} for i in (one["trial_id"], "f" * 16)]
    (troubled.path / "asked" / "sweep=new").mkdir(parents=True)
    troubled.write("trials", "older", "p9", [one])
    write_asked(troubled, "new", asked)
    found = {s["sweep"]: s for s in told(troubled).said["sweeps"]}
    assert {n: (s["asked"], s["completed"], s["diverged"], s["failed"], s["live"]) for n, s in found.items()} == {
        "quick": (16, 16, 0, 0, False), "older": (3, 3, 0, 0, False), "other": (2, 0, 1, 1, False),
        "new": (2, 1, 0, 0, False),
    }  # fmt: skip


def write_asked(made: Made, sweep: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow.parquet as pq

    from monosweep.sweep.store.schema import ASKED, arrow_table

    pq.write_table(arrow_table(ASKED, rows), made.path / "asked" / f"sweep={sweep}" / "part-a.parquet")


def beat(made: Made, sweep: str, state: str, age_s: float) -> None:
    folder = made.path / "sweeps"
    folder.mkdir(exist_ok=True)
    said = {
        "state": state, "pid": 1, "host": "elsewhere", "running": 5,
        "updated_at": (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(),
        "speed": {"steps_per_s": 10.0, "trials_per_hour": 3.0, "seconds_left": 90.0},
        "best": {"loss": 0.25, "mono_per_feature": float("inf")},
    }  # fmt: skip
    (folder / f"{sweep}.progress.json").write_text(json.dumps(said))
    (folder / f"{sweep}.json").write_text(json.dumps({"name": sweep, "description": "what for"}))


@pytest.mark.parametrize(
    ("state", "age_s", "live"), [("running", 1, True), ("running", 60, False), ("finished", 1, False)]
)
def test_a_sweep_is_live_while_its_heart_beats(quick: Made, state: str, age_s: float, live: bool) -> None:
    beat(quick, "quick", state, age_s)
    root = open_root(str(quick.path))
    content = gather(root, Selection(), 7)
    page = unpacked(page_of(content))
    (one,) = page.said["sweeps"]
    assert (one["live"], one["running"], one["seconds_left"]) == ((True, 5, 90.0) if live else (False, 0, None))
    assert one["best"] == ({"loss": 0.25} if live else {}), "what JSON of a browser has no word for is left out"
    assert one["description"] == "what for" and content.n_live == live
    assert page.said["renewed_s"] == (7 if live else None)


def live_points(row: dict[str, Any], n: int = 4) -> pa.Table:
    return arrow_table("curves", list(curve_of(row))[:n])


def test_trials_in_training_are_told_apart_from_those_with_rows(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store, of = Store.open(str(quick.path)), [trial("p7", seed=seed) for seed in range(70, 75)]
    store.write_live("quick", "p7", pa.concat_tables([live_points(row) for row in of[:3]]))
    store.write_live("other", "p8", pa.concat_tables([live_points(row, 6) for row in of[3:]]))

    def lines_of(page: Unpacked) -> dict[tuple[str, str], list[tuple[float, float]]]:
        said = page.said["live"]
        values = said["values"]
        starts, steps, losses = (page.array(place) for place in (said["starts"], values["step"], values["loss"]))
        assert "step" not in said["columns"] and said["columns"][0] == "loss"
        return {
            (sweep, one): list(zip(steps[a:b].tolist(), losses[a:b].tolist(), strict=True))
            for sweep, one, a, b in zip(said["sweeps"], said["trials"], starts[:-1], starts[1:], strict=True)
        }

    wanted = {
        ("quick" if i < 3 else "other", row["trial_id"]): [
            (p["step"], pytest.approx(p["loss"], rel=1e-6)) for p in list(curve_of(row))[: 4 if i < 3 else 6]
        ]
        for i, row in enumerate(of)
    }
    whole = told(quick)
    assert lines_of(whole) == wanted and whole.said["live"]["n"] == 5
    assert not {one for _, one in wanted} & {*whole.column("trial_id")}, "they are in no other panel"
    one = told(quick, sweep="quick")
    assert lines_of(one) == {key: line for key, line in wanted.items() if key[0] == "quick"}
    assert one.said["live"]["n"] == 3
    limited = told(quick, where="lr > 0")
    assert limited.said["live"]["n"] == 0 and limited.said["live"]["columns"] == [] and limited.said["where"]
    monkeypatch.setattr(lines, "MOST_LIVE", 2)
    few = told(quick)
    first = sorted(one for _, one in wanted)[:2]
    assert sorted(one for _, one in lines_of(few)) == first and few.said["live"]["n"] == 5
    assert told(quick, sweep="quick").said["live"]["n"] == 3


def page_of(content: Any) -> str:
    return page(content)


def test_failures_are_told_by_their_first_line(quick: Made) -> None:
    failed = [trial("p7", TrialStatus.FAILED, error=HOSTILE, lr=0.1 + i / 10) for i in range(3)]
    diverged = [trial("p7", TrialStatus.DIVERGED, error="loss is nan at step 8", lr=2.0)]
    unsaid = [trial("p7", TrialStatus.FAILED, error=None, lr=3.0)]
    quick.write("trials", "bad", "p7", [*failed, *diverged, *unsaid])
    html = page_of(gather(open_root(str(quick.path)), Selection()))
    reasons = [(r["n"], r["status"], r["line"]) for r in unpacked(html).said["reasons"]]
    assert reasons == [
        (3, "failed", "</script><img src=x onerror=alert(1)> <!--SCRIPT-->"), (1, "diverged", "loss is nan at step 8"),
        (1, "failed", "no reason told"),
    ]  # fmt: skip
    assert "onerror" not in html and html.count("</script>") == 3
    (one,) = (r for r in unpacked(html).said["reasons"] if r["status"] == "diverged")
    assert one["trial_id"] == diverged[0]["trial_id"]


def test_a_root_may_be_called_what_it_will(quick: Made, tmp_path: Path) -> None:
    folder = tmp_path / "<i>&amp; <!--STYLE-->"
    quick.path.rename(folder)
    html = page(gather(open_root(str(folder)), Selection()))
    assert f"<title>monosweep: {tmp_path}/&lt;i&gt;&amp;amp; &lt;!--STYLE--&gt;</title>" in html
    (replay,) = (line for _, line in unpacked(html).said["families"][0]["commands"] if "replay" in line)
    assert replay == f"monosweep replay '{folder}' TRIAL"


# -- what is selected


def test_a_selection_holds_for_all_and_is_said(troubled: Made) -> None:
    page = told(troubled, sweep="quick", where="bias_offset < 0")
    assert len(page.column("trial_id")) == 8 and page.said["reasons"] == []
    assert page.said["selection"] == "sweep quick where bias_offset < 0"
    assert [s["sweep"] for s in page.said["sweeps"]] == ["quick"]


def test_objectives_may_be_expressions(quick: Made) -> None:
    page = told(quick, objectives=("loss:min", "n_mono / n_features:max"))
    (family,) = page.said["families"]
    assert family["metrics"][:2] == ["loss", "n_mono / n_features"]
    assert page.column("n_mono / n_features") == pytest.approx(page.column("mono_per_feature"))


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"sweep": "quik"}, FigureError, "no sweep 'quik'"),
        ({"where": "lr <"}, QueryError, "where must be one condition"),
        ({"objectives": ("loss",)}, FigureError, "an objective must be like loss:min"),
        ({"objectives": ("los:min",)}, QueryError, "los"),
    ],
)
def test_a_mistake_is_an_error_of_its_kind(
    quick: Made, selection: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        told(quick, **selection)


def test_a_root_without_trials_has_a_page(made: Made) -> None:
    page = told(made)
    assert (page.said["families"], page.said["sweeps"], page.said["reasons"]) == ([], [], [])


def test_a_root_of_failures_alone_has_a_page(made: Made) -> None:
    made.write("trials", "s", "p0", [trial(status=TrialStatus.FAILED, error="no", lr=lr) for lr in (0.1, 0.2)])
    page = told(made)
    (family,) = page.said["families"]
    assert page.column("lr") == [0.1, 0.2] or page.column("lr") == [0.2, 0.1]
    assert not page.array(family["front"]).any() and family["traces"]["columns"] == []
    assert family["importance"]["why"].startswith("importance takes two knobs")


# -- families


@pytest.mark.parametrize("family", OURS)
def test_what_a_family_brings_is_among_its_columns(family: str) -> None:
    described = OURS[family]
    panels = panels_of(family, ())
    own = {table: {c.name for c in columns(table, described)} for table in tables_of(described)}
    assert all(o.expression in own["trials"] for o in objectives_in(panels.objectives))
    assert len(panels.objectives) == 2
    for part in panels.parts:
        assert {part.column, part.split_by or part.column} <= own[part.table]
        assert part.split_at is None or part.split_at in own["trials"]


def test_a_family_that_brings_nothing_is_shown_by_its_first_metric() -> None:
    assert panels_of("mine.py:Toy", ("loss", "min_loss", "sparsity")).objectives == ("loss:min", "sparsity:max")
    added = panels_of("mine.py:two_layer", ())
    assert asdict(added)["parts"] == asdict(panels_of("two_layer", ()))["parts"] and added.image is None


# -- the verb


def test_the_verb_writes_the_page_where_it_is_told(
    quick: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report([str(quick.path)]) == 0
    assert capsys.readouterr().out == f"{quick.path}/report.html\n"
    html = (quick.path / "report.html").read_text()
    assert html.startswith("<!DOCTYPE html>") and "https://" not in html.replace("https://plotly.com", "")
    assert "default-src 'none'" in html
    with pytest.raises(OutputError, match="choose another --to"):
        report([str(quick.path), "--to", str(tmp_path / "none" / "page.html")])
    assert not list(quick.path.glob("*.part"))


def test_nothing_is_renewed_where_nothing_runs(quick: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(quick.path), "--watch"]) == 0
    assert "no sweep of" in capsys.readouterr().err


def test_the_page_is_renewed_until_the_sweep_ends(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, path = [], quick.path / "report.html"

    def pause(seconds: float) -> None:
        seen.append(unpacked(path.read_text()).said["renewed_s"])
        assert seconds >= 5
        beat(quick, "quick", "finished" if len(seen) == 2 else "running", 0)

    beat(quick, "quick", "running", 0)
    monkeypatch.setattr(time, "sleep", pause)
    assert report([str(quick.path), "--watch"]) == 0
    assert len(seen) == 2 and all(s >= 5 for s in seen)
    assert unpacked(path.read_text()).said["renewed_s"] is None


# -- claims


def test_claims_that_trials_cover_are_told(small: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = check(open_root(str(small.path)))
    monkeypatch.setattr(content, "check", lambda *_, **__: verdicts)  # seconds
    claims = told(small, where="n_neurons > 128").said["claims"]
    covered = [v for v in verdicts if v.outcome != "not covered"]
    assert len(covered) > 20 and [row[:3] for row in claims["rows"]] == [[v.study, v.size, v.claim] for v in covered]
    assert claims["header"][-1] == "verdict" and claims["rows"][0][-1].startswith(covered[0].outcome)


def test_claims_that_are_not_judged_are_said(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cover no claim" in told_once("quick", quick).said["claims"]["why"]
    assert "not by those of one sweep" in told(quick, sweep="quick").said["claims"]["why"]
    monkeypatch.setattr(content, "MOST_JUDGED", 15)
    assert "more than 15 trials: `monosweep claims" in told(quick).said["claims"]["why"]
