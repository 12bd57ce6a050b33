"""How often claims of effects hold where no knob does anything: `python -m tests.analysis.papers.null_world`.

    rows in which findings are true -> values dealt out at random over a claim's batches, many times -> share that holds

What is dealt is everything that a trial found, with its id and so its rows in other tables; losses apart from the
rest, because there are claims that these go together.  Knobs and seeds stay, and what follows from knobs alone; values
are dealt among trials of one shape.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from monosweep.analysis.claims.batch import Size
from monosweep.analysis.claims.claim import Claim
from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.claims.study import Study
from monosweep.analysis.claims.verdict import Outcome, judge
from monosweep.analysis.knobs import OWN_KNOBS
from monosweep.analysis.papers.bhagat2026.claims import BHAGAT2026
from monosweep.analysis.papers.elhage2022.claims import ELHAGE2022
from monosweep.analysis.papers.jermyn2017.batches import TREE
from monosweep.analysis.papers.jermyn2017.claims import JERMYN2017
from monosweep.analysis.papers.jermyn2022.batches import SMALL
from monosweep.analysis.papers.jermyn2022.claims import JERMYN2022
from monosweep.analysis.papers.lecomte2023.claims import LECOMTE2023
from monosweep.analysis.papers.scherlis2022.batches import CAPACITY
from monosweep.analysis.papers.scherlis2022.claims import SCHERLIS2022
from monosweep.analysis.papers.schindler2020.batches import CONTRACTION
from monosweep.analysis.papers.schindler2020.claims import SCHINDLER2020
from monosweep.analysis.tables.root import Root

from ..paper_tables import ideal_rows
from .bhagat2026 import test_mixing
from .elhage2022 import test_tms
from .jermyn2017 import test_trees
from .lecomte2023 import test_scaling
from .made_rows import rows_of
from .scherlis2022 import test_capacity
from .schindler2020 import test_orders

Row = dict[str, Any]
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
KNOBS = {knob.name for knobs in OWN_KNOBS.values() for knob in knobs}
LOSSES = {"loss", "min_loss"}
SEEDS = 3
STAYS = KNOBS | {"seed", "family", "optimal_loss", "optimal_last_capacity"}


def dealt(rows: Sequence[Row], random: np.random.Generator) -> list[Row]:
    """The rows with their numbers dealt out anew, among those of one shape."""
    by_shape: dict[Any, list[Row]] = {}
    for row in rows:
        by_shape.setdefault((row.get("n_features"), row.get("d_hidden")), []).append(row)
    found = []
    for same in by_shape.values():
        orders = (random.permutation(len(same)), random.permutation(len(same)))
        for row, i, j in zip(same, *orders, strict=True):
            found.append({n: v if n in STAYS else same[j if n in LOSSES else i][n] for n, v in row.items()})
    return found


def of_claim(claim: Claim, size: Size, rows: Sequence[Row]) -> list[Row]:
    """The trials of the batches that it needs, each once."""
    batches = [size.batches[need.batch] for need in claim.needs if need.at(size.name)]
    return [row for row in rows if any(batch.holds(row) for batch in batches)]


def rate(claim: Claim, size: Size, rows: Sequence[Row], root: Root, draws: int) -> float:
    """In which share of the draws it holds."""
    random, held = np.random.default_rng(0), 0
    for _ in range(draws):
        evidence = Evidence(root, dealt(rows, random), size)
        held += judge(claim, evidence, "").outcome is Outcome.HOLDS
    return held / draws


def rates(folder: Path, draws: int, n_worlds: int | None = None) -> dict[tuple[str, str], float]:
    """Of every claim of an effect, by study and name; roots for those that need one are made in `folder`."""
    found = {}
    for study, size, rows, root in islice(_worlds(folder), n_worlds):
        for claim in study.claims:
            if claim.effect and size.name in claim.accepted and (mine := of_claim(claim, size, rows)):
                found[study.name, claim.name] = rate(claim, size, mine, root, draws)
    return found


def _worlds(folder: Path) -> Iterator[tuple[Study, Size, list[Row], Root]]:
    """Rows in which the findings of a study are true, and a root with what else they left."""
    none = cast(Root, None)
    yield JERMYN2022, SMALL, ideal_rows(SMALL, seeds=SEEDS), none
    capacity = [
        row for name in ("fig4", "fig7-small") for row in rows_of(f"capacity/{name}", test_capacity.as_the_paper, SEEDS)
    ]
    columns = {name: None for row in capacity for name in row}
    yield SCHERLIS2022, CAPACITY, [columns | row for row in capacity], none
    for batch in test_tms.EFFECTS:
        rows = rows_of(f"tms/{batch}", test_tms.metrics(batch), test_tms.EVERY_SEED[batch])
        yield ELHAGE2022, test_tms.SMALL, rows, test_tms.world(folder / batch, batch, test_tms.nothing)
    yield LECOMTE2023, test_scaling.SMALL, rows_of("incidental/scaling", test_scaling.as_the_paper, SEEDS), none
    yield LECOMTE2023, test_scaling.SMALL, rows_of("incidental/noise", test_scaling.by_noise, SEEDS), none
    yield BHAGAT2026, test_mixing.SMALL, rows_of("resid_mlp/cc", test_mixing.as_the_papers, SEEDS), none
    names = (f"contraction/{name}" for name in CONTRACTION.batches)
    orders = [row for name in names for row in rows_of(name, test_orders.as_the_paper, SEEDS)]
    yield SCHINDLER2020, CONTRACTION, orders, none
    yield JERMYN2017, TREE, test_trees.made(SEEDS), none


def table(rates: Mapping[tuple[str, str], float], draws: int) -> str:
    """Markdown."""
    lines = [
        "# Claims of effects in a world without any",
        "",
        f"Share of {draws} draws in which a claim holds although all that its trials found was dealt out",
        "at random over its batches, losses apart from the rest: `python -m tests.analysis.papers.null_world`. Rows",
        "are made up, those of the tests in which all findings are true; of three seeds, or ten restarts of which the",
        "best is kept. All claims together may hold in .05.",
        "",
        "| study | claim | holds |",
        "| --- | --- | --- |",
        *(f"| {study} | {name} | {value:.3f} |" for (study, name), value in rates.items()),
        f"| all | mean | {np.mean(list(rates.values())):.3f} |",
    ]
    return "\n".join(lines) + "\n"


def main(draws: int) -> None:
    """Print the table and write it."""
    with tempfile.TemporaryDirectory() as folder:
        text = table(rates(Path(folder), draws), draws)
    (RESULTS / "null-world.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
