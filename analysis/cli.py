"""The verbs `monosweep query`, `figures`, `claims` and `report`: results to stdout, remarks to stderr.

Mistakes are raised as `UserError`, which the front door prints.  matplotlib is imported by `figures` alone, plotly
by `report`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from monosweep.analysis.tables.root import open_root
from monosweep.analysis.tables.text import as_csv, as_json, as_table, fitted
from monosweep.model.config import UserError
from monosweep.sweep.parse import parse

if TYPE_CHECKING:
    import pyarrow as pa

TERMINAL_ROWS = 200
"""Rows that a terminal is shown; pipes and files get all."""
WATCH_S = 5
"""How long `report --watch` waits at least before it writes again."""
RESTS = 4
"""How many times longer than it took: the sweep needs the processor."""
TEXT: dict[str, Callable[[pa.Table], str]] = {"table": as_table, "csv": as_csv, "json": as_json}


class OutputError(UserError):
    """Output that cannot be written where it was asked for."""


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """Arguments of `monosweep query`."""

    out: Annotated[Positional[str], arg(metavar="OUT")]
    """The results root: a folder, or a URI such as s3://bucket/results."""
    sql: Annotated[Positional[str], arg(metavar="SQL")]
    """One SELECT over the tables trials, curves, neurons and asked, or sweep('NAME'), the trials of a sweep; `describe
    trials` lists the columns."""
    format: Literal["auto", "table", "csv", "json", "parquet"] = "auto"
    """How to write the answer; auto goes by the ending of --output, and is else a table."""
    output: Annotated[str | None, arg(metavar="FILE")] = None
    """Write to this file instead of stdout."""


@dataclass(frozen=True, slots=True)
class FiguresOptions:
    """Arguments of `monosweep figures`."""

    out: Annotated[Positional[str], arg(metavar="OUT")]
    """The results root: a folder, or a URI such as s3://bucket/results."""
    names: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAMES ...]")] = ()
    """Which figures: summary, traces, mono, means, bias, response, capacity, of other papers' batches allocation,
    planes, phase, plateaus, geometry, cluster, incidental and cc, and of a search pareto, history, rungs, importance,
    parallel (all that the tables can carry if left out); fig1 to fig26 are the first paper's own by number, and paper
    stands for all of those that the tables can carry."""
    sweep: Annotated[str | None, arg(metavar="NAME")] = None
    """Draw only trials of this sweep, whoever trained them; where a root has several searches, which one pareto,
    history, rungs, importance and parallel show."""
    objectives: Annotated[tuple[str, ...], arg(metavar="X:min|max")] = ()
    """What they hold trials against, such as loss:min mono_per_feature:max; else what the sweep's spec says."""
    trial: Annotated[str | None, arg(metavar="ID")] = None
    """The trial that bias, response and the paper's figures of one network show; else the most monosemantic of
    each group."""
    to: Annotated[str | None, arg(metavar="DIR")] = None
    """Folder for the figures; else OUT/figures, or ./figures where OUT is a URI."""
    by: Annotated[str | None, arg(metavar="COLUMN")] = None
    """The swept column that colours traces and is the axis of mono and means; else the one with most values."""
    where: Annotated[str | None, arg(metavar="SQL")] = None
    """Draw only trials for which this condition holds, such as "sweep = 'quick'"."""


@dataclass(frozen=True, slots=True)
class ClaimsOptions:
    """Arguments of `monosweep claims`."""

    out: Annotated[Positional[str], arg(metavar="OUT")]
    """The results root: a folder, or a URI such as s3://bucket/results."""
    studies: Annotated[Positional[tuple[str, ...]], arg(metavar="[STUDIES ...]")] = ()
    """Which papers, such as jermyn2022; all that the root holds trials of if left out."""
    format: Literal["table", "json"] = "table"
    """A table for people; json has every field, with the reason for each accepted range."""
    where: Annotated[str | None, arg(metavar="SQL")] = None
    """Use only trials for which this condition holds, such as "device = 'cuda'"."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Arguments of `monosweep report`."""

    out: Annotated[Positional[str], arg(metavar="OUT")]
    """The results root: a folder, or a URI such as s3://bucket/results."""
    to: Annotated[str | None, arg(metavar="FILE")] = None
    """The page; else OUT/report.html, or ./report.html where OUT is a URI."""
    sweep: Annotated[str | None, arg(metavar="NAME")] = None
    """Show only trials of this sweep, whoever trained them."""
    where: Annotated[str | None, arg(metavar="SQL")] = None
    """Show only trials for which this condition holds, such as "lr < 0.01"."""
    objectives: Annotated[tuple[str, ...], arg(metavar="X:min|max")] = ()
    """What trials are held against, such as loss:min n_mono:max; else what a search's spec or the family says."""
    watch: Annotated[FlagCreatePairsOff[bool], arg(help_behavior_hint="")] = False
    """Write the page again and again while a sweep runs; a browser that shows it follows."""


