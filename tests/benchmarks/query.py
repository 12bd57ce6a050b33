"""How long questions take over a million trials of 20 curve points each, and in how much memory, beside pandas.

    make -> a root of made-up rows   ask(name) in a process of its own -> seconds and memory   write -> results/query.*

Ours, cold: a fresh process opens the root and asks; warm: it asks again.  pandas, cold: a fresh process reads the
columns that it needs and answers; warm: it answers again from what it holds.  `make bench-query`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monosweep.analysis.tables.root import Root, open_root
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.processor import processor_name
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import SCHEMA_VERSION, Key, Provenance, arrow_schema, arrow_table, trial_row

RESULTS = Path(__file__).parent / "results"
PART = 50_000
"""Trials in a part, as compaction merges them."""
PACK = 500
STEPS = tuple(2**n for n in range(20))
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
OFFSETS = (-2.0, -1.0, -0.5, 0.0)
L1 = (0.0, 1e-4, 1e-3)
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_REPEATS = 3
_TABLES = ("trials", "curves")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked, and what of it pandas can do."""

    sql: str | None = None
    columns: tuple[str, ...] = ()
    """Of trials, that pandas reads for it."""
    pandas: Callable[[Any, Path], Any] | None = None
    """Of the frame, and the root."""
    verb: tuple[str, ...] = ()
    """A command instead of SQL; OUT and TO stand for the root and a folder."""
    limit_s: tuple[float, float] = (2.0, 0.5)
    """Cold and warm."""


def _mean_and_interval(frame: Any, _: Path) -> Any:
    groups = frame.groupby(["lr", "bias_offset"])["mono_per_feature"]
    half = 1.96 * groups.std() / np.sqrt(groups.count())
    return groups.mean().to_frame("mean").assign(low=groups.mean() - half, high=groups.mean() + half).reset_index()


def _best(frame: Any, _: Path) -> Any:
    return frame.loc[frame.groupby("lr")["loss"].idxmin(), ["lr", "trial_id", "loss"]].sort_values("lr")


def _curve(frame: Any, root: Path) -> Any:
    import pandas as pd

    one = frame.loc[frame["trial_id"] == frame["trial_id"].min(), ["trial_id", "lr"]]
    wanted = [("trial_id", "==", one["trial_id"].iloc[0])]
    curves = pd.read_parquet(root / "curves", columns=["trial_id", "step", "loss"], filters=wanted)
    return one.merge(curves, on="trial_id").sort_values("step")[["lr", "step", "loss"]]


QUESTIONS = {
    "count": Question(
        sql="select count(*) as n from trials", columns=("trial_id",), pandas=lambda frame, _: len(frame)
    ),
    "filter by two columns": Question(
        sql="select count(*) as n from trials where lr > 0.002 and bias_offset < -0.7",
        columns=("lr", "bias_offset"),
        pandas=lambda frame, _: int(((frame["lr"] > 0.002) & (frame["bias_offset"] < -0.7)).sum()),
    ),
    "group by two, mean and interval": Question(
        sql="select lr, bias_offset, avg(mono_per_feature) as mean, "
        "mean - 1.96 * stddev(mono_per_feature) / sqrt(count(*)) as low, "
        "mean + 1.96 * stddev(mono_per_feature) / sqrt(count(*)) as high from trials group by 1, 2 order by 1, 2",
        columns=("lr", "bias_offset", "mono_per_feature"), pandas=_mean_and_interval,
    ),
    "best of each group": Question(
        sql="select lr, arg_min(trial_id, loss) as trial_id, min(loss) as loss from trials group by lr order by lr",
        columns=("lr", "trial_id", "loss"), pandas=_best,
    ),
    "curve of one trial": Question(
        sql="select t.lr, c.step, c.loss from trials t join curves c using (trial_id) "
        "where trial_id = (select min(trial_id) from trials) order by step",
        columns=("trial_id", "lr"), pandas=_curve,
    ),
    "all as CSV": Question(
        verb=("query", "OUT", "select * from trials", "--output", "TO/all.csv"), limit_s=(float("inf"), float("inf")),
        columns=(*arrow_schema("trials").names,), pandas=lambda frame, root: frame.to_csv(os.devnull, index=False),
    ),
    "page": Question(verb=("report", "OUT", "--to", "TO/page.html"), limit_s=(20.0, 20.0)),
    "traces": Question(verb=("figures", "OUT", "traces", "--to", "TO"), limit_s=(20.0, 20.0)),
    "mono": Question(verb=("figures", "OUT", "mono", "--to", "TO"), limit_s=(20.0, 20.0)),
}  # fmt: skip
MOST_MB = 1024


