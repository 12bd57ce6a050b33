"""What was swept, how far it is, and why trials ended early: the page's first tables."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from monosweep.analysis.figures.data import Selection
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.overview import reasons as told_reasons
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted
from monosweep.sweep.store.names import in_path
from monosweep.sweep.view.counts import Heartbeat

FRESH_S = 30.0
"""A heartbeat older than this is a dead driver's."""
MOST_REASONS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One sweep, as the page tells it."""

    sweep: str
    asked: int
    """Trials that it was asked for; of a root that does not say, those that have a row."""
    completed: int
    stopped: int
    diverged: int
    failed: int
    running: int
    live: bool
    """Whether a driver is at work."""
    seconds_left: float | None
    best: Mapping[str, float]
    """The best that trials of a launch at work have shown so far; empty if there is none."""
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """Trials that ended before their last step for the same reason."""

    status: str
    line: str
    """The first line of it, or that none is told."""
    n: int
    trial_id: str
    """One of them."""


def source(selection: Selection) -> str:
    """Where the rows of a selection are, as SQL."""
    return "trials" if selection.sweep is None else f"sweep({quoted(selection.sweep)})"


def progress(root: Root, selection: Selection) -> list[Progress]:
    """The sweeps of a root, or the one selected; by name."""
    rows = root.sweeps if selection.sweep is None else root.sweeps.filter(f"sweep = {quoted(selection.sweep)}")
    return [_with_beat(root, row) for row in rows.arrow().to_pylist()]


def reasons(root: Root, selection: Selection) -> list[Reason]:
    """Why trials failed or diverged, the most frequent first."""
    query = told_reasons(source(selection), conditions(selection.where))
    rows = root.sql(f"{query} LIMIT {MOST_REASONS}").to_pylist()
    return [Reason(**row) for row in rows]


def plain(rows: list[Progress] | list[Reason]) -> list[dict[str, Any]]:
    """As the page's JSON has them."""
    return [asdict(row) for row in rows]


def _with_beat(root: Root, row: Mapping[str, Any]) -> Progress:
    beat = _heartbeat(root, row["sweep"])
    if beat is None or beat.state != "running" or _age_s(beat) > FRESH_S:
        beat = None
    return Progress(
        **row, live=beat is not None, running=beat.running if beat else 0, best=_finite(beat.best) if beat else {},
        seconds_left=beat.speed.seconds_left if beat else None, description=_description(root, row["sweep"]),
    )  # fmt: skip


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _age_s(beat: Heartbeat) -> float:
    return (datetime.now(UTC) - beat.updated_at).total_seconds()


def _heartbeat(root: Root, sweep: str) -> Heartbeat | None:
    """The last one; None if there is none, or none that can be read."""
    said = _json(root, f"sweeps/{in_path(sweep)}.progress.json")
    try:
        return Heartbeat.from_json(said)
    except (ValueError, TypeError, KeyError):
        return None


def _description(root: Root, sweep: str) -> str:
    return str(_json(root, f"sweeps/{in_path(sweep)}.json").get("description") or "")


def _json(root: Root, path: str) -> dict[str, Any]:
    try:
        found = json.loads(root.files.read(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
