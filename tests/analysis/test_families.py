"""A root of two families: views by what families/*.json says, knobs and defaults of each, figures and claims of one.

Parts and descriptions are written by hand, with pyarrow and json alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.cli import claims, figures
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.figures import FIGURES
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.jermyn2022.batches import PAPER
from monosweep.analysis.papers.studies import STUDIES, check
from monosweep.analysis.tables.root import QueryError, Root, open_root
from monosweep.model.families.two_layer.config import TwoLayerConfig

from .conftest import Made, quick_trials, trial

START = datetime(2026, 1, 1, tzinfo=UTC)
TOY = "another"


def column(name: str, type: str, knob: bool = False, default: Any = None) -> dict[str, Any]:
    return {"name": name, "type": type, "doc": f"the {name}", "knob": knob, "default": default}


COLUMNS = {
    "trials": [
        column("n_features", "int64", True, 5), column("d_hidden", "int64", True, 2),
        column("lr", "double", True, 0.001), column("tied", "bool", True, True),
        column("act", "string", True, "relu"), column("seed", "int64", True, 0),
        column("order", "double"), column("block_sizes", "list<item: int64>"),
    ],
    "curves": [column("step", "int64"), column("loss", "double"), column("capacity", "double")],
    "features": [column("feature", "int32"), column("importance", "float"), column("D", "double")],
}  # fmt: skip


def describe(root: Path, name: str = TOY, columns: Mapping[str, Any] = COLUMNS) -> None:
    (root / "families").mkdir(exist_ok=True)
    (root / "families" / f"{name}.json").write_text(json.dumps({"name": name, "columns": columns}))


def write(root: Path, table: str, rows: Sequence[Mapping[str, Any]], part: str = "t0", sweep: str = "toy.one") -> None:
    """A part with just the columns that its rows have; lists, floats and times get the types of the description."""
    types = {c["name"]: c["type"] for c in COLUMNS[table]} | {"finished_at": "ts"}
    kinds = {
        "int64": pa.int64(), "int32": pa.int32(), "double": pa.float64(), "float": pa.float32(), "bool": pa.bool_(),
        "list<item: int64>": pa.list_(pa.int64()), "ts": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    names = dict.fromkeys(name for row in rows for name in row)
    data = {n: pa.array([row.get(n) for row in rows], kinds.get(types.get(n, ""))) for n in names}
    folder = root / table / f"sweep={sweep}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(data), folder / f"part-{part}.parquet")


def toy(i: int, **values: Any) -> dict[str, Any]:
    return {
        "trial_id": f"{i:016x}", "pack_id": "t0", "family": TOY, "n_features": 20, "d_hidden": 5, "lr": 0.01 * (i + 1),
        "tied": False, "act": "relu", "seed": 0, "loss": 0.1 * i, "status": "completed", "finished_at": START,
        "order": 0.5, "block_sizes": [2, 1], **values,
    }  # fmt: skip


def make_toy(root: Path) -> None:
    """Three trials of the other family, two of which have curves and features; the last is of an older part."""
    describe(root)
    rows = [toy(i) for i in range(2)]
    write(root, "trials", rows)
    write(root, "curves", [{"trial_id": r["trial_id"], "pack_id": "t0", "step": s, "loss": 1.0, "capacity": 0.5}
                           for r in rows for s in (1, 2)])  # fmt: skip
    write(root, "features", [
        {"trial_id": r["trial_id"], "pack_id": "t0", "feature": j, "importance": 0.9**j, "D": 0.5}
        for r in rows for j in range(20)
    ])  # fmt: skip
    old = {k: v for k, v in toy(2, pack_id="t1").items() if k not in ("lr", "tied", "act", "block_sizes")}
    write(root, "trials", [old], part="t1")
    write(root, "features", [{"trial_id": "never", "pack_id": "t9", "feature": 0, "importance": 1.0, "D": 1.0}], "t9")


@pytest.fixture
def both(quick: Made) -> Made:
    """The quick sweep, whose rows name no family, and the toy."""
    make_toy(quick.path)
    return quick


@pytest.fixture
def other(made: Made) -> Made:
    """The toy alone."""
    make_toy(made.path)
    return made


def opened(made: Made, said: list[str] | None = None) -> Root:
    return open_root(str(made.path), (said if said is not None else []).append)


# -- views


def test_rows_that_name_no_family_are_two_layer(both: Made) -> None:
    counts = opened(both).sql("select family, count(*) n from trials group by all order by all").to_pylist()
    assert counts == [{"family": TOY, "n": 3}, {"family": FAMILY, "n": 16}]
    assert len(opened(both).trials.filter("family = 'two_layer' and lr = 0.01")) == 4


def test_columns_are_those_of_all_families_and_null_where_a_row_has_none(both: Made) -> None:
    mine, toys = (
        opened(both).sql(f"select * from trials where family = '{name}' order by trial_id").to_pylist()
        for name in (FAMILY, TOY)
    )
    assert all(row["d_hidden"] is row["order"] is row["block_sizes"] is row["act"] is None for row in mine)
    assert all(row["n_neurons"] is row["bias_offset"] is row["precision"] is row["n_mono"] is None for row in toys)
    assert (toys[0]["n_features"], toys[0]["order"], toys[0]["block_sizes"]) == (20, 0.5, [2, 1])
    assert {row["sweep"] for row in toys} == {"toy/one"}
    curves = opened(both).sql("select count(capacity) c, count(n_mono) m, count(*) n from curves").to_pylist()
    assert curves == [{"c": 4, "m": 16 * 14, "n": 16 * 14 + 4}]


def test_a_knob_that_an_older_part_lacks_is_at_its_familys_default(both: Made) -> None:
    rows = opened(both).sql("select lr, tied, act, block_sizes from trials where trial_id = '0000000000000002'")
    assert rows.to_pylist() == [{"lr": 0.001, "tied": True, "act": "relu", "block_sizes": None}]
    both.write("trials", "older", "p7", [trial("p7", lr=0.3)], lacks=["bias_reg", "bias_decay_mode", "l1", "mean_bias"])
    old = opened(both).sql("select bias_reg, bias_decay_mode, l1, mean_bias from trials where lr = 0.3").to_pylist()
    assert old == [{"bias_reg": 0.0, "bias_decay_mode": "rate", "l1": 0.0, "mean_bias": None}]
    assert len(opened(both).trials.filter("bias_reg = 0 and lr = 0.3")) == 1


def test_a_batch_holds_what_an_older_part_lacks_at_its_default(made: Made) -> None:
    row = trial("p0", **(TwoLayerConfig(lr=0.01).to_dict()))
    made.write("trials", "s", "p0", [row], lacks=["connectivity", "bias_reg", "bias_reg_target"])
    (shown,) = opened(made).trials.arrow().to_pylist()
    assert PAPER.batches["LR1"].holds(shown)


def test_a_declared_table_is_a_view_of_what_is_committed(both: Made) -> None:
    root = opened(both)
    answer = root.sql("select * from features order by trial_id, feature")
    assert answer.schema.names == ["sweep", "trial_id", "pack_id", "feature", "importance", "D"]
    assert [answer.schema.field(name).type for name in ("feature", "importance")] == [pa.int32(), pa.float32()]
    assert answer.num_rows == 40
    joined = "select t.d_hidden, count(*) n from features f join sweep('toy/one') t using (trial_id) group by all"
    assert root.sql(joined).to_pylist() == [{"d_hidden": 5, "n": 40}]
    assert root.hidden_rows()["features"] == 1
    assert {row["name"] for row in root.sql("show tables").to_pylist()} == {
        "trials", "curves", "neurons", "asked", "live_curves", "features",
    }  # fmt: skip
    with pytest.raises(QueryError, match="The tables are trials, curves, neurons, asked, features"):
        root.sql("from featurs")


def test_a_root_described_and_empty_has_every_column(made: Made) -> None:
    describe(made.path)
    root = opened(made)
    for table in COLUMNS:
        names = root.sql(f"from {table}").schema.names
        assert {c["name"] for c in COLUMNS[table]} < set(names)
        assert len(names) == len(set(names))
    assert {"bias_offset", "n_mono", "d_hidden"} < set(root.sql("from trials").schema.names)


def test_a_family_described_later_is_seen(made: Made) -> None:
    root = opened(made)
    with pytest.raises(QueryError, match='"d_hidden" not found'):
        root.sql("select d_hidden from trials")
    make_toy(made.path)
    assert root.sql("select count(d_hidden) n from trials").to_pylist() == [{"n": 3}]


def test_on_a_filesystem_of_pyarrow(both: Made, tmp_path: Path) -> None:
    shutil.copytree(both.path, tmp_path / "what?")
    for table in ("trials", "curves", "features"):
        query = f"select * from {table} order by all"
        assert open_root(str(tmp_path / "what?")).sql(query).to_pylist() == opened(both).sql(query).to_pylist()


# -- descriptions that cannot be used


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x", "columns": {"trials": [3]}}', "\xff"])
def test_a_description_that_is_none_is_left_out_once(quick: Made, content: str) -> None:
    (quick.path / "families").mkdir()
    (quick.path / "families" / "x.json").write_text(content)
    said: list[str] = []
    root = opened(quick, said)
    for _ in range(2):
        assert len(root.trials) == 16
    (text,) = said
    assert text.startswith("left out families/x.json, which must hold a name and columns by table; got b")


def test_what_cannot_be_shown_is_said(quick: Made) -> None:
    columns = {
        "trials": [column("lr", "string"), column("z", "complex"), column("LOSS", "double"), column("sweep", "string")],
        "weights": [column("x", "double")], "Robert'); --": [column("x", "double")],
    }  # fmt: skip
    describe(quick.path, "odd", columns)
    said: list[str] = []
    root = opened(quick, said)
    assert root.sql("select lr from trials").schema.field("lr").type == pa.float64()
    assert said == [
        "column lr of families/odd.json is shown as double, which another family says it is",
        "left out column z of families/odd.json: type 'complex' is none of string, int64, int32, double, float, bool, "
        "timestamp[us, tz=UTC]",
    ]
    assert set(root.columns().tables) == {"trials", "curves", "neurons", "asked", "live_curves"}


def test_names_are_quoted(made: Made) -> None:
    describe(made.path, "odd", {"select": [column('a "b"', "double"), column("group", "int64")]})
    folder = made.path / "select" / "sweep=s"
    folder.mkdir(parents=True)
    row = trial("p0")
    made.write("trials", "s", "p0", [row])
    part = pa.table({"trial_id": [row["trial_id"]], "pack_id": ["p0"], 'a "b"': [1.5], "group": [7]})
    pq.write_table(part, folder / "part-p0.parquet")
    assert opened(made).sql('select "a ""b""" as a, "group" as g from "select"').to_pylist() == [{"a": 1.5, "g": 7}]