def query(argv: Sequence[str]) -> int:
    """`monosweep query OUT SQL`; returns the exit status.

    Raises:
        UserError: if the arguments, the root, the SQL or the output file are at fault.
    """
    options = parse(QueryOptions, argv, prog="monosweep query", description="Ask the tables of a results root in SQL.")
    form = _format(options)
    if form == "parquet" and options.output is None and sys.stdout.isatty():
        raise OutputError("parquet is not text; add --output FILE, or send stdout to a file or pipe")
    answer = open_root(options.out).sql(options.sql)
    if options.output is None:
        _to_stdout(answer, form)
    else:
        with _written(options.output) as file:
            _write(answer, form, file)
    return 0


def figures(argv: Sequence[str]) -> int:
    """`monosweep figures OUT [NAMES ...]`: draws, and prints each path; returns the exit status.

    Raises:
        UserError: if the arguments or the root are at fault, or a named figure lacks its data.
    """
    options = parse(FiguresOptions, argv, prog="monosweep figures", description="Draw figures from a results root.")
    from monosweep.analysis.catalogue import draw  # matplotlib takes half a second
    from monosweep.analysis.figures.data import Selection

    selection = Selection(
        where=options.where, sweep=options.sweep, objectives=options.objectives, by=options.by, trial=options.trial
    )
    folder = options.to or ("figures" if "://" in options.out else os.path.join(options.out, "figures"))
    for path in draw(open_root(options.out), folder, options.names, selection, note=_remark):
        print(path)
    return 0


def claims(argv: Sequence[str]) -> int:
    """`monosweep claims OUT [STUDIES ...]`: what papers find, held against the tables; returns the exit status.

    Raises:
        UserError: if the arguments, a study's name, the root or the condition are at fault.
    """
    options = parse(
        ClaimsOptions, argv, prog="monosweep claims",
        description="Hold the findings of papers against the tables of a results root.",
    )  # fmt: skip
    from monosweep.analysis.claims.verdict import as_lines, as_rows, summary
    from monosweep.analysis.papers.studies import check, lacking, named

    studies = named(options.studies)
    root = open_root(options.out)
    verdicts = check(root, studies, options.where)
    if options.format == "json":
        print(as_json(as_rows(verdicts)))
    else:
        print(as_table(as_lines(verdicts)))
        _remark(summary(verdicts))
    if missing := lacking(root, studies):
        _remark(missing)
    return 0


def report(argv: Sequence[str]) -> int:
    """`monosweep report OUT`: writes the page, and prints its path; returns the exit status.

    Raises:
        UserError: if the arguments, the root, the condition or an objective are at fault, or the file cannot be
            written.
    """
    options = parse(
        ReportOptions, argv, prog="monosweep report",
        description="Write a page about a results root: one HTML file that needs no network.",
    )  # fmt: skip
    from monosweep.analysis.figures.data import Selection
    from monosweep.analysis.report.content import gather
    from monosweep.analysis.report.page import page

    root = open_root(options.out)
    selection = Selection(where=options.where, sweep=options.sweep, objectives=options.objectives)
    path = options.to or ("report.html" if "://" in options.out else os.path.join(options.out, "report.html"))
    pause_s, written = WATCH_S, False
    while True:
        began = time.monotonic()
        content = gather(root, selection, pause_s if options.watch else None)
        with _written(path, "--to") as file:
            file.write(page(content).encode())
        if not written:
            print(path, flush=True)
        if not (options.watch and content.n_live):
            break
        written, pause_s = True, max(WATCH_S, round(RESTS * (time.monotonic() - began)))
        time.sleep(pause_s)
    if options.watch and not written:
        _remark(f"no sweep of {options.out} is running; the page was written once")
    return 0


def _format(options: QueryOptions) -> str:
    if options.format != "auto":
        return options.format
    ending = os.path.splitext(options.output or "")[1].lstrip(".").lower()
    return ending if ending in ("csv", "json", "parquet") else "table"


def _to_stdout(answer: pa.Table, form: str) -> None:
    if form == "table" and sys.stdout.isatty():
        shown = fitted(answer, shutil.get_terminal_size().columns, TERMINAL_ROWS)
        print(shown.text)
        if shown.left_out:
            _remark(f"{shown.left_out} shown; name columns, add LIMIT, or use --format csv for all")
    else:
        sys.stdout.flush()
        _write(answer, form, sys.stdout.buffer)
    if not answer.num_rows:
        _remark("no rows")


def _write(answer: pa.Table, form: str, file: BinaryIO) -> None:
    if form == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(answer, file)
    else:
        file.write(TEXT[form](answer).encode() + b"\n")


@contextmanager
def _written(path: str, option: str = "--output") -> Iterator[BinaryIO]:
    """A file that appears whole or not at all."""
    partial = f"{path}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            os.remove(partial)
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another {option}") from None


def _remark(text: str) -> None:
    print(f"monosweep: {text}", file=sys.stderr)
