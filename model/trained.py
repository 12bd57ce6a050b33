"""What a trained trial is to who trained it: metrics, curve, tables, weights and responses, as NumPy and as torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from monosweep.model.checkpoint import serialise
from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import family_of, summary_of
from monosweep.model.family import Trained
from monosweep.model.look import trained_of
from monosweep.model.records import TrialStatus
from monosweep.model.results import Columns, TrialResult


def changed(config: TrialConfig) -> str:
    """The knobs that differ from their defaults."""
    default = type(config)()
    found = {k: v for k, v in config.to_dict().items() if v != getattr(default, k)}
    return ", ".join(f"{k} {v}" for k, v in found.items()) or "all at their defaults"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A trial's numbers as tensors."""

    curve: Mapping[str, Tensor]
    tables: Mapping[str, Mapping[str, Tensor]]
    weights: Mapping[str, Tensor]
    responses: Tensor


@dataclass(frozen=True, slots=True, repr=False)
class TrainedTrial:
    """A trial that was trained here; its numbers are those of its row in a sweep."""

    result: TrialResult
    tensors: Mapping[str, Tensor]
    """Its weights, by the names that its family gives them; empty if it diverged."""
    engine: str
    """`packed`, `vmapped` or `solo`."""
    device: str
    """`cpu` or `cuda`."""

    @property
    def config(self) -> TrialConfig:
        """What it was trained from."""
        return self.result.config

    @property
    def trial_id(self) -> str:
        """As in every table."""
        return self.config.trial_id

    @property
    def status(self) -> TrialStatus:
        """`completed`, `diverged` or `stopped`."""
        return self.result.status

    @property
    def metrics(self) -> dict[str, Any]:
        """Losses and the family's metrics, as in `trials`; empty if it diverged."""
        return dict(self.result.metrics or {})

    @property
    def curve(self) -> Columns:
        """Columns of `curves`: at steps 1, 2, 4, … and the last."""
        return self.result.curve

    @property
    def tables(self) -> Mapping[str, Columns]:
        """Columns of the family's own tables, such as `neurons`."""
        return self.result.tables

    @property
    def weights(self) -> dict[str, ndarray]:
        """Tensors of the last step (`two_layer`: w_in (k, d), bias (k), w_out (n_out, k), embedding (d, N), and
        target_map (d, N) for the reprojector); empty if it diverged."""
        return {name: tensor.numpy() for name, tensor in self.tensors.items()}

    @property
    def responses(self) -> ndarray:
        """What the model answers to each feature alone at strength 1, (…, n_features).

        Raises:
            ConfigError: if the family does not say, or the trial diverged.
        """
        return self._responses().numpy()

    @property
    def torch(self) -> Numbers:
        """The same as tensors."""
        tables = {table: _as_tensors(columns) for table, columns in self.tables.items()}
        return Numbers(_as_tensors(self.curve), tables, dict(self.tensors), self._responses())

    def state_dict(self) -> dict[str, Tensor]:
        """Its weights by the names, and in the shapes, that the public code of its field loads.

        Raises:
            ConfigError: if it diverged.
        """
        named = family_of(self.config).state_dict(*self._model.parts)
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def export(self, path: str | Path) -> list[Path]:
        """Write `state_dict` as safetensors, and beside it, as NAME-setup.safetensors, what that code has in no state
        dict; the files written.

        Raises:
            ConfigError: if it diverged, or the path does not end in .safetensors.
        """
        return export(self._model, path)

    @property
    def outcome(self) -> str:
        """How it ended, in words and numbers."""
        if self.result.metrics is None:
            return f"{self.status}: {self.result.error}"
        return "\n".join(f"{name:<14} {text}" for name, text in self._rows().items())

    def _rows(self) -> dict[str, str]:
        metrics = self.result.metrics
        if metrics is None:
            return {str(self.status): str(self.result.error)}
        rows = {"loss": f"{metrics['loss']:.6g}, least {metrics['min_loss']:.6g}"}
        return rows | dict(summary_of(self.config, metrics))

    @property
    def _model(self) -> Trained:
        if not self.tensors:
            why = f"{self.status}, {self.result.error}"
            raise ConfigError(f"trial {self.trial_id} has no weights: {why}; try a lower lr")
        return trained_of(self.config, self.weights)

    def _responses(self) -> Tensor:
        return family_of(self.config).responses(*self._model.parts)

    @property
    def _title(self) -> str:
        ended = f"{self.status} after {self.result.last_step:,} steps in {self.result.wall_time_s:.1f} s"
        return f"trial {self.trial_id} of {self.config.family}: {ended} ({self.engine}, {self.device})"

    def __repr__(self) -> str:
        return f"{self._title}\n{changed(self.config)}\n{self.outcome}"

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._rows().items())
        return f"<p>{escape(self._title)}<br>{escape(changed(self.config))}</p><table>{''.join(rows)}</table>"


class TrainedPack(Sequence[TrainedTrial]):
    """Trials that were trained together, in the order in which they were given."""

    def __init__(self, trials: Sequence[TrainedTrial]) -> None:
        self._trials = tuple(trials)

    @overload
    def __getitem__(self, index: int) -> TrainedTrial: ...
    @overload
    def __getitem__(self, index: slice) -> TrainedPack: ...
    def __getitem__(self, index: int | slice) -> TrainedTrial | TrainedPack:
        found = self._trials[index]
        return found if isinstance(found, TrainedTrial) else TrainedPack(found)

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def table(self) -> dict[str, list[Any]]:
        """A row for each trial, by column: the knobs that differ, how it ended, its metrics; as `pandas.DataFrame`
        takes it."""
        knobs = [trial.config.to_dict() for trial in self]
        known = dict.fromkeys(name for one in knobs for name in one)
        names = [name for name in known if len({str(one.get(name)) for one in knobs}) > 1]
        metrics = dict.fromkeys(name for trial in self for name in trial.metrics)
        return {
            "trial_id": [trial.trial_id for trial in self],
            **{name: [one.get(name) for one in knobs] for name in names},
            "status": [str(trial.status) for trial in self],
            **{name: [trial.metrics.get(name) for trial in self] for name in metrics},
        }

    def _rows(self) -> Iterator[list[str]]:
        table = {name: column for name, column in self.table.items() if not any(isinstance(v, list) for v in column)}
        yield list(table)
        for values in zip(*table.values(), strict=True):
            yield [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]

    def __repr__(self) -> str:
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([f"{len(self)} trials", *lines])

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        lines = [("th", head), *(("td", row) for row in rows)]
        html = ("".join(f"<{tag}>{escape(text)}</{tag}>" for text in row) for tag, row in lines)
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in html)}</table>"


def export(model: Trained, path: str | Path) -> list[Path]:
    """As `TrainedTrial.export`, of any trial's model.

    Raises:
        ConfigError: if the path does not end in .safetensors, or cannot be written.
    """
    to, family = Path(path), family_of(model.config)
    if to.suffix != ".safetensors":
        raise ConfigError(f"weights are written as .safetensors; got {str(path)!r}; give it that ending")
    config = model.config
    about = {"family": config.family, "trial_id": config.trial_id, "config": json.dumps(config.to_dict())}
    parts = {to: family.state_dict(*model.parts), to.with_stem(f"{to.stem}-setup"): family.setup(*model.parts)}
    written = {file: tensors for file, tensors in parts.items() if tensors}
    for file, tensors in written.items():
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            file.write_bytes(serialise(plain, about))
        except OSError as error:
            raise ConfigError(f"cannot write {str(file)!r}: {error.strerror}; choose another path") from None
    return [*written]


def _as_tensors(columns: Columns) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}