# -- knobs


def test_knobs_are_each_familys_own(both: Made) -> None:
    root = opened(both)
    assert root.knobs(TOY) == ("n_features", "d_hidden", "lr", "tied", "act")
    assert {"bias_offset", "n_neurons", "lr"} < set(root.knobs(FAMILY)) and "seed" not in root.knobs(FAMILY)
    assert root.knobs("nothing") == ()
    data = load(root, Selection(), TOY)
    assert (data.by, [row["lr"] for row in data.rows]) == ("lr", [0.01, 0.02, 0.001])
    with pytest.raises(FigureError, match="unknown column for --by 'bias_offset'; known: n_features, d_hidden"):
        load(root, Selection(by="bias_offset"), TOY)
    with pytest.raises(FigureError, match="unknown column for --by 'd_hidden'"):
        load(root, Selection(by="d_hidden"), FAMILY)


def test_a_config_is_that_of_its_family(both: Made) -> None:
    root = opened(both)
    assert root.config(quick_trials("p0")[0]["trial_id"]).n_neurons == 128
    with pytest.raises(QueryError, match=rf"^trial 0{{15}}1: unknown family '{TOY}'.*; its row has its knobs: n_f"):
        root.config("0000000000000001")


# -- figures and claims


def test_figures_are_of_their_family_alone(both: Made, quick: Made, tmp_path: Path) -> None:
    data = load(opened(both), Selection(), FAMILY)
    assert len(data.rows) == 16 and data.by == "lr"
    notes: list[str] = []
    drawn = list(draw(opened(both), tmp_path, [], Selection(), notes.append))
    assert [path.stem for path in drawn] == [*FIGURES]
    assert notes == ["a value with fewer than three trials has them as hollow points, and no interval"]


