"""How much each knob has to do with being among the best tenth of a search: PED-ANOVA, as Optuna has it.

Watanabe, Bansal and Hutter, *PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces*
(2023).  It compares where the best tenth lie along a knob with where all do, so where a searcher drew more often does
not count, and it needs nothing but an order of the trials: who completed comes before who was stopped, who was stopped
later before who was stopped earlier, and within each the better before the worse.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from monosweep.analysis.knobs import FigureError, Row, is_number, spread_over_decades
from monosweep.analysis.search.found import Array, Found
from monosweep.model.records import TrialStatus

RESAMPLED = 24
"""How often the trials are drawn anew, with replacement, for the interval."""
_LEAST_TRIALS = 20
"""Below, the best tenth is one or two trials."""


@dataclass(frozen=True, slots=True)
class ImportanceInfo:
    """By objective and knob, (objectives, knobs): shares that sum to one over knobs."""

    found: Found
    share: Array
    low: Array
    """Of the middle 90 % over resampled trials."""
    high: Array

    def table(self) -> pa.Table:
        """One row an objective and knob, the most important first."""
        rows = [
            (objective.expression, self.found.knobs[k], float(self.share[o, k]), self.low[o, k], self.high[o, k])
            for o, objective in enumerate(self.found.objectives)
            for k in np.argsort(-self.share[o], kind="stable")
        ]
        names = ("objective", "knob", "importance", "low", "high")
        return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def importance_info(found: Found) -> ImportanceInfo:
    """How important the knobs of a search were.

    Raises:
        FigureError: if fewer than two knobs vary, or there are too few trials to tell.
    """
    if len(found.knobs) < 2:
        raise FigureError(f"importance takes two knobs that vary; {found.sweep} has {', '.join(found.knobs) or 'none'}")
    if len(found.rows) < _LEAST_TRIALS:
        raise FigureError(f"importance takes {_LEAST_TRIALS} trials; {found.sweep} has {len(found.rows)}")
    draw = np.random.default_rng(0)
    drawn = [draw.integers(len(found.rows), size=len(found.rows)) for _ in range(RESAMPLED)]
    share, low, high = [], [], []
    for place in range(len(found.objectives)):
        order = _order(found.rows, found.vectors[:, place])
        share.append(_shares(found, order, np.arange(len(order))))
        again = np.stack([_shares(found, order, sample) for sample in drawn])
        low.append(np.quantile(again, 0.05, axis=0))
        high.append(np.quantile(again, 0.95, axis=0))
    return ImportanceInfo(found, np.stack(share), np.stack(low), np.stack(high))


def _order(rows: Sequence[Row], vector: Array) -> Array:
    """Places of the trials from the best, 0."""
    kind = [_ORDER.index(row["status"]) for row in rows]
    late = [-row["last_step"] if row["status"] == TrialStatus.STOPPED else 0 for row in rows]
    places = np.empty(len(rows))
    keys = np.stack([np.where(np.isnan(vector), np.inf, vector), np.array(late), np.array(kind)])
    places[np.lexsort(keys)] = np.arange(len(rows))
    return places


_ORDER = (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.DIVERGED, TrialStatus.FAILED)


def _shares(found: Found, order: Array, sample: Sequence[int] | np.ndarray[Any, Any]) -> Array:
    import optuna  # a third of a second

    columns = {knob: [found.rows[i][knob] for i in sample] for knob in found.knobs}
    spaces = {knob: _space(values) for knob, values in columns.items()}
    spaces = {knob: space for knob, space in spaces.items() if space is not None}
    if len(spaces) < 2:  # of a sample
        return np.array([float(knob in spaces) for knob in found.knobs])
    trials = [
        optuna.trial.create_trial(
            params={knob: columns[knob][n] for knob in spaces}, distributions=spaces, value=float(order[i])
        )
        for n, i in enumerate(sample)
    ]
    with _quiet(optuna):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
        study.add_trials(trials)
        told = optuna.importance.PedAnovaImportanceEvaluator().evaluate(study)
    total = sum(told.values())
    return np.array([told.get(knob, 0.0) / total if total else 0.0 for knob in found.knobs])


@contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    """It tells of every study, and that PED-ANOVA is new."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _space(values: Sequence[Any]) -> Any:
    """A knob's, as Optuna says it; nothing if it does not vary."""
    import optuna

    different = sorted(set(values), key=str)
    if len(different) < 2:
        return None
    if not all(map(is_number, different)):
        return optuna.distributions.CategoricalDistribution(different)
    low, high = float(min(different)), float(max(different))
    return optuna.distributions.FloatDistribution(low, high, log=spread_over_decades(different))
