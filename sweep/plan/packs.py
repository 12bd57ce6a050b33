"""Packs: which trials are trained together.  From `TrialConfig`s to `Pack`s; torch-free.

Members of a pack have equal shapes (`model.config.shape_of`).  Membership decides speed and nothing else:
a trial's result is the same in every pack, so these choices may change without changing a table.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from monosweep.model.config import OPTIMIZERS, ConfigError, TrialConfig, shape_fields, shape_of

Cost = Callable[[TrialConfig], float]
"""How long a trial trains, in any unit."""
Footprint = Callable[[TrialConfig], tuple[int, int]]
"""Bytes that a pack of such trials needs: (whatever its size, for each member)."""
Useful = Callable[[Sequence[TrialConfig], int], int]
"""Of trials of one shape, of which so many fit: most that are worth training together."""

MEMORY_SHARE = 0.6
"""Of the free memory, all workers together: the rest is for rows, weights and what else runs here."""
PACKS_PER_WORKER = 4
"""So that a slow worker or an unlucky pack near the end leaves the others something to do."""
SMALL_PACK = 8
"""On a CPU: below this many members a pack loses more speed than more packs per worker gain."""
LARGEST_PACK = 64
"""On a CPU: beyond it packs are no faster, only longer to retry, unless their trials are very short."""
SHORT_PACK_S = 4.0
"""A pack may be larger than that while it is trained in about so many seconds: less is soon spent on scheduling it,
starting it and committing its rows, and to train it again costs no more."""
LARGEST_SHORT_PACK = 1024
MULTIPLY_ADDS_PER_S = 1e9
"""Of `trial_cost`, that any CPU gets done in a second, be the matrices ever so small."""


@dataclass(frozen=True)
class Pack:
    """Trials that one worker trains together; those that share a data stream stand side by side."""

    configs: tuple[TrialConfig, ...]
    given_id: str = ""
    """Of a pack that goes on with those of its members that have not left."""
    sources: tuple[str, ...] = ()
    """Packs in whose checkpoints members are that have been trained before."""
    leaving: tuple[tuple[str, str], ...] = ()
    """Members that are only there to get their rows, by trial_id, and why they stop."""

    @cached_property
    def pack_id(self) -> str:
        """Sixteen hexadecimal digits: a hash of the ids, in any order, of the members with whom it began."""
        if self.given_id:
            return self.given_id
        ids = sorted(config.trial_id for config in self.configs)
        return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


def trial_cost(config: TrialConfig) -> float:
    """Multiply-adds of one trial, up to a constant: over all steps."""
    return config.n_steps * config.step_cost()


def make_packs(
    configs: Iterable[TrialConfig],
    *,
    pack_size: int | Literal["auto"],
    n_workers: int,
    memory_bytes: int,
    footprint: Footprint,
    cost: Cost = trial_cost,
    useful: Useful | None = None,
) -> list[Pack]:
    """Group trials into packs, the costliest first; the order of `configs` and repetitions do not matter.

    A number is kept to as it is (the last members spread evenly).  `auto` makes packs as large as is useful:
    at most `useful` members (left out, what suits a CPU) and the worker's part of MEMORY_SHARE of `memory_bytes`,
    about PACKS_PER_WORKER packs per worker unless `useful` says what a pack loses if it is smaller, and no idle worker
    while there are trials.  Optimizers of torch_optimizer train alone, but for Lamb.

    Raises:
        ConfigError: with `auto`, if a single trial needs more memory than a worker may take.
    """
    trials = {config.trial_id: config for config in configs}
    groups = [sorted(group, key=_stream_order) for group in _by_shape(trials.values()).values()]
    groups.sort(key=lambda group: _stream_order(group[0]))
    if pack_size == "auto":
        limits = [_limit(g, memory_bytes, n_workers, footprint, useful or _useful_on_a_cpu) for g in groups]
        counts = _counts(groups, limits, limits if useful else [SMALL_PACK] * len(groups), n_workers, cost)
    else:
        counts = [math.ceil(len(g) / (1 if _is_solo(g[0]) else pack_size)) for g in groups]
    packs = [Pack(tuple(part)) for g, count in zip(groups, counts, strict=True) for part in _split(g, count)]
    return sorted(packs, key=lambda pack: (-sum(map(cost, pack.configs)), pack.pack_id))


def _by_shape(configs: Iterable[TrialConfig]) -> Mapping[tuple[object, ...], list[TrialConfig]]:
    groups = defaultdict(list)
    for config in configs:
        groups[shape_of(config)].append(config)
    return groups


def _stream_order(config: TrialConfig) -> tuple[object, ...]:
    """Trials with the same data stream in a row; ids break ties."""
    return (config.family, *config.stream(), config.n_steps, config.lr, config.trial_id)


def _is_solo(config: TrialConfig) -> bool:
    """Whether only the solo engine can train it."""
    return config.optimizer not in OPTIMIZERS


def _limit(
    group: Sequence[TrialConfig], memory_bytes: int, n_workers: int, footprint: Footprint, useful: Useful
) -> int:
    """Most members that a pack of this shape may have."""
    config = group[0]
    per_pack, per_member = footprint(config)
    allowed = MEMORY_SHARE * memory_bytes / n_workers
    if per_pack + per_member > allowed:
        raise ConfigError(
            f"a trial with {_sizes(config)} needs "
            f"{_gigabytes(per_pack + per_member)}, more than each of {n_workers} workers may take "
            f"({_gigabytes(allowed)}); use fewer workers or a smaller batch_size"
        )
    if _is_solo(config):
        return 1
    fits = int((allowed - per_pack) // max(per_member, 1))
    return min(fits, useful(group, fits))


def _sizes(config: TrialConfig) -> str:
    """Its shape fields that are whole numbers, the batch size last."""
    numbers = {name: getattr(config, name) for name in shape_fields(type(config))}
    sizes = [f"{k} {v}" for k, v in numbers.items() if isinstance(v, int) and k != "batch_size"]
    return " and ".join([", ".join(sizes), f"batch_size {config.batch_size}"])


def _useful_on_a_cpu(group: Sequence[TrialConfig], fits: int) -> int:
    """By a low estimate of its speed."""
    config = group[0]
    looks = math.log2(2 * config.n_steps) + 1
    seconds = (trial_cost(config) + looks * config.look_cost()) / MULTIPLY_ADDS_PER_S
    return max(LARGEST_PACK, min(LARGEST_SHORT_PACK, int(SHORT_PACK_S / seconds)))


def _counts(
    groups: list[list[TrialConfig]], limits: list[int], small: list[int], n_workers: int, cost: Cost
) -> list[int]:
    """Packs per group under `auto`; those with fewer members than `small` only where workers would be idle."""
    total = sum(cost(config) for group in groups for config in group)
    counts = []
    for group, limit, least in zip(groups, limits, small, strict=True):
        share = n_workers * sum(map(cost, group)) / total  # of the sweep, in workers
        useful = max(round(share), min(round(PACKS_PER_WORKER * share), math.ceil(len(group) / least)))
        counts.append(min(len(group), max(1, useful, math.ceil(len(group) / limit))))
    return _fill_rounds(groups, counts, n_workers, cost)


def _fill_rounds(groups: list[list[TrialConfig]], counts: list[int], n_workers: int, cost: Cost) -> list[int]:
    """Split the costliest packs until every worker gets the same number of packs, where trials suffice.

    Nine equal packs on eight workers take twice as long as eight.
    """
    counts = list(counts)
    pack_cost = [sum(map(cost, group)) / count for group, count in zip(groups, counts, strict=True)]
    for _ in range(-sum(counts) % n_workers):
        divisible = [i for i, group in enumerate(groups) if counts[i] < len(group)]
        if not divisible:
            break
        costliest = max(divisible, key=lambda i: pack_cost[i])
        pack_cost[costliest] *= counts[costliest] / (counts[costliest] + 1)
        counts[costliest] += 1
    return counts


def _split(group: list[TrialConfig], count: int) -> list[list[TrialConfig]]:
    """`group` in `count` runs whose sizes differ by at most one."""
    edges = [i * len(group) // count for i in range(count + 1)]
    return [group[a:b] for a, b in pairwise(edges)]


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2g} GB"
