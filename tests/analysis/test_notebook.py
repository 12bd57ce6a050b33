"""What a notebook sees of a results root: lazy rows, trials, the best one, all at a glance, and figures on its axes."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from monosweep.analysis import FigureError, QueryError, Results, open_root, plot
from monosweep.analysis.families.two_layer.metrics import PER_FEATURE
from monosweep.analysis.families.two_layer.responses import responses
from monosweep.analysis.knobs import named

from .conftest import Made, quick_trials, trial, weights_of

WALKTHROUGH = Path(__file__).parents[2] / "notebooks" / "walkthrough.py"


@pytest.fixture
def root(quick: Made) -> Results:
    return open_root(quick.path)  # a Path opens too


ROWS = quick_trials("p0")


def test_rows_are_asked_when_they_are_looked_at(root: Results, quick: Made) -> None:
    few = root.trials.filter("lr < 0.01 or lr > 5").select("trial_id, lr, loss").order("loss")
    there = sorted(row["loss"] for row in ROWS if row["lr"] < 0.01)
    assert few.arrow()["loss"].to_pylist() == there and len(few) == len(there) > 2
    late = trial("p9", lr=7.0, seed=77)
    quick.commit("late", "p9", [late])
    assert len(few) == len(there) + 1
    assert few.limit(2).df()["loss"].tolist() == sorted([*there, late["loss"]])[:2]
    assert few.columns == ["trial_id", "lr", "loss"]
    by_rate = root.trials.aggregate("lr, count(*) AS n", by="lr").order("lr").arrow().to_pydict()
    assert sum(by_rate["n"]) == 17 and by_rate["lr"] == sorted({row["lr"] for row in ROWS} | {7.0})
    assert not root.trials.filter("lr > 100") and root.trials


def test_a_condition_stays_one(root: Results) -> None:
    with pytest.raises(QueryError):
        root.trials.filter("true) union (select * from trials")
    with pytest.raises(QueryError, match="unknown table 'trails'; did you mean 'trials'"):
        root.table("trails")


def test_what_is_not_installed_is_named(root: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosweep.analysis.tables.rows.find_spec", lambda name: None)
    way_out = r"pip install 'monosweep\[polars\]', or use arrow\(\)"
    with pytest.raises(QueryError, match=rf"pl\(\) needs polars, which is not installed; {way_out}"):
        root.trials.pl()
    with pytest.raises(QueryError, match=r"df\(\) needs pandas"):
        root.trials.df()


def test_rows_show_themselves(root: Results) -> None:
    rows = root.trials.select("lr, loss, error, '<b>' AS word").order("loss")
    text, html = repr(rows), rows._repr_html_()
    assert text.split("\n")[0].split() == ["lr", "loss", "error", "word"] and len(text.split("\n")) == 2 + 16
    assert "<th>loss</th>" in html and "&lt;b&gt;" in html and "error" not in html
    assert "16 rows; 1 columns without a value in them are not shown" in html
    assert root.neurons._repr_html_().count("<tr>") == 21 and "20 of 2,048 rows" in root.neurons._repr_html_()
    assert repr(rows.filter("lr > 100")) == "no rows (lr, loss, error, word)"


def test_a_root_shows_its_sweeps_counts_and_failures(quick: Made, root: Results) -> None:
    quick.commit("wild", "p5", [
        trial("p5", seed=i, lr=3.0, status="failed", error="ValueError: <too> wide\nmore") for i in range(3)
    ])  # fmt: skip
    found = {row["sweep"]: row for row in root.sweeps.arrow().to_pylist()}
    assert [(found[s]["asked"], found[s]["completed"], found[s]["failed"]) for s in ("quick", "wild")] == [
        (16, 16, 0), (3, 0, 3),
    ]  # fmt: skip
    (why,) = root.failures.arrow().to_pylist()
    assert (why["status"], why["line"], why["n"]) == ("failed", "ValueError: <too> wide", 3)
    for shown, reason in ((repr(root), "<too> wide"), (root._repr_html_(), "&lt;too&gt; wide")):
        assert "quick" in shown and "wild" in shown and reason in shown and str(quick.path) in shown


def test_a_root_that_has_gone_still_has_a_name(quick: Made, root: Results) -> None:
    shutil.rmtree(quick.path)
    (quick.path.parent / "results").write_text("no folder")
    assert repr(root).startswith(f"results root {quick.path}")


def test_the_best_trial(root: Results) -> None:
    assert root.best()["loss"] == min(row["loss"] for row in ROWS)
    most = root.best("mono_per_feature:max", where="lr > 0.005")
    assert most["mono_per_feature"] == max(row["mono_per_feature"] for row in ROWS if row["lr"] > 0.005)
    assert most["lr"] > 0.005 and root.best("loss / n_features:max")["loss"] == max(row["loss"] for row in ROWS)
    with pytest.raises(QueryError, match="which way is n_mono best\\? say n_mono:min or n_mono:max"):
        root.best("n_mono")
    with pytest.raises(QueryError, match=r"no completed trial of .* where lr > 9 has a loss"):
        root.best(where="lr > 9")
    with pytest.raises(FigureError, match="an objective must be like loss:min"):
        root.best("n_mono:most")


def test_a_trial_by_its_id(root: Results) -> None:
    row = ROWS[3]
    found = root.trial(row["trial_id"][:9])
    assert found.trial_id == row["trial_id"] and found["loss"] == row["loss"] and set(found) == set(root.trials.columns)
    assert found.config.to_dict()["lr"] == row["lr"]
    steps = found.curve.arrow()["step"].to_pylist()
    assert steps == sorted(steps) and len(steps) == 14
    assert found.neurons.arrow()["neuron"].to_pylist() == list(range(128))
    np.testing.assert_array_equal(found.weights["w_in"], weights_of(row)["w_in"])
    np.testing.assert_array_equal(found.response(), responses(weights_of(row), found.config))  # type: ignore[arg-type]
    assert row["trial_id"] in repr(found) and "error" not in repr(found)
    assert f"<td>{row['trial_id']}</td>" in found._repr_html_()


def test_ids_complete_on_a_tab(root: Results) -> None:
    offered = root.trial._ipython_key_completions_()
    assert sorted(offered) == sorted(row["trial_id"] for row in ROWS)
    assert root.trial[offered[0]].trial_id == offered[0]


def test_a_figure_is_drawn_on_ones_own_axes(root: Results) -> None:
    left, right = Figure().subplots(1, 2)
    assert plot.mono(root, by="lr", ax=left, where="bias_offset = 0") is left
    assert plot.points(root, "n_dead", by="bias_offset", ax=right) is right
    (points,) = left.collections
    there = sorted((row["lr"], row["mono_per_feature"]) for row in ROWS if row["bias_offset"] == 0)
    np.testing.assert_allclose(sorted(map(tuple, points.get_offsets().tolist())), there)
    assert (left.get_xlabel(), left.get_ylabel()) == (named("lr"), PER_FEATURE.label)
    with pytest.raises(QueryError, match="unknown metric 'n_moon'; did you mean 'n_mono'"):
        plot.points(root, "n_moon", ax=right)


def test_every_combination_is_drawn_and_what_is_left_out_warned_of(quick: Made) -> None:
    """Trials without a number are left out; more combinations than colours tell apart are told to be others."""
    more = [trial("p7", seed=5, n_neurons=n, lr=lr) for n in range(40, 60) for lr in (0.1, 0.2)]
    quick.commit("more", "p7", [*more, trial("p7", seed=6, lr=0.3, metrics={"loss": None})])
    ax = Figure().subplots()
    with pytest.warns(UserWarning, match="1 of 57 trials have no"):
        plot.loss(open_root(quick.path), by="lr", ax=ax)
    drawn = [y for points in ax.collections for _, y in points.get_offsets().tolist()]
    assert {row["loss"] for row in (*ROWS, *more)} <= set(drawn)
    assert any("other combinations" in text for text in ax.get_legend_handles_labels()[1])


def test_a_response_map_on_ones_own_axes(root: Results) -> None:
    found, ax = root.trial(ROWS[0]["trial_id"]), Figure().subplots()
    assert plot.response(found, ax=ax) is ax
    (image,) = ax.images
    assert sorted(np.asarray(image.get_array()).ravel()) == pytest.approx(sorted(found.response().ravel()))


def test_the_walkthrough_runs(root: Results, quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, as a notebook would, each last line shown as one."""
    monkeypatch.chdir(quick.path.parent)
    monkeypatch.setitem(mpl.rcParams, "backend", "Agg")
    cells = WALKTHROUGH.read_text().split("# %%\n")[1:]
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that combinations are left out
        for cell in cells:
            exec(compile(cell.split("# %% [markdown]")[0], str(WALKTHROUGH), "exec"), names)
    from matplotlib import pyplot as plt

    assert len(cells) >= 9 and names["few"].df().shape == (8, 4)
    assert len(plt.get_fignums()) >= 3
    plt.close("all")
