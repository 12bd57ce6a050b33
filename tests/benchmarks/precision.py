"""`make bench-precision`: do rounded matrix products change what is learnt?  Reads the rows of the preset `precision`.

    effect size d = (mean with rounded products - mean in fp32) / pooled standard deviation over seeds

Its interval is bootstrapped over seeds.  A seed draws the same weights and samples in every precision, so pairs of
trials are drawn again together; but small differences grow while training, and pairs are soon hardly alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
from numpy import ndarray
from scipy.stats import ks_2samp

from full import commit
from monosweep.analysis.tables.root import Root, open_root
from monosweep.sweep.text import table

RESULTS = Path(__file__).parent / "results"
METRICS = ("loss", "mono_per_feature")
FEWEST = 32
NEGLIGIBLE = 0.5
"""Effects below it are lost between two seeds."""
_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """One metric in one setting, with rounded products against fp32."""

    bias_offset: float
    precision: str
    metric: str
    seeds: int
    mean_fp32: float
    mean: float
    sd_fp32: float
    sd: float
    d: float
    low: float
    """Of the 95 % interval of d."""
    high: float
    ks_p: float
    """P-value of the two-sample Kolmogorov-Smirnov test."""

    @property
    def unchanged(self) -> bool:
        """Whether a difference of half the deviation between seeds can be ruled out, and no other shows."""
        return max(-self.low, self.high) < NEGLIGIBLE and self.ks_p > 0.01


def effects(root: Root) -> Iterator[Effect]:
    """Every setting, rounded precision and metric that the root has in fp32 too."""
    columns = "bias_offset, precision, seed, loss, mono_per_feature"
    rows = root.sql(f"select {columns} from trials where sweep = 'precision' and status = 'completed'").to_pylist()
    for offset, precision, metric in product((0.0, -1.0), ("tf32", "bf16"), METRICS):
        of = {
            p: {r["seed"]: r[metric] for r in rows if (r["bias_offset"], r["precision"]) == (offset, p)}
            for p in ("fp32", precision)
        }
        seeds = sorted(of["fp32"].keys() & of[precision].keys())
        if len(seeds) > 1:
            a, b = (np.array([of[p][s] for s in seeds]) for p in ("fp32", precision))
            yield _effect(offset, precision, metric, a, b)


def _effect(offset: float, precision: str, metric: str, a: ndarray, b: ndarray) -> Effect:
    draws = np.random.default_rng(0).integers(len(a), size=(_DRAWS, len(a)))
    low, high = np.quantile(effect_size(a[draws], b[draws]), (0.025, 0.975))
    return Effect(
        bias_offset=offset, precision=precision, metric=metric, seeds=len(a), mean_fp32=float(a.mean()),
        mean=float(b.mean()), sd_fp32=float(a.std(ddof=1)), sd=float(b.std(ddof=1)), d=float(effect_size(a, b)),
        low=float(low), high=float(high), ks_p=float(ks_2samp(a, b).pvalue),
    )  # fmt: skip


def effect_size(a: ndarray, b: ndarray) -> ndarray:
    """Cohen's d of b against a, over the last axis."""
    pooled = np.sqrt((a.var(axis=-1, ddof=1) + b.var(axis=-1, ddof=1)) / 2)
    shift = np.asarray(b.mean(axis=-1) - a.mean(axis=-1))
    return np.divide(shift, pooled, out=np.zeros_like(shift), where=pooled > 0)  # 0 where no seed differs


_HEADER = ("bias offset", "precision", "metric", "seeds", "fp32", "rounded", "effect size d", "KS p", "unchanged")


def rows(found: Sequence[Effect]) -> list[tuple[str, ...]]:
    """One row per effect."""
    return [
        (
            f"{e.bias_offset:g}", e.precision, e.metric, str(e.seeds), f"{e.mean_fp32:.4f} ± {e.sd_fp32:.4f}",
            f"{e.mean:.4f} ± {e.sd:.4f}", f"{e.d:+.2f} [{e.low:+.2f}, {e.high:+.2f}]", f"{e.ks_p:.2f}",
            "yes" if e.unchanged else "no",
        )
        for e in found
    ]  # fmt: skip


def markdown(found: Sequence[Effect], about: dict[str, str]) -> str:
    """The table and how to read it."""
    lines = [f"| {' | '.join(row)} |" for row in (_HEADER, ["---"] * len(_HEADER), *rows(found))]
    reading = (
        "Mean ± standard deviation over seeds; Cohen's d with its bootstrapped 95 % interval; p-value of the "
        f"two-sample Kolmogorov-Smirnov test. *Unchanged*: the interval lies within ±{NEGLIGIBLE}, half the deviation "
        "between seeds, and p > .01. "
        f"{sum(not e.low <= 0 <= e.high for e in found)} of {len(found)} intervals leave out 0."
    )
    head = f"# Precision of the matrix products, {about['date'][:10]}, commit {about['commit']}"
    return "\n".join([head, "", f"Preset `precision` on {about['device']}.", "", *lines, "", reading, ""])


def main() -> int:
    """Compare, print, write; 1 if there are fewer seeds than the study is meant to have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="results root that the preset `precision` was launched into")
    root = open_root(parser.parse_args().out)
    found = list(effects(root))
    if not found or min(e.seeds for e in found) < FEWEST:
        print(f"precision: every setting needs {FEWEST} seeds; launch the preset `precision` first", file=sys.stderr)
        return 1
    device = root.sql("select distinct device_name from trials where sweep = 'precision'")["device_name"].to_pylist()
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "device": ", ".join(device)}
    effect_rows = [asdict(e) | {"unchanged": e.unchanged} for e in found]
    (RESULTS / "precision.json").write_text(json.dumps(about | {"effects": effect_rows}, indent=1) + "\n")
    (RESULTS / "precision.md").write_text(markdown(found, about))
    print(table(_HEADER, rows(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
