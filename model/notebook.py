"""`train`: a config in, a trained trial out, with progress; several configs are trained as packs.

from monosweep.model import train

run = train({"family": "superposition", "n_features": 5, "d_hidden": 2})
run.metrics, run.curve["loss"], run.tables["features"], run.weights["w"], run.responses, run.torch
runs = train([{"n_neurons": 64, "lr": lr} for lr in (0.003, 0.01)])
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from monosweep.model.config import ConfigError, TrialConfig, shape_of
from monosweep.model.device import resolve as resolve_device
from monosweep.model.engines import EngineName, engine_name
from monosweep.model.families import config_of, resolve
from monosweep.model.families.source import is_reference
from monosweep.model.trained import TrainedPack, TrainedTrial
from monosweep.model.trainer import Record
from monosweep.model.watch import Watcher, watch_pack

Config = TrialConfig | Mapping[str, Any]
LARGEST_PACK = 256
"""More configs of one shape are trained in several packs: members' memory adds up."""
_EVERY_S = 0.5


@overload
def train(
    config: Config, *, device: str = ..., engine: EngineName = ..., record: Record = ...,
    progress: bool | Watcher = ...,
) -> TrainedTrial: ...  # fmt: skip
@overload
def train(
    config: Sequence[Config], *, device: str = ..., engine: EngineName = ..., record: Record = ...,
    progress: bool | Watcher = ...,
) -> TrainedPack: ...  # fmt: skip
def train(
    config: Config | Sequence[Config], *, device: str = "auto", engine: EngineName = "auto", record: Record = "final",
    progress: bool | Watcher = True,
) -> TrainedTrial | TrainedPack:  # fmt: skip
    """Train a trial here and now, as a sweep would: its numbers are those of its row, bit for bit on a CPU where the
    engine is `packed` or `solo`.

    Args:
        config: a config, or its fields by name (`family` may name a file of one's own); a list of such is trained in
            packs of one shape.
        device: `auto`, `cpu` or `cuda`.
        engine: `auto` takes the fastest that can train it.
        record: the family's tables at the last step (`final`), or at every recorded one (`log2`).
        progress: whether a line on stderr says how far it is, or who is told instead.

    Raises:
        ConfigError: if a config cannot be trained.
        TrialError: if training raises.

    >>> from monosweep.model.families.two_layer.config import TwoLayerConfig
    >>> small = {"n_features": 8, "d_embed": 4, "n_neurons": 8, "batch_size": 16, "n_steps": 4}
    >>> run = train(small, device="cpu", progress=False)
    >>> run.curve["step"].tolist(), run.responses.shape, run.torch.weights["w_in"].shape
    ([1, 2, 4], (8, 8), torch.Size([8, 4]))
    >>> [run.config.lr for run in train([{**small, "lr": lr} for lr in (0.1, 0.01)], device="cpu", progress=False)]
    [0.1, 0.01]
    """
    several = not isinstance(config, (TrialConfig, Mapping))
    given: Any = config if several else [config]
    configs = [_config(one) for one in given]
    if not configs:
        raise ConfigError("train needs a config; got an empty list")
    total = sum({one.trial_id: one.n_steps for one in configs}.values())
    watcher = _Line(total, quiet=not progress) if isinstance(progress, bool) else progress
    trained: dict[str, TrainedTrial] = {}
    for pack in _packs(configs, resolve_device(device), engine):
        done = sum(one.result.last_step for one in trained.values())
        for one in watch_pack(pack, device, engine, _After(watcher, done), record):
            trained[one.trial_id] = one
    watcher.pause()
    found = [trained[one.trial_id] for one in configs]
    return TrainedPack(found) if several else found[0]


def _config(config: Config) -> TrialConfig:
    if isinstance(config, TrialConfig):
        return config
    if not isinstance(config, Mapping):
        raise ConfigError(f"train takes a config or its fields by name; got {str(config)[:60]!r}")
    family = config.get("family")
    if isinstance(family, str) and is_reference(family):
        return config_of({**config, "family": resolve(family)})
    return config_of(config)


def _packs(configs: Sequence[TrialConfig], device: str, engine: EngineName) -> Iterator[list[TrialConfig]]:
    """The distinct ones of each shape together, alone where the solo engine trains them."""
    shapes: dict[Any, dict[str, TrialConfig]] = {}
    for config in configs:
        shapes.setdefault((config.family, shape_of(config)), {})[config.trial_id] = config
    for of_shape in shapes.values():
        pack = list(of_shape.values())
        alone = engine == "solo" or engine_name(pack[0], device) == "solo"
        size = 1 if alone else LARGEST_PACK
        yield from (pack[i : i + size] for i in range(0, len(pack), size))


class _Line:
    """Says on stderr how far it is; in a notebook, and where stderr is a terminal, in one line."""

    def __init__(self, total: int, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._said_at, self._loss = -math.inf, math.nan

    def step(self, step: int) -> None:
        """As `Watcher`."""
        now = time.monotonic()
        if not self._quiet and (now - self._said_at >= _EVERY_S or step == self._total):
            self._said_at = now
            loss = "" if math.isnan(self._loss) else f", loss {self._loss:.4g}"
            text = f"step {step:,} of {self._total:,}, {100 * step // self._total} %{loss}"
            print(f"\r{text:<79}", end="", file=sys.stderr, flush=True)

    def point(self, point: Mapping[str, Any]) -> None:
        """As `Watcher`."""
        self._loss = point["loss"]

    def pause(self) -> None:
        """As `Watcher`."""
        if not self._quiet and self._said_at > -math.inf:
            print(file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class _After:
    """A watcher of a pack that is trained after others."""

    watcher: Watcher
    before: int
    """Steps that are done."""

    def step(self, step: int) -> None:
        self.watcher.step(self.before + step)

    def point(self, point: Mapping[str, Any]) -> None:
        self.watcher.point(point)

    def pause(self) -> None:
        self.watcher.pause()
