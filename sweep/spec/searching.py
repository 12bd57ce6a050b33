"""What a spec says of searching and of early stopping: `search`, `scheduler`, `objectives`, `constraints`, `stop`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from monosweep.model.config import ConfigError

SCHEDULERS = ("asha", "median", "halving", "moasha")
SEARCHES = ("optuna",)


def _named(value: Any) -> Any:
    """`asha` is short for {name: asha}."""
    return {"name": value} if isinstance(value, str) else value


class Search(BaseModel):
    """Who says which trials come next: `num_samples` points of the random knobs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["optuna"]
    """Optuna, through Ray Tune's OptunaSearch."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Optuna's sampler; all of them take several objectives."""
    n_startup_trials: Annotated[int, Field(ge=1)] = 32
    """Points that are drawn at random before it learns."""


class Scheduler(BaseModel):
    """Who says which trials go on, at recorded steps from `grace_period` on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Literal["asha", "median", "halving", "moasha"]
    """`asha` and `median` are Ray Tune's, for one objective; `halving` waits until a rung is full, `moasha` does not;
    both take several objectives."""
    grace_period: Annotated[int, Field(ge=1)] | None = None
    """Steps that every trial is trained for; left out, a 64th of the longest trial."""
    reduction_factor: Annotated[float, Field(gt=1)] = 4
    """One in so many goes on from each rung; rungs are so many times further apart. Not for `median`."""
    brackets: Annotated[int, Field(ge=1)] = 1
    """Of `asha`: starts at different rungs."""
    min_samples_required: Annotated[int, Field(ge=1)] = 3
    """Of `median`: how many others have to be there."""


SearchField = Annotated[Search, BeforeValidator(_named)]
SchedulerField = Annotated[Scheduler, BeforeValidator(_named)]
Objectives = dict[str, Literal["min", "max"]]


def check_searching(
    search: Search | None, scheduler: Scheduler | None, objectives: Mapping[str, str], spaces: list[dict[str, str]]
) -> None:
    """Refuse what does not go together.

    Args:
        spaces: the sub-spaces; of each, the kinds of its knobs' domains.

    Raises:
        ConfigError: with the rule, what was received and the fix.
    """
    if scheduler and scheduler.name in ("asha", "median") and len(objectives) > 1:
        raise ConfigError(
            f"scheduler {scheduler.name} takes one objective; got {', '.join(objectives)}; use moasha or halving"
        )
    if search is None:
        return
    if scheduler and scheduler.name == "halving":
        raise ConfigError(
            "scheduler halving waits until all trials are there, and search asks for them as it learns; use asha or "
            "moasha"
        )
    if len(spaces) != 1:
        raise ConfigError(f"search takes one space; got a list of {len(spaces)}; make a knob of what they differ in")
    (kinds,) = spaces
    if "grid" in kinds.values():
        grid = next(knob for knob, kind in kinds.items() if kind == "grid")
        raise ConfigError(f"search draws its knobs; got a grid for {grid}; write choice, or leave search out")
    if not kinds:
        raise ConfigError("search needs a random knob in space; got none; give one: {lr: {loguniform: [0.001, 0.1]}}")
