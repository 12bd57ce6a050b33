"""Every step's losses of a pack's members, and what rows say of them: a windowed mean and a least one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from monosweep.model.config import TrialConfig
from monosweep.model.schedule import loss_window

MIN_LOSS_STEPS = 16
"""`min_loss` is the least mean over so many steps, or over all steps so far where they are fewer."""


class LossRecord:
    """Windowed and least losses of members that may each be at a step of their own; the same however steps are chunked.

    A place is that of a member in its pack; a loss of NaN, as frozen members and empty places have, is no loss.
    """

    def __init__(self, configs: Sequence[TrialConfig]) -> None:
        self._windows = [_kept(config) for config in configs]
        self.steps: Int64[ndarray, " pack"] = np.zeros(len(configs), np.int64)
        """Steps that each member has done."""
        self.recent: Float64[ndarray, "pack size"] = np.zeros((len(configs), max(self._windows)))
        """The latest losses; step s stands at (s - 1) mod size."""
        self.least: Float64[ndarray, " pack"] = np.full(len(configs), np.inf)

    def push(self, losses: Float64[ndarray, "steps pack"]) -> None:
        """Append the losses of every member's next steps."""
        for start in range(0, len(losses), self.recent.shape[1]):
            self._push(losses[start : start + self.recent.shape[1]])

    def _push(self, losses: Float64[ndarray, "steps pack"]) -> None:
        before = MIN_LOSS_STEPS - 1
        joined = np.concatenate([self._last(before), losses.T], axis=1)
        n_means = len(losses)
        # Summed in one fixed order, so that chunking cannot change a bit.
        total = joined[:, :n_means].copy()
        for shift in range(1, MIN_LOSS_STEPS):
            total += joined[:, shift : shift + n_means]
        self._count_in(joined, total / MIN_LOSS_STEPS)
        places = (self.steps[:, None] + np.arange(len(losses))) % self.recent.shape[1]
        np.put_along_axis(self.recent, places, losses.T, axis=1)
        self.steps += len(losses)

    def _count_in(self, joined: Float64[ndarray, "pack n"], means: Float64[ndarray, "pack steps"]) -> None:
        """The least mean, of the means that have sixteen steps behind them, and of those of all steps before there
        are so many."""
        before = MIN_LOSS_STEPS - 1
        for step in np.unique(self.steps):
            members = self.steps == step
            missing = max(0, before - int(step))  # steps that the first of these means lack
            if missing < means.shape[1]:
                self.least[members] = np.fmin(self.least[members], means[members, missing:].min(axis=1))
            if missing:
                first = np.cumsum(joined[members, missing : before + missing], axis=1)
                early = first / np.arange(1, first.shape[1] + 1)
                self.least[members] = np.fmin(self.least[members], early.min(axis=1))

    def _last(self, n: int, members: slice = slice(None)) -> Float64[ndarray, "pack n"]:
        places = (self.steps[members, None] - n + np.arange(n)) % self.recent.shape[1]
        return np.take_along_axis(self.recent[members], places, axis=1)

    def losses(self, configs: Sequence[TrialConfig]) -> Float64[ndarray, " pack"]:
        """Mean loss over the window that ends at each member's step."""
        windows = np.array([loss_window(c, int(step)) for c, step in zip(configs, self.steps, strict=True)])
        out = np.empty(len(windows))
        for window in np.unique(windows):
            last = np.ascontiguousarray(self._last(int(window)))
            out[windows == window] = last.mean(axis=1)[windows == window]  # each row in NumPy's order of one array
        return out

    def take(self, place: int) -> tuple[Float64[ndarray, " kept"], float]:
        """A member's latest losses, as many as any window of it will need, and its least."""
        kept = min(int(self.steps[place]), self._windows[place])
        latest = self._last(kept, slice(place, place + 1))[0] if kept else np.empty(0)
        return latest, float(self.least[place])

    def put(self, place: int, config: TrialConfig, step: int, latest: Float64[ndarray, " kept"], least: float) -> None:
        """Give a place to a member, one more if need be."""
        if place == len(self.steps):
            self._windows.append(0)
            self.steps, self.least = np.append(self.steps, 0), np.append(self.least, np.inf)
            self.recent = np.concatenate([self.recent, np.zeros((1, self.recent.shape[1]))])
        self._windows[place] = _kept(config)
        self._widen(_kept(config))
        self.steps[place], self.least[place] = step, least
        self.recent[place] = 0
        if len(latest):
            self.recent[place, (step - len(latest) + np.arange(len(latest))) % self.recent.shape[1]] = latest

    def _widen(self, size: int) -> None:
        """Room for so many losses of each member."""
        if size <= self.recent.shape[1]:
            return
        kept = self._last(self.recent.shape[1])
        self.recent = np.zeros((len(kept), size))
        places = (self.steps[:, None] - kept.shape[1] + np.arange(kept.shape[1])) % size
        np.put_along_axis(self.recent, places, kept, axis=1)


def _kept(config: TrialConfig) -> int:
    return max(MIN_LOSS_STEPS, loss_window(config, config.n_steps))
