"""What came of a search: numbers against a small one whose answers are known, tables, and the figures' artists."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.figures.search import SEARCH_FIGURES
from monosweep.analysis.figures.search.front import front
from monosweep.analysis.figures.search.history import history
from monosweep.analysis.figures.search.importance import importance
from monosweep.analysis.figures.search.parallel import parallel
from monosweep.analysis.figures.search.rungs import rungs
from monosweep.analysis.figures.style import NOTES
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root, open_root
from monosweep.analysis.tables.search import Search
from monosweep.model.records import TrialStatus

from ..conftest import Made, trial

OBJECTIVES = {"loss": "min", "mono_per_feature": "max"}
N = 64
GRACE = 1024


def launched(made: Made, name: str = "s", **spec: Any) -> None:
    folder = made.path / "sweeps"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"name": name, "objectives": OBJECTIVES, **spec}))
    (folder / f"{name}.progress.json").write_text("{}")  # a heartbeat is no spec


def asked(made: Made, rows: list[dict[str, Any]], name: str = "s") -> None:
    made.write("trials", name, f"p-{name}", rows)
    points = [
        {**row, "step": step, "loss": row["loss"] + 1 / step, "lr": 0.5, "min_loss": 0.0, "mean_bias": 0.0}
        for row in rows if row["loss"] is not None
        for step in (512, 1024, 2048, 5000) if step <= row["last_step"]
    ]  # fmt: skip
    made.write("curves", name, f"p-{name}", points)


def row(i: int, loss: float | None, n_mono: int | None, **fields: Any) -> dict[str, Any]:
    status = fields.pop("status", TrialStatus.COMPLETED)
    metrics = {"loss": loss, "n_mono": n_mono, "mono_per_feature": None if n_mono is None else n_mono / 64}
    found = trial(f"p{i}", status, at=float(i), metrics=metrics, seed=i, **{"lr": 0.01 * 1.01**i, **fields})
    stopped = {"last_step": GRACE, "error": f"asha, step {GRACE}: 3 of 8 (loss {loss})"}
    return {**found, **(stopped if status == TrialStatus.STOPPED else {})}


@pytest.fixture
def few(made: Made) -> Search:
    """Six trials: three on the front, one that they dominate, one stopped, one diverged."""
    launched(made, constraints=["loss <= 100 * best_loss"])
    asked(made, [
        row(0, 0.5, 16), row(1, 0.4, 8), row(2, 0.3, 4), row(3, 0.5, 8),
        row(4, 0.1, 60, status=TrialStatus.STOPPED), row(5, None, None, status=TrialStatus.DIVERGED),
    ])  # fmt: skip
    return open_root(str(made.path)).search()


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """64 trials at whose loss lr alone has a say; the worse half is stopped."""
    made = Made(tmp_path_factory.mktemp("many") / "results")
    launched(made, scheduler={"name": "asha"})
    draw_ = np.random.default_rng(0)
    rows = []
    for i in range(N):
        lr, decay = float(np.exp(draw_.uniform(math.log(1e-4), 0))), float(draw_.uniform(0, 1))
        loss = 0.2 + (math.log10(lr) + 2) ** 2
        status = TrialStatus.STOPPED if loss > 0.6 else TrialStatus.COMPLETED
        rows.append(row(i, loss, i % 16, lr=lr, bias_decay=decay, status=status, activation=("relu", "gelu")[i % 2]))
    asked(made, rows)
    return open_root(str(made.path))


# -- numbers


def test_the_front_is_of_completed_trials_and_its_volume_is_what_they_dominate(few: Search) -> None:
    info = few.front_info()
    assert info.on_front.tolist() == [True, True, True, False, False, False]
    # a tenth of the front's range beyond its worst: loss 0.52, mono (4 - 1.2) / 64
    assert info.reference.tolist() == pytest.approx([0.52, 2.8 / 64])
    cells = (0.02 * (16 - 2.8) + 0.1 * (8 - 2.8) + 0.1 * (4 - 2.8)) / 64
    assert info.hypervolume == pytest.approx(cells)
    assert few.hypervolume({"loss": 0.6, "mono_per_feature": 0}) == pytest.approx((0.1 * 16 + 0.1 * 8 + 0.1 * 4) / 64)
    with pytest.raises(FigureError, match="a reference must have a value for each of loss, mono_per_feature; got loss"):
        few.front({"loss": 1})
    table = few.front().to_pylist()
    assert [r["on_front"] for r in table] == info.on_front.tolist()
    assert (table[5]["loss"], table[4]["status"], table[0]["lr"]) == (None, "stopped", 0.01)


def test_who_breaks_a_constraint_is_on_no_front(made: Made) -> None:
    launched(made, constraints=["loss <= 1.5 * best_loss", "n_mono / n_features > 0"])
    asked(made, [row(0, 0.5, 16), row(1, 0.4, 8), row(2, 0.3, 4)])
    assert open_root(str(made.path)).search().front_info().on_front.tolist() == [False, True, True]


def test_figures_say_whom_they_leave_out(made: Made) -> None:
    """Below themselves; of importance, which goes by the order of all, nobody."""
    launched(made, scheduler={"name": "asha"}, constraints=["loss <= 100 * best_loss"])
    rows = [row(i, 0.5 - 0.01 * i, 16 - i % 5, lr=0.01 * (i + 1), bias_decay=0.01 * (i % 7)) for i in range(20)]
    rows += [
        row(20, 90.0, 2), row(21, 99.0, 3), row(22, None, 5), row(23, 0.2, 60, status=TrialStatus.STOPPED),
        row(24, None, None, status=TrialStatus.DIVERGED), row(25, None, None, status=TrialStatus.FAILED),
        row(26, None, 5, status=TrialStatus.STOPPED),
    ]  # fmt: skip
    asked(made, rows)
    search = open_root(str(made.path)).search()
    reasons = (
        "left out of 27 trials: 2 completed that break a constraint, 1 completed without a value of each objective, "
        "1 diverged, 1 failed, 1 stopped without a value of each objective"
    )
    for name in SEARCH_FIGURES:
        texts = [t for t in SEARCH_FIGURES[name](search).figure.texts if t.get_gid() == NOTES]
        told = " ".join(" ".join(t.get_text().split()) for t in texts)
        if name in ("pareto", "history", "parallel"):
            assert told == reasons
        else:
            assert name == "rungs" or not told


def test_history_counts_the_steps_of_all_and_the_best_of_the_completed(few: Search) -> None:
    info = few.history_info()
    assert info.model_steps.tolist() == [5000, 10000, 15000, 20000, 20000 + GRACE, 25000 + GRACE]
    assert info.best[:, 0].tolist() == [0.5, 0.4, 0.3, 0.3, 0.3, 0.3]
    assert info.best[:, 1].tolist() == [0.25] * 6
    assert info.hypervolume is not None
    assert info.hypervolume[-1] == pytest.approx(few.hypervolume()) and (np.diff(info.hypervolume) >= 0).all()
    assert info.hypervolume[0] == pytest.approx(0.02 * (16 - 2.8) / 64)
    assert few.history()["best loss"].to_pylist()[-1] == 0.3


def test_rungs_tell_who_was_stopped_where_and_by_whom(many: Root) -> None:
    search = many.search()
    info, n = search.rungs_info(), int(search.found.stopped.sum())
    (rung,) = info.rungs
    assert (rung.step, rung.reached, dict(rung.stopped), rung.went_on) == (GRACE, N, {"asha": n}, N - n)
    assert info.saved == pytest.approx(n * (5000 - GRACE) / (N * 5000))
    assert len(info.curves) == N
    some = search.found.rows[int(np.flatnonzero(search.found.stopped)[0])]
    steps, values = info.curves[some["trial_id"]]
    assert steps.tolist() == [512, 1024] and values[-1] == some["loss"] + 1 / 1024
    assert search.rungs().to_pylist() == [
        {"step": GRACE, "reached": N, "judge": "asha", "stopped": n, "went_on": N - n}
    ]


def test_curves_have_knobs_and_where_they_lack_a_column_none_are_drawn(many: Root) -> None:
    """`lr` of `curves` is the scheduled rate."""
    info = many.search(objectives=["loss + lr + bias_decay:min"]).rungs_info()
    first = info.found.rows[0]
    assert info.curves[first["trial_id"]][1][0] == pytest.approx(first["loss"] + 1 / 512 + 0.5 + first["bias_decay"])
    lacking = many.search(objectives=["capacity_sum:min"]).rungs_info()
    assert lacking.curves == {} and len(rungs(lacking).axes) == 1


def test_importance_finds_the_knob_that_matters(many: Root) -> None:
    info = many.search(objectives=["loss:min"]).importance_info()
    share = dict(zip(info.found.knobs, info.share[0], strict=True))
    assert share["lr"] > 0.7 and sum(share.values()) == pytest.approx(1)
    assert (info.low <= info.high).all() and info.low[0, info.found.knobs.index("lr")] > 0.4
    assert many.search(objectives=["loss:min"]).importance()["knob"].to_pylist()[0] == "lr"


def test_lines_are_high_where_trials_are_good(many: Root) -> None:
    search = many.search()
    info = search.parallel_info()
    heights = {axis.name: axis.heights for axis in info.axes}
    assert list(heights) == ["lr", "activation", "bias_decay", "loss", "mono_per_feature"]
    best = int(np.argmin([row["loss"] for row in search.found.rows]))
    assert heights["loss"][best] == 1 and info.rank[best] == 0
    rates = np.array([row["lr"] for row in search.found.rows])
    middle = np.log(rates / rates.min()) / np.log(rates.max() / rates.min())
    np.testing.assert_allclose(heights["lr"], middle)
    assert set(heights["activation"]) == {0.0, 1.0}
    assert np.isnan(info.rank).sum() == search.found.stopped.sum()


# -- which search


def test_a_search_is_found_by_its_spec_and_named_where_there_are_several(made: Made) -> None:
    launched(made)
    launched(made, "plain", objectives={})
    asked(made, [row(0, 0.5, 16)])
    root = open_root(str(made.path))
    assert root.searches() == ["s"] and root.search().found.sweep == "s"
    assert root.search(objectives=["n_mono / n_features:max"]).found.values.tolist() == [[0.25]]
    launched(made, "other")
    with pytest.raises(QueryError, match="a search must be named where there is not just one; got other, s; name it"):
        root.search()
    with pytest.raises(QueryError, match="unknown sweep 'sn'; did you mean 's'"):
        root.search("sn")
    with pytest.raises(FigureError, match="no trial of other has its row yet"):
        root.search("other")
    with pytest.raises(FigureError, match="an objective must be like loss:min or mono_per_feature:max; got 'loss'"):
        root.search("s", ["loss"])
    with pytest.raises(QueryError, match='"los" not found'):
        root.search("s", ["los:min"])


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("front", "a front takes two objectives; got loss; name them"),
        ("rungs", "no trial of s was stopped early"),
        ("importance", "importance takes two knobs that vary; s has lr"),
        ("history", None),
    ],
)
def test_what_cannot_be_told_is_one_line(made: Made, name: str, match: str | None) -> None:
    launched(made, objectives={"loss": "min"})
    asked(made, [row(0, 0.5, 16), row(1, 0.4, 8)])
    search = open_root(str(made.path)).search()
    if match is None:
        assert search.history_info().hypervolume is None
        return
    with pytest.raises(FigureError, match=match):
        getattr(search, name)()


# -- figures


def test_the_front_is_drawn_above_the_others_and_up_to_the_reference(few: Search) -> None:
    info = few.front_info()
    (ax,) = front(info).axes
    stopped, dominated, _, on_front = ax.collections
    assert sorted(map(tuple, on_front.get_offsets().tolist())) == [(0.3, 4 / 64), (0.4, 8 / 64), (0.5, 16 / 64)]
    assert dominated.get_offsets().tolist() == [[0.5, 8 / 64]]
    assert stopped.get_offsets().tolist() == [[0.1, 60 / 64]]
    low, high = ax.get_ylim()
    assert low < info.reference[1] and high > 16 / 64


def test_history_has_a_panel_for_each_objective_and_the_volume(few: Search) -> None:
    info = few.history_info()
    loss, _, volume = history(info).axes
    (line,) = loss.lines
    np.testing.assert_array_equal(line.get_ydata(), info.best[:, 0])
    np.testing.assert_array_equal(volume.lines[0].get_ydata(), info.hypervolume)


def test_rungs_importance_and_lines_draw_what_was_computed(many: Root) -> None:
    search = many.search()
    info = search.rungs_info()
    curves, counts = rungs(info).axes
    assert sum(len(lines.get_segments()) for lines in curves.collections) == N
    n = int(search.found.stopped.sum())
    assert 0 < n < N and [bar.get_height() for bar in counts.patches] == [N - n, n]
    found = search.importance_info()
    loss, mono = importance(found).axes
    assert sorted(bar.get_width() for bar in loss.patches) == pytest.approx(sorted(found.share[0]))
    assert len(mono.patches) == 3
    (ax,) = parallel(search.parallel_info()).axes
    assert sum(len(lines.get_segments()) for lines in ax.collections) == N


def test_figures_are_drawn_unasked_where_a_sweep_was_searched(many: Root, tmp_path: Path) -> None:
    notes: list[str] = []
    drawn = [path.name for path in draw(many, tmp_path, ["pareto", "rungs"], Selection(), notes.append)]
    assert drawn == ["pareto.png", "rungs.png"] and notes == []
    with open(tmp_path / "pareto.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == N and {line["on_front"] for line in table} == {"true", "false"}


def test_the_command_line_takes_a_sweep_and_objectives(few: Search, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monosweep.sweep", "figures", few.root.uri, "history", "--to", str(tmp_path)]
    done = subprocess.run(
        [*command, "--sweep", "s", "--objectives", "mono_per_feature:max"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "history.csv").read_text().splitlines()[1].endswith(",5000,0.25")
