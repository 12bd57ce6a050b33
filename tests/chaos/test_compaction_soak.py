"""A reader beside a thousand commits and twenty compactions sees every committed trial, once, and no error."""

from __future__ import annotations

from pathlib import Path

import pytest
from compaction_soak import soak


@pytest.mark.long
def test_a_thousand_commits_and_twenty_compactions(tmp_path: Path) -> None:
    seen = soak(tmp_path / "out", n_packs=1000, n_compactions=20, grace_s=1)
    print(f"{seen.n_answers} answers while {seen.n_merged} parts were merged away")
    assert seen.faults == []
    assert seen.n_merged >= 3000
    assert seen.n_answers > 10


def test_sixty_commits_and_three_compactions(tmp_path: Path) -> None:
    seen = soak(tmp_path / "out", n_packs=60, n_compactions=3, grace_s=0.2)
    assert seen.faults == []
    assert seen.n_merged >= 180
    assert seen.n_answers > 3