# -- rows


def make(root: Path, n_trials: int) -> None:
    """A root of `n_trials` made-up trials with a curve each, of one real row with knobs, metrics and ids of its own."""
    root.mkdir(parents=True)
    (root / "monosweep.json").write_text(json.dumps({"format": "monosweep results", "schema_version": SCHEMA_VERSION}))
    for table in _TABLES:
        (root / table / "sweep=made").mkdir(parents=True)
    for first in range(0, n_trials, PART):
        trials = _trials(np.arange(first, min(first + PART, n_trials)))
        for table, rows in (("curves", _curves(trials)), ("trials", trials)):
            pq.write_table(rows, root / table / "sweep=made" / f"part-{first // PART:08d}.parquet", compression="zstd")


def _trials(number: np.ndarray[Any, Any]) -> pa.Table:
    config = TwoLayerConfig.from_dict(
        {"n_features": 64, "d_embed": 16, "n_neurons": 128, "feature_prob": 1 / 32, "n_steps": STEPS[-1]}
    )
    about = Provenance(
        status=TrialStatus.COMPLETED, error=None, last_step=STEPS[-1], wall_time_s=2.5, engine="packed", device="cpu",
        device_name="a processor", code_version="0.1.0", library_versions="torch 2.13.0", finished_at=_AT,
    )  # fmt: skip
    row = arrow_table("trials", [trial_row(Key(trial_id="", pack_id=""), config, None, about)])
    draw, n = np.random.default_rng(int(number[0])), len(number)
    lr, offset = np.array(RATES)[number % len(RATES)], np.array(OFFSETS)[number // len(RATES) % len(OFFSETS)]
    mono = np.clip(0.2 - 0.1 * offset + draw.normal(0, 0.05, n), 0, 1)
    own = {
        "trial_id": [f"{_scattered(int(i)):016x}" for i in number],
        "pack_id": [f"made{i // PACK:08d}" for i in number],
        "seed": number // (len(RATES) * len(OFFSETS) * len(L1)), "lr": lr, "bias_offset": offset,
        "l1": np.array(L1)[number // (len(RATES) * len(OFFSETS)) % len(L1)],
        "loss": 0.3 + 0.01 * np.log10(lr) ** 2 + draw.normal(0, 0.01, n), "mono_per_feature": mono,
        "min_loss": np.full(n, 0.25), "n_mono": np.round(64 * mono), "mono_per_neuron": mono / 2,
    }  # fmt: skip
    whole = pa.concat_tables([row]).take(pa.array(np.zeros(n, np.int64)))
    for name, values in own.items():
        place = whole.schema.get_field_index(name)
        whole = whole.set_column(
            place, whole.schema.field(place), pa.array(values).cast(whole.schema.field(place).type)
        )
    return whole


def _curves(trials: pa.Table) -> pa.Table:
    n, k = trials.num_rows, len(STEPS)
    which = pa.array(np.repeat(np.arange(n), k))
    done = np.tile(np.linspace(0, 1, k), n)
    loss = np.repeat(np.asarray(trials["loss"]), k)
    known = {
        "trial_id": trials["trial_id"].take(which), "pack_id": trials["pack_id"].take(which),
        "step": np.tile(STEPS, n), "loss": loss + 0.4 * (1 - done), "min_loss": loss + 0.4 * (1 - done),
        "lr": trials["lr"].take(which), "n_mono": np.round(np.repeat(np.asarray(trials["n_mono"]), k) * done),
        "mean_bias": np.repeat(np.asarray(trials["bias_offset"]), k) * (1 - done),
    }  # fmt: skip
    schema = arrow_schema("curves")
    columns = [
        pa.array(known[f.name]).cast(f.type) if isinstance(known.get(f.name), np.ndarray)
        else known[f.name].cast(f.type) if f.name in known else pa.nulls(n * k, f.type)
        for f in schema
    ]  # fmt: skip
    return pa.table(columns, schema=schema)


def _scattered(number: int) -> int:
    """A different one for each, spread as ids are."""
    return number * 0x9E3779B97F4A7C15 % 2**64


# -- asking


def ours(root: Path, name: str, to: Path) -> Any:
    """The answer, as a process that is fresh would get it."""
    question = QUESTIONS[name]
    return _command(question, root, to) if question.verb else _sql(open_root(str(root)), question)


def _sql(root: Root, question: Question) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = root.sql(str(question.sql)).to_pylist()
    return found


def _command(question: Question, root: Path, to: Path) -> None:
    from monosweep.sweep.__main__ import main

    argv = [part.replace("OUT", str(root)).replace("TO", str(to)) for part in question.verb]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        status = main(argv)
    assert status == 0, argv


def by_pandas(root: Path, name: str) -> tuple[Any, Any]:
    """The frame and the answer."""
    import pandas as pd

    question = QUESTIONS[name]
    frame = pd.read_parquet(root / "trials", columns=list(question.columns))
    assert question.pandas is not None
    return frame, question.pandas(frame, root)


def measure(root: Path, name: str, who: str) -> dict[str, float]:
    """Seconds, cold and warm, and the most memory, of this process: it should be a fresh one."""
    with tempfile.TemporaryDirectory() as folder:
        to, question = Path(folder), QUESTIONS[name]
        began = time.perf_counter()
        if who == "pandas":
            frame, _ = by_pandas(root, name)
            again: Callable[[], object] = lambda: question.pandas and question.pandas(frame, root)  # noqa: E731
        elif question.verb:
            again = lambda: _command(question, root, to)  # noqa: E731
            again()
        else:
            opened = open_root(str(root))
            again = lambda: _sql(opened, question)  # noqa: E731
            again()
        cold = time.perf_counter() - began
        warm = cold if question.verb else min(_timed(again) for _ in range(_REPEATS))
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cold_s": cold, "warm_s": warm, "memory_mb": memory_mb}


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def fresh(root: Path, name: str, who: str) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--root", str(root), "--ask", name, "--who", who]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{who}, {name}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- writing


def report(n_trials: int, found: dict[str, dict[str, dict[str, float]]]) -> str:
    """A table of all questions."""
    lines = [
        f"{n_trials:,} trials of {len(STEPS)} curve points on {_machine()}. Cold: a fresh process opens (pandas: reads "
        "what it needs) and answers; warm: it answers again.",
        "",
        "| question | cold | warm | memory | pandas: cold | warm | memory | within its limits |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, both in found.items():
        cells = [cell for who in ("monosweep", "pandas") for cell in _cells(both.get(who))]
        lines.append(f"| {name} | {' | '.join(cells)} | {_verdict(name, both['monosweep'])} |")
    return "\n".join(lines) + "\n"


def _machine() -> str:
    return f"{processor_name()}, {os.cpu_count()} cores"


def _cells(one: dict[str, float] | None) -> list[str]:
    if one is None:
        return ["", "", ""]
    return [f"{one['cold_s']:.2f} s", f"{one['warm_s']:.2f} s", f"{one['memory_mb']:,.0f} MB"]


def _verdict(name: str, one: dict[str, float]) -> str:
    cold, warm = QUESTIONS[name].limit_s
    over = [
        text
        for text, is_over in (
            (f"cold over {cold:g} s", one["cold_s"] > cold), (f"warm over {warm:g} s", one["warm_s"] > warm),
            (f"over {MOST_MB} MB", one["memory_mb"] > MOST_MB),
        )
        if is_over
    ]  # fmt: skip
    return ", ".join(over) or "yes"


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument(
        "--root", type=Path, help="where the rows are, or go if there are none; else they are thrown away"
    )
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder for query.json and query.md")
    parser.add_argument("--ask", choices=QUESTIONS, help="one question, in this process; prints JSON")
    parser.add_argument("--who", choices=("monosweep", "pandas"), default="monosweep")
    options = parser.parse_args(argv)
    if options.ask:
        print(json.dumps(measure(options.root, options.ask, options.who)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder) / "made"
        if not root.exists():
            print(f"making {options.trials:,} trials in {root}", flush=True)
            make(root, options.trials)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, question in QUESTIONS.items():
            found[name] = {"monosweep": fresh(root, name, "monosweep")}
            if question.pandas:
                found[name]["pandas"] = fresh(root, name, "pandas")
            print(name, json.dumps(found[name]), flush=True)
    written = {"trials": options.trials, "machine": _machine(), "python": platform.python_version(), "found": found}
    (options.to / "query.json").write_text(json.dumps(written, indent=1) + "\n")
    (options.to / "query.md").write_text(report(options.trials, found))
    print(report(options.trials, found))


if __name__ == "__main__":
    main(sys.argv[1:])
