"""`make bench-scaling`: three nodes against one, and a plan for a million trials.

Nodes are network namespaces with a quota of half a core each: three of them leave the head and the S3 server
their own half core on two.  Rates count from when every node has finished one pack, so that Ray's start and the
workers' imports, which a sweep pays once, stand apart.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds

from clusters import ray_cluster
from million import cost, measure, report
from monosweep.sweep.bench.measure import machine
from monosweep.sweep.plan.machine import n_cores
from quota import quotas

RESULTS = Path(__file__).parent / "results"
_QUOTA = 0.5
_PACK = 4
_ALIKE = 0.9
"""Three nodes are held back by their quotas at least so much of the time that one is, or the machine is too busy."""
_SPEC = """
base: {{n_features: 32, d_embed: 8, n_neurons: 64, feature_prob: 0.03125, batch_size: 128, n_steps: {n_steps}}}
space: {{lr: {{grid: [0.003, 0.006, 0.01, 0.02]}}}}
repeats: {n_packs}
pack_size: {pack}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """One sweep on some nodes."""

    n_nodes: int
    n_trials: int
    trials_per_hour: float
    """From when every node has finished one pack."""
    training_share: float
    """Part of the nodes' time in that span that went into training, by the rows' own clocks."""
    held_back: float = 0.0
    """Part of the time in which the nodes used up their quota: about the same for any number of nodes, unless the
    machine had less to give than their quotas."""


def throughput(n_nodes: int, n_packs: int, n_steps: int) -> Throughput:
    """Train `n_packs` equal packs on each of `n_nodes` nodes."""
    home = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    spec = home / "scaling.yaml"
    spec.write_text(_SPEC.format(n_steps=n_steps, n_packs=n_packs * n_nodes, pack=_PACK))
    try:
        with ray_cluster(home / "n") as cluster:
            cluster.start(n_workers=n_nodes)
            with quotas(cluster.workers, _QUOTA) as held_back:
                driver = cluster.launch(spec)
                if driver.finish(3600) != 0:
                    raise RuntimeError(driver.said())
                share = held_back()
            return replace(of_rows(n_nodes, *_rows(cluster.fetch(home / "found"))), held_back=share)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _rows(root: Path) -> tuple[list[str], list[float], list[float]]:
    """Of every trial: its pack, when its row was made (seconds), its share of the pack's training time."""
    rows = ds.dataset(root / "trials").to_table(columns=["pack_id", "finished_at", "wall_time_s"]).to_pydict()
    return rows["pack_id"], [moment.timestamp() for moment in rows["finished_at"]], rows["wall_time_s"]


def of_rows(n_nodes: int, packs: Sequence[str], finished: Sequence[float], seconds: Sequence[float]) -> Throughput:
    """What the rows of a sweep say.

    >>> found = of_rows(1, ["a", "b", "c"], [10.0, 20.0, 30.0], [8.0, 9.0, 9.0])
    >>> round(found.trials_per_hour), found.training_share
    (360, 0.9)
    """
    ends = dict(zip(packs, finished, strict=True))
    order = sorted(ends, key=lambda pack: ends[pack])
    sizes, trained = Counter(packs), defaultdict[str, float](float)
    for pack, spent in zip(packs, seconds, strict=True):
        trained[pack] += spent
    later, span = order[n_nodes:], ends[order[-1]] - ends[order[n_nodes - 1]]
    return Throughput(
        n_nodes=n_nodes, n_trials=len(packs), trials_per_hour=3600 * sum(sizes[pack] for pack in later) / span,
        training_share=sum(trained[pack] for pack in later) / (n_nodes * span),
    )  # fmt: skip


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="of a trial")
    parser.add_argument("--packs", type=int, default=8, help="of each node")
    parser.add_argument("--near-empty", type=int, nargs=2, default=[200, 1000], help="packs of the two driver runs")
    parser.add_argument("--to", type=Path, default=RESULTS / "scaling.json")
    args = parser.parse_args()
    one, three = (throughput(n, args.packs, args.steps) for n in (1, 3))
    efficiency = three.trials_per_hour / (3 * one.trials_per_hour)
    print(f"three nodes deliver {efficiency:.2f} of three times one node's trials per hour")
    print(
        "\n".join(
            f"  {t.n_nodes}: {t.trials_per_hour:,.0f} trials/h, {t.training_share:.0%} training, "
            f"{t.held_back:.0%} of the time at the quota"
            for t in (one, three)
        )
    )
    if three.held_back < _ALIKE * one.held_back:
        print("  this says little: other processes kept the three nodes from their quotas; try on a quiet machine")
    constants = measure(args.near_empty)
    million = cost(constants, 1_000_000, 1000, n_curve=15, n_neurons=256)
    print(report(constants, million))
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": asdict(machine(n_cores())),
        "quota_cores": _QUOTA, "efficiency": efficiency, "nodes": [asdict(one), asdict(three)],
        "constants": asdict(constants), "million": asdict(million),
    }  # fmt: skip
    args.to.parent.mkdir(exist_ok=True)
    args.to.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
