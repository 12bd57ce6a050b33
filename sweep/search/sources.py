"""Sources that need no searcher."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from monosweep.model.config import TrialConfig


class Listed:
    """Trials that are known from the start, in an order that goes with no knob."""

    def __init__(self, configs: Sequence[TrialConfig]) -> None:
        self._rest = deque(sorted(configs, key=lambda config: config.trial_id))

    @property
    def is_over(self) -> bool:
        return not self._rest

    def ask(self, n: int) -> list[TrialConfig]:
        return [self._rest.popleft() for _ in range(min(n, len(self._rest)))]

    def tell(self, config: TrialConfig, row: Mapping[str, Any]) -> None:
        """It does not matter here."""
