"""Points of a search space and the trials that they are: from what a searcher suggests to configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monosweep.model.config import TrialConfig
from monosweep.model.families import config_of

_UNBOUNDED = ("randn", "qrandn")
_SIGNIFICANT_DIGITS = 6
"""Of a suggested float: as many as one reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """One sub-space: fixed knobs, and the random ones' domains."""

    fixed: Mapping[str, Any]
    domains: Mapping[str, Mapping[str, Any]]
    """Such as {"lr": {"loguniform": [0.001, 0.1]}}."""
    repeats: int = 1
    """Seeds a point."""

    def rounded(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point as its trials have it."""
        return {knob: self._rounded(knob, point[knob]) for knob in self.domains}

    def _rounded(self, knob: str, value: Any) -> Any:
        ((kind, bounds),) = self.domains[knob].items()
        value = value.item() if hasattr(value, "item") else value
        if kind == "choice" or not isinstance(value, float):
            return value
        read = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
        return read if kind in _UNBOUNDED else min(max(read, bounds[0]), bounds[1])

    def configs(self, point: Mapping[str, Any]) -> list[TrialConfig]:
        """The trials of a point: one for each seed."""
        knobs = {**self.fixed, **self.rounded(point)}
        first = int(knobs.get("seed", 0))
        return [config_of({**knobs, "seed": first + i}) for i in range(self.repeats)]

    def of(self, config: TrialConfig) -> dict[str, Any] | None:
        """The point that a trial belongs to; None if it is not of this space."""
        knobs = config.to_dict()
        if any(knob not in knobs for knob in self.domains):
            return None
        point = {knob: knobs[knob] for knob in self.domains}
        return point if any(other.trial_id == config.trial_id for other in self.configs(point)) else None
