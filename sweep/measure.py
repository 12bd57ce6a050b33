"""A user's metrics of trials that have ended, from the weights that they left: `monosweep measure`.

my_metrics.py, weights/ -> measure -> the table my_metrics, to be joined with trials by trial_id
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosweep.model.config import ConfigError, TrialConfig, UserError
from monosweep.model.families import OURS
from monosweep.model.families.extended import Functions, columns_for, families_named, measured, metrics_for
from monosweep.model.families.source import Source, one_line, read_source
from monosweep.sweep.store.measured import declare, measured_columns, write_measured
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import config_in
from monosweep.sweep.store.weights import Kept, kept_weights


@dataclass(frozen=True, slots=True)
class Measured:
    """What measuring has come to."""

    table: str
    metrics: tuple[str, ...]
    n_trials: int
    errors: tuple[str, ...]
    """What was raised, of each trial that it was raised for."""


@dataclass(frozen=True, slots=True)
class _Metrics:
    source: Source
    functions: Functions


def measure(store: Store, path: str, sweep: str | None = None) -> Measured:
    """Compute the metrics of a file for all trials whose weights were kept, and write its table.

    Args:
        sweep: that has trained them; left out, all.

    Raises:
        ConfigError: naming file and line, if the file cannot be run or has no metric.
        UserError: if no trial of its families has left weights.
        StoreError: if the root cannot be read or written.
    """
    by_family = _metrics_in(path)
    (first, *_) = by_family.values()
    file, text, table = first.source.file, first.source.text, Path(path).stem
    found = {n: c for each in by_family.values() for n, c in columns_for(each.source, each.functions).items()}
    columns = measured_columns(table, found)
    store.load_families()
    sweeps = [store.known(sweep)] if sweep else store.sweeps()
    rows = {name: list(_rows(store, name, by_family)) for name in sweeps}
    if not any(rows.values()):
        whose = f"trials of {', '.join(by_family)}" + (f" that {sweep} has trained" if sweep else "")
        remedy = "monosweep weights OUT --sweep NAME trains them again"
        raise UserError(f"no {whose} have left weights in {store.root}; {remedy}")
    declare(store, file, text, table, columns)
    for name, measured_rows in rows.items():
        if measured_rows:
            write_measured(store, table, name, measured_rows, columns)
    errors = [row for of_sweep in rows.values() for row in of_sweep if row["failure"]]
    n_trials = len({row["trial_id"] for of_sweep in rows.values() for row in of_sweep})
    return Measured(table, tuple(found), n_trials, tuple(f"{row['trial_id']}: {row['failure']}" for row in errors))


def _metrics_in(path: str) -> dict[str, _Metrics]:
    """By family."""
    source = read_source(f"{path}:", Path(), "FILE must be a Python file with metrics")
    found = {}
    for family in families_named(source):
        own = Source(source.file, family, source.text)
        found[family] = _Metrics(own, metrics_for(own, OURS))
    if not found:
        raise ConfigError(f"{path} has no metric; decorate a function with @metric('two_layer')")
    return found


def _rows(store: Store, sweep: str, by_family: Mapping[str, _Metrics]) -> Iterator[dict[str, Any]]:
    """A row for each trial of a sweep and step at which its weights were kept."""
    kept = list(kept_weights(store, sweep))
    rows = {row["trial_id"]: row for row in store.rows_of("trials", sweep, {each.trial_id for each in kept})}
    for weights in kept:
        row = rows.get(weights.trial_id)
        if row is None or row["pack_id"] != weights.pack_id or weights.step > row["last_step"]:
            continue  # of a pack that was given up
        config = config_in(row)
        if metrics := by_family.get(config.BASE or config.family):
            key = {"trial_id": weights.trial_id, "pack_id": weights.pack_id, "step": weights.step}
            yield {**key, "digest": metrics.source.digest, "failure": None, **_measured(config, weights, metrics)}


def _measured(config: TrialConfig, weights: Kept, metrics: _Metrics) -> dict[str, Any]:
    from monosweep.model.look import trained_of  # torch

    try:
        return measured(metrics.source, metrics.functions, trained_of(config, weights.tensors))
    except ConfigError as error:
        return {"failure": str(error)}
    except Exception as error:  # the user's own
        return {"failure": one_line(error)}
