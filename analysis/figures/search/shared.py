"""What the figures of a search share: colours of endings, and axes that one exploded trial does not stretch."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from monosweep.analysis.figures.style import COLOURS

BEST, DONE, STOPPED = COLOURS[0], COLOURS[1], "#b8b8b8"
"""The best, those that were trained to the end, and those that were stopped early."""
_SHOWN = 0.9
"""The share of trials that an axis shows at least."""
_MARGIN = 0.06


def limits(values: NDArray[np.float64], keep: NDArray[np.float64], sign: int) -> tuple[float, float]:
    """An axis' ends: all of `keep`, and of `values` all that are not far worse than most (`sign` 1: worse is more)."""
    finite = values[np.isfinite(values)] * sign
    keep = keep[np.isfinite(keep)] * sign
    low = float(min(finite.min(), keep.min(initial=np.inf)))
    bulk = max(float(np.quantile(finite, _SHOWN)), float(keep.max(initial=-np.inf)))
    high = max(bulk, float(finite.max())) if finite.max() <= low + 1.5 * (bulk - low) else bulk
    edge = _MARGIN * ((high - low) or abs(high) or 1.0)
    low, high = low - edge, high + edge
    return (low, high) if sign > 0 else (-high, -low)


def tell_outside(ax: Axes, n: int) -> None:
    """Say how many trials the axes leave out."""
    if n:
        trials = "trial" if n == 1 else "trials"
        ax.set_title(f"{n} {trials} beyond the axes", loc="right", fontsize=7.5, color="#777777")
