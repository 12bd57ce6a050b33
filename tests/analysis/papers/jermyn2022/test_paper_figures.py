"""The paper's figures by number: each shows its own batches, and says in one line what it lacks."""

from __future__ import annotations

from typing import Any

import matplotlib.image
import numpy as np
import pytest

from monosweep.analysis.cli import figures
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.bias import BiasInfo
from monosweep.analysis.families.two_layer.response_map import ResponseInfo
from monosweep.analysis.figures.data import Data, Selection, load
from monosweep.analysis.figures.points import PointsInfo
from monosweep.analysis.figures.traces import TracesInfo
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.jermyn2022.amplitude import AmplitudeInfo
from monosweep.analysis.papers.jermyn2022.batches import PAPER, SMALL
from monosweep.analysis.papers.jermyn2022.cdf import CdfInfo
from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, info_of, paint
from monosweep.analysis.papers.jermyn2022.linear import LinearInfo
from monosweep.analysis.papers.jermyn2022.plane import PlaneInfo
from monosweep.analysis.tables.root import open_root

from ...conftest import STEPS, Made
from ...paper_tables import ideal_rows


@pytest.fixture(scope="module")
def data(small: Made) -> Data:
    return load(open_root(str(small.path)), Selection(), FAMILY)


KINDS = {
    TracesInfo: (1, 3, 6, 7, 12, 14, 15, 16, 19, 21, 22, 23), CdfInfo: (2,), ResponseInfo: (4, 10, 20),
    BiasInfo: (5, 11), PointsInfo: (8, 13, 17, 18), PlaneInfo: (9,), AmplitudeInfo: (24, 25), LinearInfo: (26,),
}  # fmt: skip
"""Section 7 of the paper's description: which figures are of which kind."""


