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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from monosweep.analysis.output import STDOUT, written
from monosweep.analysis.tables.forms import for_parquet, for_people, for_programs
from monosweep.analysis.tables.root import open_root
from monosweep.analysis.tables.text import as_json, as_table, csv_lines, fitted, json_lines
from monosweep.model.config import UserError
from monosweep.sweep.parse import parse

if TYPE_CHECKING:
    from monosweep.analysis.tables.answer import Answer, Form

TERMINAL_ROWS = 200
"""Rows that a terminal is shown; pipes and files get all."""
WATCH_S = 5
"""How long `report --watch` waits at least before it writes again."""
RESTS = 4
"""How many times longer than it took: the sweep needs the processor."""
ENDINGS = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table", "": "table"}
"""Of --output, and the formats that they say."""
PAGES = (".html", ".htm", "")


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
    """How to write the answer; auto goes by the ending of --output, and is a table where there is none."""
    output: Annotated[str | None, arg(metavar="FILE")] = None
    """Write to this file, .csv, .json, .parquet or .txt, instead of stdout (-)."""


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
    """The swept column, or expression of such (n_neurons / n_features), that colours traces and is the axis of mono and
    means; else the one with most values."""
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
    to_terminal = options.output in (None, STDOUT) and sys.stdout.isatty()
    if form == "parquet" and to_terminal:
        raise OutputError("parquet is not text; add --output FILE, or send stdout to a file or pipe")
    root = open_root(options.out)
    if form == "table" and to_terminal:
        with closing(root.answer(options.sql, for_people, TERMINAL_ROWS)) as answer:
            _show(answer)
    else:
        with closing(root.answer(options.sql, FORMS[form])) as answer, _written(options.output or STDOUT) as file:
            WRITERS[form](answer, file)
    if not answer.n_rows:
        _remark("no rows")
    return 0


def figures(argv: Sequence[str]) -> int:
    """`monosweep figures OUT [NAMES ...]`: draws, and prints each path; returns the exit status.

    Raises:
        UserError: if the arguments or the root are at fault, or a named figure lacks its data.
    """
    options = parse(FiguresOptions, argv, prog="monosweep figures", description="Draw figures from a results root.")
    from monosweep.analysis.figures import load_matplotlib

    load_matplotlib()
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

    if options.to and os.path.splitext(options.to)[1].lower() not in PAGES:
        raise OutputError(f"--to must end in .html; got {options.to}")
    root = open_root(options.out)
    selection = Selection(where=options.where, sweep=options.sweep, objectives=options.objectives)
    path = options.to or ("report.html" if "://" in options.out else os.path.join(options.out, "report.html"))
    pause_s, shown = WATCH_S, False
    while True:
        began = time.monotonic()
        content = gather(root, selection, pause_s if options.watch else None)
        with _written(path, "--to") as file:
            file.write(page(content).encode())
        if not shown and path != STDOUT:
            print(path, flush=True)
        if not (options.watch and content.n_live):
            break
        shown, pause_s = True, max(WATCH_S, round(RESTS * (time.monotonic() - began)))
        time.sleep(pause_s)
    if options.watch and not shown:
        _remark(f"no sweep of {options.out} is running; the page was written once")
    return 0


def _format(options: QueryOptions) -> str:
    ending = os.path.splitext(options.output or "")[1]
    said = ENDINGS.get(ending.lower())
    if options.format == "auto" and said is None:
        known = ", ".join(name for name in ENDINGS if name)
        raise OutputError(f"--output must end in one of {known}, or --format say what to write; got {options.output}")
    if options.format != "auto" and ending and said not in (None, "table", options.format):
        raise OutputError(f"--format must agree with the ending of --output; got {options.format} and {options.output}")
    return str(said) if options.format == "auto" else options.format


def _show(answer: Answer) -> None:
    """On a terminal."""
    shown = fitted(answer.table(), answer.n_rows, shutil.get_terminal_size().columns)
    print(shown.text)
    if shown.left_out:
        _remark(f"{shown.left_out}; name columns, add LIMIT, or use --format csv for all")


def _write_table(answer: Answer, file: BinaryIO) -> None:
    file.write(as_table(answer.table()).encode() + b"\n")


def _write_csv(answer: Answer, file: BinaryIO) -> None:
    file.writelines(csv_lines(answer.schema, answer.batches()))


def _write_json(answer: Answer, file: BinaryIO) -> None:
    file.writelines(json_lines(answer.schema, answer.batches()))


def _write_parquet(answer: Answer, file: BinaryIO) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, answer.schema) as sink:
        for batch in answer.batches():
            sink.write_batch(batch)


FORMS: dict[str, Form] = {
    "table": for_people, "csv": for_programs, "json": for_programs, "parquet": for_parquet
}  # fmt: skip
WRITERS: dict[str, Callable[[Answer, BinaryIO], None]] = {
    "table": _write_table, "csv": _write_csv, "json": _write_json, "parquet": _write_parquet
}  # fmt: skip


@contextmanager
def _written(path: str, option: str = "--output") -> Iterator[BinaryIO]:
    """`written`, whose failures are told in words."""
    try:
        with written(path) as file:
            yield file
    except BrokenPipeError:  # `head` had enough
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another {option}") from None


def _remark(text: str) -> None:
    print(f"monosweep: {text}", file=sys.stderr)
