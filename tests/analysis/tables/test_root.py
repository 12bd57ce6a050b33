"""Results roots as tables: what the views show and hide, damaged parts, single trials, S3."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from monosweep.analysis.tables.root import QueryError, RootError, open_root
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import SCHEMA_VERSION, TABLES, arrow_schema

from ..conftest import Made, curve_of, quick_trials, trial, weights_of


def one(root: Path | str, query: str) -> Any:
    """The single value that a query answers."""
    (row,) = open_root(str(root)).sql(query).to_pylist()
    (value,) = row.values()
    return value


# -- what the views show


def test_an_empty_root_has_every_column_and_no_rows(made: Made) -> None:
    root = open_root(str(made.path))
    for table in TABLES:
        answer = root.sql(f"select * from {table}")
        assert answer.num_rows == 0
        names = [name for name in answer.schema.names if name != "family" or name in arrow_schema(table).names]
        assert names == ["sweep", *arrow_schema(table).names]
        assert table != "trials" or "family" in answer.schema.names


def test_columns_keep_the_types_of_the_schema(quick: Made) -> None:
    root = open_root(str(quick.path))
    for table in TABLES:
        answer = root.sql(f"select * from {table}").schema
        assert [answer.field(f.name).type for f in arrow_schema(table)] == [
            pa.list_(pa.field("l", f.type.value_type)) if pa.types.is_list(f.type) else f.type
            for f in arrow_schema(table)
        ]


def test_one_row_per_trial_whatever_happened(troubled: Made) -> None:
    counts = "select count(*) || '/' || count(distinct trial_id) from trials"
    assert one(troubled.path, counts) == f"{16 + 2 + 2}/{16 + 2 + 2}"


def test_the_first_commit_of_the_best_ending_is_shown(troubled: Made) -> None:
    first = trial(lr=0.003, seed=0)["trial_id"]
    shown = open_root(str(troubled.path)).row(first)
    assert (shown["status"], shown["pack_id"]) == ("completed", "p0")
    assert one(troubled.path, "select max(loss) from trials") < 9


@pytest.mark.parametrize("better", range(3))
def test_endings_are_preferred_in_order(made: Made, better: int) -> None:
    order = (TrialStatus.COMPLETED, TrialStatus.DIVERGED, TrialStatus.STOPPED, TrialStatus.FAILED)
    made.write("trials", "a", "late-but-better", [trial(status=order[better], at=60)])
    made.write("trials", "a", "early-but-worse", [trial(status=order[better + 1], at=0)])
    assert one(made.path, "select pack_id from trials") == "late-but-better"


def test_of_equal_endings_the_earliest_is_shown(made: Made) -> None:
    made.write("trials", "s", "a", [trial("a", at=60)])
    made.write("trials", "s", "b", [trial("b", at=0)])
    assert one(made.path, "select pack_id from trials") == "b"


def test_equal_endings_at_equal_times_fall_to_the_least_pack(made: Made) -> None:
    for pack in ("b", "a", "c"):
        made.write("trials", "s", pack, [trial(pack)])
    assert one(made.path, "select pack_id from trials") == "a"


def test_the_same_pack_in_two_sweeps_is_shown_once(made: Made) -> None:
    for sweep in ("x", "y"):
        made.commit(sweep, "p0", [trial("p0")])
    root = open_root(str(made.path))
    assert one(made.path, "select sweep from trials") == "x"
    assert root.sql("select distinct sweep from curves").to_pylist() == [{"sweep": "x"}]
    assert root.sql("select trial_id, step from curves group by all having count(*) > 1").num_rows == 0


def test_rows_that_were_not_committed_or_superseded_are_hidden(troubled: Made) -> None:
    root = open_root(str(troubled.path))
    assert root.sql("select distinct pack_id from curves").to_pylist() == [{"pack_id": "p0"}]
    assert root.sql("select distinct pack_id from neurons").to_pylist() == [{"pack_id": "p0"}]
    assert root.hidden_rows() == {"trials": 3, "curves": 2 * 14 + 14, "neurons": 2 * 128 + 128}


def test_a_column_that_an_older_part_lacks_is_null(troubled: Made) -> None:
    count = "select count(capacity_sum) || ' of ' || count(*) from trials where sweep = 'older'"
    assert one(troubled.path, count) == "0 of 2"
    assert one(troubled.path, "select count(capacity_sum) from trials where sweep = 'quick'") == 16


def test_older_and_newer_parts_of_one_sweep(made: Made) -> None:
    made.write("trials", "s", "p0", [trial(seed=0)], lacks=["capacity_sum"])
    made.write("trials", "s", "p1", [trial(seed=1)])
    made.write("trials", "s", "p2", [trial(seed=2)], lacks=["device_name"])
    answer = open_root(str(made.path)).sql("select capacity_sum, device_name from trials order by seed")
    assert [tuple(row.values()) for row in answer.to_pylist()] == [
        (None, "a processor"), (15.5, "a processor"), (15.5, None),
    ]  # fmt: skip


def test_a_root_of_older_parts_alone_still_has_the_column(made: Made) -> None:
    made.write("trials", "older", "p0", [trial()], lacks=["capacity_sum"])
    assert one(made.path, "select capacity_sum from trials") is None


def test_trials_curves_and_neurons_take_a_condition(quick: Made) -> None:
    root = open_root(str(quick.path))
    assert len(root.trials.filter("lr = 0.01 and bias_offset = 0")) == 2
    assert len(root.curves.filter("step = 1")) == 16
    assert len(root.neurons.filter("neuron < 3")) == 16 * 3


def test_parameters_in_the_path_above_the_root_are_not_columns(tmp_path: Path) -> None:
    made = Made(tmp_path / "lr=7" / "sweep=wrong" / "it's here")
    made.commit("right", "p0", [trial(lr=0.01)])
    assert one(made.path, "select sweep || lr from trials") == "right0.01"


@pytest.mark.parametrize(("name", "decoy"), [("results[1]", "results1"), ("what?", "whats"), ("*", "other")])
def test_a_root_whose_name_looks_like_a_pattern(tmp_path: Path, name: str, decoy: str) -> None:
    for folder, lr in ((decoy, 0.5), (name, 0.01)):
        Made(tmp_path / folder).commit("s", "p0", [trial(lr=lr)])
    assert one(tmp_path / name, "select lr from trials") == 0.01


def test_a_root_that_grows_is_seen_to_grow(made: Made) -> None:
    root = open_root(str(made.path))
    assert len(root.trials) == 0
    made.commit("s", "p0", [trial()])
    assert len(root.trials) == 1


def test_pandas_comes_through_arrow(quick: Made) -> None:
    frame = open_root(str(quick.path)).sql("select lr, loss from trials").to_pandas()
    assert frame.shape == (16, 2)


# -- what a root is


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(RootError, match=r"^no such folder: .*nothing; `monosweep launch quick --out"):
        open_root(str(tmp_path / "nothing"))


def test_a_folder_that_is_not_a_root(tmp_path: Path) -> None:
    with pytest.raises(RootError, match=r"is not a results root: it has no monosweep\.json; give the folder"):
        open_root(str(tmp_path))


def test_a_folder_inside_a_root(quick: Made) -> None:
    with pytest.raises(RootError, match=f"lies inside the results root {quick.path}; give that one"):
        open_root(str(quick.path / "trials"))


def test_a_newer_root(made: Made) -> None:
    (made.path / "monosweep.json").write_text('{"schema_version": 99}')
    with pytest.raises(RootError, match=f"its schema version is 99, this one reads up to {SCHEMA_VERSION}; upgrade"):
        open_root(str(made.path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": "x"}', "\x00"])
def test_a_damaged_marker(made: Made, content: str) -> None:
    (made.path / "monosweep.json").write_text(content)
    with pytest.raises(RootError, match="must hold a schema_version; got"):
        open_root(str(made.path))


def test_a_uri_that_nobody_knows() -> None:
    with pytest.raises(RootError, match=r"^cannot open 'nosuch://x/y' \(.*\); give a folder or a URI"):
        open_root("nosuch://x/y")


def test_a_file_uri(quick: Made) -> None:
    assert one(quick.path.as_uri(), "select count(*) from trials") == 16


# -- damage


def test_a_truncated_part_is_named_and_left_out(troubled: Made) -> None:
    part = troubled.path / "trials" / "sweep=other" / "part-p3.parquet"
    part.write_bytes(part.read_bytes()[:200])
    said: list[str] = []
    root = open_root(str(troubled.path), said.append)
    assert len(root.trials) == 16 + 2
    assert len(root.trials) == 16 + 2
    assert len(said) == 1
    assert said[0].startswith("left out trials/sweep=other/part-p3.parquet, which cannot be read: ")


def test_an_empty_part_is_named_and_left_out(quick: Made) -> None:
    quick.write("curves", "quick", "p9", []).write_bytes(b"")
    said: list[str] = []
    assert len(open_root(str(quick.path), said.append).curves) == 16 * 14
    assert said == ["left out curves/sweep=quick/part-p9.parquet, which cannot be read: it is empty"]


def test_a_file_that_is_still_being_written_is_not_looked_at(quick: Made) -> None:
    folder = quick.path / "trials" / "sweep=quick"
    for name in (".part-p7.parquet.tmp", "part-p7.parquet.1234", ".part-p7.parquet", "tmp-p7.parquet"):
        (folder / name).write_bytes(b"half a part")
    said: list[str] = []
    assert len(open_root(str(quick.path), said.append).trials) == 16
    assert said == []


def test_a_reader_beside_a_writer_sees_whole_packs(made: Made) -> None:
    """Parts come and are replaced by the hundred; every answer is made of whole packs and complete curves."""
    rows = [[trial(f"p{i}", lr=0.001 * (i + 1), seed=s) for s in range(4)] for i in range(40)]
    stop = threading.Event()

    def write() -> None:
        for i, trials in enumerate(rows * 2):
            staged = Made(made.path.parent / "staged")
            staged.write("curves", "s", f"p{i % 40}", [point for t in trials for point in curve_of(t)])
            staged.write("trials", "s", f"p{i % 40}", trials)
            for table in ("curves", "trials"):
                target = made.path / table / "sweep=s" / f"part-p{i % 40}.parquet"
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged.path / table / "sweep=s" / target.name, target)
        stop.set()

    said: list[str] = []
    root = open_root(str(made.path), said.append)
    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    while not stop.is_set():
        query = """select t.pack_id, count(distinct trial_id) n, count(step) c
                   from trials t left join curves using (trial_id) group by 1"""
        answer = root.sql(query).to_pylist()
        assert all((row["n"], row["c"]) == (4, 4 * 14) for row in answer)
        counts.append(len(answer))
    writer.join()
    assert counts == sorted(counts)
    assert len(root.trials) == 160
    assert said == []


# -- single trials


def test_weights_of_a_trial(quick: Made) -> None:
    row = quick_trials("p0")[3]
    quick.weights("quick", "p0", [dict(row, seed=99)], step=16)
    weights = open_root(str(quick.path)).weights(row["trial_id"])
    assert {k: v.shape for k, v in weights.items()} == {
        "w_in": (128, 16), "bias": (128,), "w_out": (64, 128), "embedding": (16, 64),
    }  # fmt: skip
    for name, saved in weights_of(row).items():
        np.testing.assert_array_equal(weights[name], saved)


def test_no_weights_say_how_to_make_them(troubled: Made) -> None:
    row = trial("p4", lr=0.007)
    with pytest.raises(
        QueryError, match=rf"no weights saved .* {row['trial_id']}; `monosweep weights .* {row['trial_id']}`"
    ):
        open_root(str(troubled.path)).weights(row["trial_id"])


def test_damaged_weights(quick: Made) -> None:
    (file,) = (quick.path / "weights").rglob("*.safetensors")
    file.write_bytes(b"garbage, not tensors")
    with pytest.raises(QueryError, match=r"cannot read the weights in weights/sweep=quick/part-p0-step"):
        open_root(str(quick.path)).weights(quick_trials("p0")[0]["trial_id"])


def test_a_trial_by_the_start_of_its_id(quick: Made) -> None:
    row = quick_trials("p0")[5]
    root = open_root(str(quick.path))
    assert root.row(row["trial_id"][:10])["trial_id"] == row["trial_id"]
    assert root.config(row["trial_id"]).trial_id == row["trial_id"]
    with pytest.raises(QueryError, match=r"no trial 'feedbeef' in .*; `monosweep query .*` lists them"):
        root.row("feedbeef")
    digits = [t["trial_id"][0] for t in quick_trials("p0")]
    shared = max(digits, key=digits.count)
    with pytest.raises(QueryError, match="is the start of several trial ids"):
        root.row(shared)
    with pytest.raises(QueryError, match="a trial id is hexadecimal digits"):
        root.row("x' or '1'='1")


# -- elsewhere


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real S3 server on this machine, with one bucket."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="bucket")
    yield f"{host}:{port}"
    server.stop()


def upload(made: Made, address: str, prefix: str) -> None:
    client = boto3.client("s3", endpoint_url=f"http://{address}")
    for file in made.path.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), "bucket", f"{prefix}/{file.relative_to(made.path)}")


def test_a_root_on_s3_answers_as_the_local_one(troubled: Made, bucket: str) -> None:
    local = open_root(str(troubled.path))
    (troubled.path / "trials" / "sweep=quick" / "part-bad.parquet").write_bytes(b"PAR1 nonsense PAR1")
    upload(troubled, bucket, "my/results")
    said: list[str] = []
    root = open_root(f"s3://bucket/my/results?endpoint_override={bucket}&scheme=http", said.append)
    for table in TABLES:
        query = f"select * from {table} order by all"
        assert root.sql(query).to_pylist() == local.sql(query).to_pylist()
    assert [s.split(",")[0] for s in said] == ["left out trials/sweep=quick/part-bad.parquet"]
    assert root.hidden_rows() == local.hidden_rows()
    shown = quick_trials("p0")[0]["trial_id"]
    np.testing.assert_array_equal(root.weights(shown)["w_in"], local.weights(shown)["w_in"])
    with pytest.raises(QueryError, match=r"may read only the views .*; it reached for /etc/hosts\.csv"):
        root.sql("select * from '/etc/hosts.csv'")


def test_a_place_on_s3_that_is_no_root(bucket: str) -> None:
    with pytest.raises(RootError, match=r"is not a results root: it has no monosweep\.json"):
        open_root(f"s3://bucket/nothing?endpoint_override={bucket}&scheme=http")


# -- the arrows


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("model.config, model.records, sweep.store.schema, sweep.parse", ("torch", "ray", "pyarrow.dataset")),
        ("analysis.tables.root, analysis.catalogue, analysis.cli", ("torch", "ray")),
    ],
)
def test_reading_results_needs_neither_torch_nor_ray(modules: str, absent: tuple[str, ...]) -> None:
    names = ", ".join(f"monosweep.{module}" for module in modules.split(", "))
    code = f"import {names}, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(absent) & set(ran.stdout.split())


def test_parts_are_plain_parquet(quick: Made) -> None:
    """What the fixtures write is what DuckDB and pyarrow both read; the schema carries its version."""
    (part,) = (quick.path / "trials").rglob("*.parquet")
    assert pq.read_schema(part).metadata[b"monosweep_schema_version"] == str(SCHEMA_VERSION).encode()
