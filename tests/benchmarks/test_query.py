"""`make bench-query` in small: pandas answers each question the same way, and commands are timed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import query

from monosweep.analysis.tables.root import open_root

N = 1200


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("query") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "PART", 500)
        query.make(made, N)
    return made


def test_the_made_rows_are_of_one_trial_each_and_have_their_curves(root: Path) -> None:
    ours = open_root(str(root))
    assert ours.sql(
        "select count(*) n, count(distinct trial_id) ids, count(distinct lr) rates from trials"
    ).to_pylist() == [{"n": N, "ids": N, "rates": len(query.RATES)}]
    assert ours.sql("select count(*) n from curves")["n"].to_pylist() == [N * len(query.STEPS)]
    assert set(ours.hidden_rows().values()) == {0}


@pytest.mark.parametrize("name", [name for name, asked in query.QUESTIONS.items() if asked.sql])
def test_pandas_answers_the_same(root: Path, name: str, tmp_path: Path) -> None:
    found = pd.DataFrame(query.ours(root, name, tmp_path))
    _, theirs = query.by_pandas(root, name)
    if isinstance(theirs, int):
        assert found["n"].tolist() == [theirs] and 0 < theirs <= N
    else:
        pd.testing.assert_frame_equal(found, theirs.reset_index(drop=True), check_dtype=False)


def test_a_command_is_timed_and_its_memory_measured(root: Path) -> None:
    found = query.measure(root, "all as CSV", "monosweep")
    assert found["cold_s"] == found["warm_s"] > 0 and found["memory_mb"] > 10


def test_the_table_says_what_is_over_its_limit() -> None:
    fast, slow = ({"cold_s": s, "warm_s": s, "memory_mb": 1500.0} for s in (0.25, 3.0))
    text = query.report(
        10, {"count": {"monosweep": fast, "pandas": slow}, "page": {"monosweep": slow | {"memory_mb": 9}}}
    )
    assert "| count | 0.25 s | 0.25 s | 1,500 MB | 3.00 s | 3.00 s | 1,500 MB | over 1024 MB |" in text
    assert "| page | 3.00 s | 3.00 s | 9 MB |  |  |  | yes |" in text
