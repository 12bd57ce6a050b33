"""All that the page tells, as JSON and a block of arrays.

Root + Selection -> gather -> Content -> page.py
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from scipy.special import stdtrit

from monosweep.analysis.claims.verdict import Outcome, as_lines, summary
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.studies import check
from monosweep.analysis.report import lines, sweeps
from monosweep.analysis.report.encode import Block, column
from monosweep.analysis.report.trials import MOST_TRIALS, Trials, families_in, front, plain_importance, trials_of
from monosweep.analysis.tables.root import Root

MOST_JUDGED = 20_000
"""Trials beyond which the page leaves claims to `monosweep claims`."""
_STUDENT = 200
"""Degrees of freedom up to which the page knows Student's t."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a page is made of."""

    title: str
    data: str
    """As `Block.packed` makes it."""
    n_live: int
    """Sweeps that a driver is working on."""


def gather(root: Root, selection: Selection, renewed_s: float | None = None) -> Content:
    """What the page tells of a selection; `renewed_s` is how often a reader should look again.

    Raises:
        QueryError, FigureError: if the condition, the sweep or an objective is at fault.
    """
    block = Block()
    running = sweeps.progress(root, selection)
    if selection.sweep is not None and not running:
        raise FigureError(f"no sweep {selection.sweep!r} in {root.uri}; `monosweep status {root.uri}` lists them")
    families = [_family(root, trials_of(root, selection, name), block) for name in families_in(root, selection)]
    n = sum(family["n"] for family in families)
    n_live = sum(one.live for one in running)
    said = {
        "root": root.uri, "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "version": version("monosweep"),
        "selection": _said(selection), "where": selection.where is not None, "renewed_s": renewed_s if n_live else None,
        "sweeps": sweeps.plain(running), "reasons": sweeps.plain(sweeps.reasons(root, selection)),
        "student": [float(stdtrit(freedom, 0.975)) for freedom in range(1, _STUDENT)],
        "claims": _claims(root, selection, n), "families": families, "live": lines.live(root, selection, block),
    }  # fmt: skip
    return Content(f"monosweep: {root.uri}", block.packed(said), n_live)


def _said(selection: Selection) -> str:
    sweep = "" if selection.sweep is None else f"sweep {selection.sweep}"
    where = "" if selection.where is None else f"where {selection.where}"
    return " ".join(filter(None, (sweep, where)))


def _family(root: Root, trials: Trials, block: Block) -> dict[str, Any]:
    on_front = front(trials.found)
    order = lines.ranked(trials, on_front)
    columns = {
        name: {**told, "doc": _doc(root, name)}
        for name in trials.table.column_names
        if (told := column(block, trials.table[name], exact=name in trials.knobs)) is not None
    }
    return {
        "family": trials.family, "n": trials.n, "shown": len(trials.table), "most": MOST_TRIALS, "columns": columns,
        "knobs": [k for k in trials.knobs if k in columns], "fixed": [k for k in trials.fixed if k in columns],
        "metrics": [m for m in trials.metrics if m in columns],
        "objectives": [{"name": o.expression, "mode": o.mode} for o in trials.found.objectives],
        "constraints": list(trials.constraints), "breaking": int((~trials.found.feasible).sum()),
        "front": block.add(on_front.astype("u1")), "importance": plain_importance(trials.found),
        "traces": lines.traces(root, trials, order, block), "parts": lines.parts(root, trials, order, block),
        "images": lines.images(root, trials, order, block), "commands": _commands(root, trials),
    }  # fmt: skip


def _doc(root: Root, name: str) -> str:
    schema = root.columns().tables["trials"]
    field = schema.field(name) if name in schema.names else None
    return (field.metadata or {}).get(b"doc", b"").decode() if field is not None else ""


def _commands(root: Root, trials: Trials) -> list[list[str]]:
    """(what it does, command), where TRIAL stands for the trial's id."""
    out = shlex.quote(root.uri if "://" in root.uri else os.path.abspath(root.uri))
    figures = " ".join(trials.panels.figures)
    found = [
        ["train it again and compare every number", f"monosweep replay {out} TRIAL"],
        ["its curve", f"monosweep query {out} \"from curves where trial_id = 'TRIAL' order by step\""],
        ["debug it", f"monosweep trial {out} TRIAL --pdb"],
    ]
    return found + ([["draw it", f"monosweep figures {out} {figures} --trial TRIAL"]] if figures else [])


def _claims(root: Root, selection: Selection, n: int) -> dict[str, Any]:
    """The verdicts on papers' findings that these trials carry; or why there are none."""
    if n > MOST_JUDGED:
        return {"why": f"more than {MOST_JUDGED:,} trials: `monosweep claims {root.uri}` judges them"}
    if selection.sweep is not None:
        return {"why": "claims are judged by all trials of a root, not by those of one sweep"}
    verdicts = [v for v in check(root, where=selection.where) if v.outcome is not Outcome.NOT_COVERED]
    if not verdicts:
        return {"why": "these trials cover no claim of a paper; `monosweep presets` lists what would"}
    table = as_lines(verdicts)
    return {"header": table.column_names, "rows": [list(map(str, r.values())) for r in table.to_pylist()],
            "summary": summary(verdicts)}  # fmt: skip
