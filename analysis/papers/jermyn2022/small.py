"""`make small-paper`: the verdict on every finding of the paper at the small size, and the numbers of its figures.

    results root of the preset `small` -> claims -> small-claims.md and .json
                                       -> figures' infos -> small-figures.json

The exit status is 0 where every claim that the small size can carry is covered, and holds or has an experiment that
explains why it does not: a section of small-experiments.md headed by the claim's name (or several, by commas).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from monosweep.analysis.claims.verdict import Outcome, Verdict, as_lines, as_rows, check, summary
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.papers.jermyn2022.batches import SMALL
from monosweep.analysis.papers.jermyn2022.claims import CLAIMS, JERMYN2022
from monosweep.analysis.papers.jermyn2022.figure_numbers import numbers_of, plain
from monosweep.analysis.tables.root import Root, open_root
from monosweep.analysis.tables.text import as_table
from monosweep.model.config import UserError
from monosweep.sweep.spec.sweep_spec import expand, load_spec

ONLY = "n_features = 128 and d_embed = 32"
"""Trials of the small size, whatever else the root holds."""


def about(root: Root) -> dict[str, Any]:
    """Where the rows come from, and which code judges them."""
    rows = root.trials.filter(f"{ONLY} and status = 'completed'").arrow().to_pylist()
    wanted = {config.trial_id for config in expand(load_spec("small"))}
    mine = [row for row in rows if row["trial_id"] in wanted]

    def all_of(name: str) -> str:
        return "; ".join(sorted({row[name] for row in mine}))

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": _commit(), "device": all_of("device_name"),
        "versions": all_of("library_versions"), "n_trials": len(mine), "n_wanted": len(wanted),
        "training_hours": round(sum(row["wall_time_s"] for row in mine) / 3600, 2),
    }  # fmt: skip


def explained(path: Path) -> set[str]:
    """The claims that the sections of the experiments' file are headed by."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {name.strip() for line in lines if line.startswith("## ") for name in line[3:].split(",")}


def open_ends(verdicts: Sequence[Verdict], known: set[str]) -> list[str]:
    """What keeps the reproduction from being complete, a line each; what its seeds leave undecided does not."""
    carried = {claim.name for claim in CLAIMS if SMALL.name in claim.accepted}
    return [
        f"{v.claim}: {v.reason}" if v.outcome is Outcome.NOT_COVERED else f"{v.claim} fails, and no experiment says why"
        for v in verdicts
        if v.claim in carried
        and (v.outcome is Outcome.NOT_COVERED or (v.outcome is Outcome.FAILS and v.claim not in known))
    ]


def markdown(verdicts: Sequence[Verdict], where: dict[str, Any]) -> str:
    """The claims' table, and how it came about."""
    columns = as_lines(verdicts).drop_columns(["study", "size"])
    cells = [columns.column_names, ["---"] * columns.num_columns, *(list(row.values()) for row in columns.to_pylist())]
    head = f"# The paper's findings at the small size, {where['date'][:10]}, commit {where['commit']}"
    source = (
        f"{where['n_trials']} of {where['n_wanted']} trials of the preset `small`, {where['training_hours']} hours of "
        f"training on {where['device']} ({where['versions']}). {summary(verdicts)}. Failures are explained by "
        "experiment in [small-experiments.md](small-experiments.md)."
    )
    return "\n".join([head, "", source, "", *(f"| {' | '.join(row)} |" for row in cells), ""])


def write(root: Root, verdicts: Sequence[Verdict], folder: Path) -> None:
    """The three files."""
    where = about(root)
    claims = [{name: plain(value) for name, value in row.items()} for row in as_rows(verdicts).to_pylist()]
    _write(folder / "small-claims.json", json.dumps(where | {"claims": claims}, indent=1, ensure_ascii=False))
    _write(folder / "small-claims.md", markdown(verdicts, where).rstrip())
    figures = numbers_of(load(root, Selection(where=ONLY), FAMILY))
    lines = [f"{json.dumps(name)}: {json.dumps(info, ensure_ascii=False)}" for name, info in figures.items()]
    _write(folder / "small-figures.json", "{" + ",\n".join([f'"about": {json.dumps(where)}', *lines]) + "}")


def _commit() -> str:
    """Of the checkout that judges; the version where there is none."""
    git = ["git", "-C", str(Path(__file__).parent)]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if found.returncode:
        return metadata.version("monosweep")
    status = [*git, "status", "--porcelain", "--", ":/model", ":/sweep", ":/analysis"]  # files not yet added too
    changed = subprocess.run(status, capture_output=True, text=True, check=False)
    return found.stdout.strip() + (" with changes" if changed.returncode or changed.stdout else "")


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, print, write; 1 if a claim is not covered, or fails unexplained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="results root that the preset `small` was launched into")
    parser.add_argument("--to", type=Path, default=Path(), help="folder for the three files; here if left out")
    parser.add_argument("--experiments", type=Path, help="what explains failures; TO/small-experiments.md if left out")
    options = parser.parse_args(argv)
    root = open_root(options.out)
    verdicts = check(root, [JERMYN2022], ONLY)
    write(root, verdicts, options.to)
    print(as_table(as_lines(verdicts)))
    print(summary(verdicts))
    missing = open_ends(verdicts, explained(options.experiments or options.to / "small-experiments.md"))
    for line in missing:
        print(f"small-paper: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"small-paper: {error}")
