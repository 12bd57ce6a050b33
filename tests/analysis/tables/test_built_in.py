"""Trials with metrics of a user's file, `mine.py:two_layer`: figures and claims take them for what they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.figures import mono_means_info
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.papers.figures import info_of
from monosweep.analysis.papers.jermyn2022.claims import JERMYN2022
from monosweep.analysis.papers.lecomte2023.claims import LECOMTE2023
from monosweep.analysis.papers.studies import check, lacking
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root, open_root
from monosweep.sweep.store.families import about

from ..conftest import Made
from ..papers.lecomte2023.test_scaling import as_the_paper
from ..papers.made_rows import rows_of, write_root

OWN = "mine.py:two_layer"


def extend(path: Path, part: str = "p0", to: str = "p0", **values: Any) -> None:
    """A part's trials as those of a user's file with a metric more, or beside them if `to` is another part's name."""
    (source,) = path.glob(f"trials/sweep=*/part-{part}.parquet")
    rows = pq.read_table(source).to_pylist()
    family = rows[0]["family"]
    values = {"family": f"mine.py:{family}", "family_digest": "0" * 16, "pack_id": to, "spread": 0.5, **values}
    ids = {} if to == part else {"trial_id": lambda row: row["trial_id"][::-1]}
    changed = [{**row, **values, **{name: value(row) for name, value in ids.items()}} for row in rows]
    target = source.with_name(f"part-{to}.parquet")
    target.unlink(missing_ok=True)  # it may be a link
    pq.write_table(pa.Table.from_pylist(changed), target)
    (path / "families").mkdir(exist_ok=True)
    told = about(family)
    told["columns"]["trials"] += [{"name": "spread", "type": "double", "doc": "The user's own.", "knob": False}]
    file = path / "families" / f"mine.py-{family}-{'0' * 16}.json"
    file.write_text(json.dumps({**told, "name": f"mine.py:{family}"}))


def shown(root: Root) -> Any:
    return mono_means_info(load(root, Selection(), FAMILY))


def said(root: Root) -> Any:
    return [(v.claim, v.size, v.outcome, v.ours, v.n_seeds, v.left_out) for v in check(root, [JERMYN2022])]


@pytest.mark.parametrize("beside", [False, True])
def test_figures_and_claims_are_those_of_the_built_in_family(small: Made, tmp_path: Path, beside: bool) -> None:
    """Alone, or beside trials of the built-in family that are the same but for the metric."""
    plain, own = open_root(str(small.path)), tmp_path / "own"
    shutil.copytree(small.path, own, copy_function=os.link)
    extend(own, to="p1" if beside else "p0")
    root = open_root(str(own))
    here = root.sql("select count(*) as n, count(spread) as own from trials").to_pylist()[0]
    assert here["own"] == here["n"] // (2 if beside else 1) > 0
    assert said(root) == said(plain) and any(verdict[3] is not None for verdict in said(root))
    assert shown(root) == shown(plain)
    assert lacking(root, [JERMYN2022]) is None


def test_figures_of_one_network_are_drawn(quick: Made, tmp_path: Path) -> None:
    extend(quick.path)
    drawn = draw(open_root(str(quick.path)), tmp_path, ["bias", "response"], Selection(), print)
    assert [path.name for path in drawn] == ["bias.png", "response.png"]


def test_own_activations_are_refused_where_neurons_are_drawn(quick: Made, tmp_path: Path) -> None:
    extend(quick.path, activation="leaky")
    root = open_root(str(quick.path))
    with pytest.raises(QueryError, match="has the activation leaky of a user's own; choose others with --where"):
        list(draw(root, tmp_path, ["response"], Selection(), print))


def test_a_papers_figures_take_them_too(tmp_path: Path) -> None:
    rows = rows_of("incidental/scaling", as_the_paper, seeds=2)
    write_root(tmp_path / "plain", rows)
    shutil.copytree(tmp_path / "plain", tmp_path / "own")
    extend(tmp_path / "own")
    plain, own = (open_root(str(tmp_path / name)) for name in ("plain", "own"))
    assert info_of("incidental", own, Selection()) == info_of("incidental", plain, Selection())
    assert {v.outcome for v in check(own, [LECOMTE2023])} == {v.outcome for v in check(plain, [LECOMTE2023])}
