"""Rows of a preset's trials with made-up numbers, judged with or without a root around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq

from monosweep.analysis.claims.batch import Size
from monosweep.analysis.claims.claim import Claim
from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.claims.study import Study
from monosweep.analysis.claims.verdict import Outcome, judge
from monosweep.analysis.tables.root import Root
from monosweep.model.families import description_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from monosweep.sweep.store.families import about
from monosweep.sweep.store.schema import SCHEMA_VERSION, Key, Provenance, arrow_table, config_in, trial_row

Row = dict[str, Any]
Metrics = Callable[[Any, np.random.Generator], Mapping[str, Any]]


def rows_of(preset: str, metrics: Metrics, seeds: int = 4) -> list[Row]:
    """A completed row of each trial of a preset, its numbers as `metrics(config, random)` has them."""
    configs = expand(load_spec(preset, [f"seed={list(range(seeds))}", "repeats=1"]))
    return [_row(config, metrics(config, np.random.default_rng(i))) for i, config in enumerate(configs)]


def _row(config: Any, metrics: Mapping[str, Any]) -> Row:
    provenance = Provenance(
        status=TrialStatus.COMPLETED, last_step=config.n_steps, wall_time_s=1.0, engine="vmapped", device="cpu",
        device_name="a processor", code_version="0.1.0", library_versions="",
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    key = Key(trial_id=config.trial_id, pack_id="p0")
    return {**trial_row(key, config, {"min_loss": 0.0, **metrics}, provenance), "sweep": "s"}


def shuffled(rows: Sequence[Row], names: Sequence[str], seed: int = 0) -> list[Row]:
    """The same numbers in a world in which no knob does anything: they are dealt out anew."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [{**row, **{name: rows[i][name] for name in names}} for row, i in zip(rows, order, strict=True)]


def verdicts(study: Study, size: Size, rows: Sequence[Row]) -> dict[str, tuple[Outcome, int]]:
    """Each claim's outcome and number of seeds; for claims that need rows alone."""
    evidence = Evidence(cast(Root, None), list(filter(size.holds, rows)), size)
    found = {claim.name: judge(claim, evidence, study.name) for claim in study.claims}
    return {name: (verdict.outcome, verdict.n_seeds) for name, verdict in found.items()}


def all_hold(claims: Sequence[Claim], seeds: int) -> dict[str, tuple[Outcome, int]]:
    return {claim.name: (Outcome.HOLDS, seeds) for claim in claims}


def write_root(path: Path, rows: Sequence[Row], **tables: Sequence[Row]) -> None:
    """A results root that holds these trials, all of one family, and rows of its tables."""
    config = config_in(rows[0])
    (path / "families").mkdir(parents=True)
    marker = {"format": "monosweep results", "schema_version": SCHEMA_VERSION}
    (path / "monosweep.json").write_text(json.dumps(marker))
    (path / "families" / f"{config.FAMILY}.json").write_text(json.dumps(about(config.FAMILY)))
    for table, parts in {"trials": rows, **tables}.items():
        folder = path / table / "sweep=s"
        folder.mkdir(parents=True)
        plain = [{name: value for name, value in row.items() if name != "sweep"} for row in parts]
        pq.write_table(arrow_table(table, plain, description_of(config)), folder / "part-p0.parquet")