def test_a_root_without_the_family_says_so(other: Made, capsys: pytest.CaptureFixture[str]) -> None:
    message = rf"^no completed trial of family two_layer, whose figures these are, in .*; it has {TOY}$"
    with pytest.raises(FigureError, match=message):
        figures([str(other.path)])
    with pytest.raises(FigureError, match=rf"^trial 0{{16}} is of family {TOY}; these figures are of two_layer$"):
        figures([str(other.path), "bias", "--trial", "0000000000000000"])
    capsys.readouterr()
    assert claims([str(other.path)]) == 0
    out, err = capsys.readouterr()
    assert "not covered: launch small/LR1" in out
    claimed = " or ".join(dict.fromkeys(family for study in STUDIES for family in study.families))
    assert err.splitlines()[-1] == (
        f"monosweep: {other.path} holds no trial of family {claimed}, which these claims are about; it has {TOY}"
    )


def test_claims_are_judged_by_their_family_alone(both: Made) -> None:
    """Even where another's trials are of the very size."""
    write(both.path, "trials", [toy(7, n_features=512, d_embed=64, pack_id="t7")], part="t7")
    assert len(opened(both).trials.filter("n_features = 512 and d_embed = 64")) == 1
    assert {verdict.size for verdict in check(opened(both))} == {"small"}