@pytest.mark.parametrize(("kind", "numbers"), KINDS.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_every_figure_is_of_its_kind(kind: type, numbers: tuple[int, ...], data: Data) -> None:
    for number in numbers:
        assert isinstance(info_of(f"fig{number}", data), kind)


def test_there_are_26() -> None:
    assert sorted(n for numbers in KINDS.values() for n in numbers) == list(range(1, 27))
    assert list(NUMBERED) == [f"fig{n}" for n in range(1, 27)]


@pytest.mark.parametrize(
    ("name", "by", "panels"), [("fig1", "lr", 2), ("fig3", "lr", 1), ("fig14", "n_neurons", 1), ("fig23", "l1", 2)]
)
def test_traces_are_those_of_their_batches(name: str, by: str, panels: int, data: Data) -> None:
    info = info_of(name, data)
    assert (info.by, len(info.panels)) == (by, panels)
    batch = SMALL.batches[NUMBERED[name].batches[0]]
    assert set(info.panels[-1].median) == {row[by] for row in batch.pick(data.rows)}


def test_the_regularised_runs_stand_beside_the_one_they_are_compared_with(data: Data) -> None:
    negative, zero = info_of("fig23", data).panels
    assert list(negative.median) == [0] and len(zero.median) == 8


def test_the_cdf_is_sorted_and_moves_right(data: Data) -> None:
    info = info_of("fig2", data)
    assert list(info.r) == list(STEPS)
    assert all((np.diff(r) >= 0).all() for r in info.r.values())
    means = [r.mean() for r in info.r.values()]
    assert means == sorted(means) and means[0] < means[-1]


def test_the_plane_holds_every_cell_and_the_curve(data: Data) -> None:
    info = info_of("fig9", data)
    assert info.probs.tolist() == [2.0**-i for i in (7, 6, 5, 4, 3)]
    assert len(info.offsets) == 9 and not np.isnan(info.mono_per_feature).any()
    np.testing.assert_allclose(info.curve[2], -(1 / 64**0.5))
    (row,) = [r for r in SMALL.batches["B3"].pick(data.rows) if r["bias_offset"] == -0.4]
    assert info.mono_per_neuron[2, info.offsets.tolist().index(-0.4)] == row["mono_per_neuron"]


def test_maps_and_biases_show_the_lowest_and_the_best_rate(data: Data) -> None:
    assert [m.title for m in info_of("fig4", data).maps] == ["lr 0.003, seed 0", "lr 0.03, seed 0"]
    assert len(info_of("fig5", data).panels) == 2


def test_amplitudes_add_up_and_kinks_are_the_networks(data: Data) -> None:
    info = info_of("fig24", data)
    np.testing.assert_allclose(info.mono + info.poly, info.whole, atol=1e-6)
    assert info.first_kink == pytest.approx(0.4) and np.isnan(info.second_kink)
    assert (info.n_owners == 1).all()
    np.testing.assert_allclose(info.whole[-1], 1, atol=1e-6)
    assert "1/128" in info_of("fig25", data).title


def test_the_linear_map_has_rank_d(data: Data) -> None:
    info = info_of("fig26", data)
    np.testing.assert_allclose(info.singular_values, [1] * 32 + [0] * 96, atol=1e-6)
    assert info.d_embed == 32 and info.matrix.shape == (128, 128)


def test_the_papers_size_goes_first(small: Made, data: Data) -> None:
    large = [r | {"sweep": "s"} for r in ideal_rows(PAPER, "K0", seeds=1)]
    both = data.only(data.rows + large, "n_neurons")
    found = NUMBERED["fig17"].trials(both.rows)
    assert found is not None and found[1] is PAPER
    assert {row["n_features"] for row in found[0]} == {512}


def test_a_figure_of_one_network_shows_the_trial_asked_for(small: Made, data: Data) -> None:
    chosen = SMALL.batches["LR3"].pick(data.rows)[2]
    mine = load(open_root(str(small.path)), Selection(trial=chosen["trial_id"]), FAMILY)
    assert f"lr {chosen['lr']:g}, bias offset −1" in info_of("fig26", mine).title


# -- what lacks


@pytest.mark.parametrize("name", NUMBERED)
def test_without_its_batches_a_figure_names_them(name: str, quick: Made) -> None:
    with pytest.raises(FigureError, match=f"^{name} shows {NUMBERED[name].batches[0]}.* launch small/"):
        info_of(name, load(open_root(str(quick.path)), Selection(), FAMILY))


def test_without_steps_or_weights_a_figure_says_how_to_get_them(made: Made) -> None:
    rows = [{k: v for k, v in row.items() if k != "sweep"} for row in ideal_rows(SMALL, "LR1", "LR3", seeds=1)]
    made.write("trials", "s", "p0", rows)
    data = load(open_root(str(made.path)), Selection(), FAMILY)
    with pytest.raises(FigureError, match=r"fig2: .* launch with `record_neurons: log2`"):
        info_of("fig2", data)
    for name in ("fig24", "fig26"):
        with pytest.raises(FigureError, match=rf"{name}: .* `monosweep weights OUT --sweep NAME`"):
            info_of(name, data)


# -- drawn


def test_a_figure_says_its_number_and_batches(small: Made, data: Data) -> None:
    assert paint("fig12", data).texts[0].get_text().startswith("Figure 12: LR4 at the small size\nTraining")
    asked = SMALL.batches["LR3"].pick(data.rows)[2]["trial_id"]
    mine = load(open_root(str(small.path)), Selection(trial=asked), FAMILY)
    assert paint("fig26", mine).texts[0].get_text().startswith("Figure 26\nThe positive-bias")


def test_the_new_kinds_are_drawn(small: Made, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["fig2", "fig9", "fig24", "fig26"]
    assert figures([str(small.path), *names, "--to", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(tmp_path / f"{name}.png") for name in names] and err == ""
    for name in names:
        image = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert min(image.shape[:2]) > 500 and image[..., :3].std() > 0.03
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_paper_draws_those_that_the_tables_carry(made: Made, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{k: v for k, v in row.items() if k != "sweep"} for row in ideal_rows(SMALL, "G3", seeds=1)]
    made.write("trials", "s", "p0", rows)
    assert figures([str(made.path), "paper", "--to", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(tmp_path / "fig13.png")]
    assert len(err.splitlines()) == 25
    with pytest.raises(FigureError, match="unknown figure 'fig27'; did you mean 'fig"):
        figures([str(made.path), "fig27"])
