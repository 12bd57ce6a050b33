"""`make bench-search`: what searching and early stopping save, and what they lose, against training everything.

    full sweep ─┬─ ASHA on the same trials            steps, wall time, place of the best
                ├─ the same from a quarter of that step on
                ├─ two-objective halving on the same  steps, hypervolume
                └─ Optuna at as many steps            hypervolume
    survivors in regrouped packs against fresh full packs: model-steps a second
    asking and telling a searcher: share of the wall time

Each sweep has a root of its own that is thrown away.  The median over seeds of the draws is held against the target, of
the place of the best the worst.
Seeds that `search.json` has of an earlier run of the same size and setting are not run again; without it all are.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console

from monosweep.analysis.search.front import front_of, reference_of
from monosweep.analysis.stats.fronts import hypervolume
from monosweep.analysis.tables.root import open_root
from monosweep.analysis.tables.search import Search
from monosweep.sweep.bench.measure import machine
from monosweep.sweep.drive import LaunchOptions, launch
from monosweep.sweep.plan.machine import n_cores
from monosweep.sweep.search.searcher import SearcherSource
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.text import table

RESULTS = Path(__file__).parent / "results"
OBJECTIVES: dict[str, Literal["min", "max"]] = {"loss": "min", "mono_per_feature": "max"}
FACTOR = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large the sweeps are."""

    n_trials: int = 512
    n_steps: int = 4096
    grace: int = 256
    """Step of the first rung."""
    n_asked: int = 1000
    """Trials of the sweep that is searched."""
    pack: int = 32
    """Members of the packs of which survivors are regrouped, and in which a searcher is asked."""
    n_features: int = 64
    n_startup: int = 32

    @property
    def base(self) -> dict[str, Any]:
        """The small shape, or one of other proportions alike."""
        n = self.n_features
        return {
            "n_features": n, "d_embed": n // 4, "n_neurons": 2 * n, "feature_prob": 4 / n, "batch_size": 8 * n,
            "n_steps": self.n_steps,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How they are launched."""

    executor: Literal["ray", "inline"] = "ray"
    workers: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A sweep that has ended."""

    wall_time_s: float
    model_steps: int
    search: Search


@dataclass(frozen=True, kw_only=True, slots=True)
class Saved:
    """One seed's draws, all trained and stopped early."""

    seed: int
    machine: str
    steps_ratio: float
    """Model-steps of the full sweep over those of ASHA."""
    time_ratio: float
    """The same of wall times."""
    best_place: float
    """The place of ASHA's best among the trials of the full sweep, as a share from the top; 0 is the best."""
    early_steps_ratio: float
    """All three if the first rung is at a quarter of the steps."""
    early_time_ratio: float
    early_place: float
    front_steps_ratio: float
    """Model-steps of the full sweep over those of two-objective halving."""
    front_share: float
    """The hypervolume of its front over that of the full sweep."""
    searched_share: float
    """The same of Optuna's two-objective search without stopping, at as many model-steps."""

    @property
    def over_search(self) -> float:
        """How much more halving has than that search."""
        return self.front_share / self.searched_share if self.searched_share else math.inf


def spec(size: Size, name: str, **more: Any) -> SweepSpec:
    """Draws of two knobs."""
    space = {"lr": {"loguniform": [3e-4, 0.3]}, "bias_offset": {"uniform": [-2, 0]}}
    return SweepSpec(
        name=name, base=size.base, space=[space], **{"num_samples": size.n_trials, "objectives": OBJECTIVES, **more}
    )


@contextmanager
def ran(of: SweepSpec, setting: Setting) -> Iterator[Ran]:
    """Launch a sweep into a root of its own.

    Raises:
        RuntimeError: if a trial has no row.
    """
    options, console = LaunchOptions(executor=setting.executor, workers=setting.workers), Console(file=io.StringIO())
    with tempfile.TemporaryDirectory(prefix="monosweep-bench-") as root:
        report = launch(of, root, options, console)
        search = open_root(root).search(of.name, [f"{name}:{mode}" for name, mode in OBJECTIVES.items()])
        if report.n_missing or len(search.found.rows) != of.num_samples:
            raise RuntimeError(f"{of.num_samples} trials asked for, {len(search.found.rows)} have rows")
        steps = sum(row["last_step"] for row in search.found.rows)
        yield Ran(wall_time_s=report.wall_time_s, model_steps=steps, search=search)


def saved(size: Size, seed: int, setting: Setting) -> Saved:
    """One seed's draws trained whole, and by three searches."""
    gently = {"grace_period": size.grace, "reduction_factor": 2}  # a front is held by many, each good at its own

    def stopped(grace: int) -> SweepSpec:
        asha = {"name": "asha", "grace_period": grace, "reduction_factor": FACTOR}
        return spec(size, "asha", sample_seed=seed, objectives={"loss": "min"}, scheduler=asha)

    with (
        ran(spec(size, "full", sample_seed=seed), setting) as full,
        ran(stopped(size.grace), setting) as asha,
        ran(stopped(size.grace // 4), setting) as early,
        ran(spec(size, "front", sample_seed=seed, scheduler={"name": "moasha", **gently}), setting) as front,
    ):  # fmt: skip
        n_searched = max(1, round(front.model_steps / size.n_steps))
        search = {"name": "optuna", "n_startup_trials": min(size.n_startup, max(1, n_searched // 3))}
        with ran(spec(size, "optuna", sample_seed=seed, num_samples=n_searched, search=search), setting) as searched:
            losses = np.sort(_losses(full))
            return Saved(
                seed=seed, machine=machine(setting.workers).device, steps_ratio=full.model_steps / asha.model_steps,
                time_ratio=full.wall_time_s / asha.wall_time_s,
                best_place=_place(losses, asha), early_steps_ratio=full.model_steps / early.model_steps,
                early_time_ratio=full.wall_time_s / early.wall_time_s, early_place=_place(losses, early),
                front_steps_ratio=full.model_steps / front.model_steps,
                front_share=_share(front, full), searched_share=_share(searched, full),
            )  # fmt: skip


def _losses(of: Ran) -> np.ndarray[Any, Any]:
    return of.search.found.values[of.search.found.completed, 0]


def _place(losses: np.ndarray[Any, Any], of: Ran) -> float:
    return float((losses < _losses(of).min()).sum()) / len(losses)


def _share(of: Ran, full: Ran) -> float:
    """Hypervolumes up to the full sweep's reference."""
    reference = reference_of(full.search.found, front_of(full.search.found))
    one, whole = (hypervolume(r.search.found.vectors[r.search.found.completed], reference) for r in (of, full))
    return one / whole


def regrouped(size: Size) -> float:
    """Model-steps a second of one in ten that go on together when the others are stopped, over those of a full pack.

    Ten packs are stopped at a single rung and become one.  What they took up to there is measured by trials that end
    there, and taken off.
    """
    here = Setting(executor="inline", workers=1)
    rung = 1 << (size.n_steps // 10).bit_length()  # so that a tenth of the steps lies before it, and no other after it
    halved = {"name": "halving", "grace_period": rung, "reduction_factor": 10}

    def measured(n: int, n_steps: int, scheduler: dict[str, Any] | None) -> tuple[int, float]:
        of = spec(replace(size, n_steps=n_steps), "regrouped", num_samples=n, pack_size=size.pack,
                  objectives={"loss": "min"}, scheduler=scheduler)  # fmt: skip
        with ran(of, here) as once:
            return once.model_steps, once.wall_time_s

    measured(size.pack, rung, None)  # the machine's code is compiled
    alone, alone_s = measured(size.pack, size.n_steps, None)
    first, first_s = measured(10 * size.pack, rung, None)
    both, both_s = measured(10 * size.pack, size.n_steps, halved)
    return (both - first) / (both_s - first_s) / (alone / alone_s)


@dataclass(slots=True)
class Asking:
    """How long a searcher was asked and told."""

    asked_s: float = 0.0
    told_s: float = 0.0
    n: int = 0


@contextmanager
def timed_asking() -> Iterator[Asking]:
    """Seconds that `SearcherSource` takes meanwhile."""
    spent, ask, tell = Asking(), SearcherSource.ask, SearcherSource.tell

    def timed_ask(self: SearcherSource, n: int) -> list[Any]:
        start = time.perf_counter()
        found = ask(self, n)
        spent.asked_s += time.perf_counter() - start
        spent.n += len(found)
        return found

    def timed_tell(self: SearcherSource, *told: Any) -> None:
        start = time.perf_counter()
        tell(self, *told)
        spent.told_s += time.perf_counter() - start

    SearcherSource.ask, SearcherSource.tell = timed_ask, timed_tell  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        SearcherSource.ask, SearcherSource.tell = ask, tell  # type: ignore[method-assign]


def asking_share(size: Size, setting: Setting) -> tuple[float, Asking]:
    """The share of wall time that goes into asking and telling in packs of `size.pack`, with ASHA; and the seconds."""
    early = {"name": "asha", "grace_period": size.grace // 4, "reduction_factor": FACTOR}
    of = spec(
        size, "asked", num_samples=size.n_asked, pack_size=size.pack, objectives={"loss": "min"},
        search={"name": "optuna"}, scheduler=early,
    )  # fmt: skip
    with timed_asking() as spent, ran(of, setting) as once:
        return (spent.asked_s + spent.told_s) / once.wall_time_s, spent


class Target(NamedTuple):
    """What is told of a number."""

    what: str
    sign: Literal["≥", "≤", ""] = ""
    wanted: float = math.nan
    judged: Callable[[Sequence[float]], float] = statistics.median
    """What of its values must be so."""

    def met(self, values: Sequence[float]) -> str:
        """yes, no, or nothing if nothing is wanted."""
        if not self.sign:
            return ""
        value = self.judged(values)
        return "yes" if (value >= self.wanted if self.sign == "≥" else value <= self.wanted) else "no"


TARGETS = {
    "steps_ratio": Target("ASHA: times fewer model-steps than the full sweep", "≥", 4),
    "time_ratio": Target("ASHA: times less wall time", "≥", 3),
    "best_place": Target("ASHA: place of its best in the full sweep, from the top", "≤", 0.01, max),
    "early_steps_ratio": Target("first rung at a quarter of that step: times fewer model-steps"),
    "early_time_ratio": Target("... times less wall time"),
    "early_place": Target("... place of its best"),
    "front_steps_ratio": Target("two objectives: times fewer model-steps", "≥", 3),
    "front_share": Target("two objectives: hypervolume over the full sweep's", "≥", 0.98),
    "over_search": Target("two objectives: hypervolume over Optuna's at equal steps", "≥", 1),
    "regrouped": Target("survivors of 90 % stopped: model-steps a second over a full pack's", "≥", 0.8),
    "asking_share": Target("asking and telling Optuna: share of wall time", "≤", 0.05),
}


def values_of(found: Mapping[str, Any], seeds: Sequence[Saved]) -> dict[str, list[float]]:
    """By the names of `TARGETS`: over seeds, or one."""
    return {
        name: [found[name]] if name in found else [getattr(each, name) for each in seeds] for name in TARGETS
    }  # fmt: skip


def lines(values: Mapping[str, Sequence[float]]) -> list[tuple[str, ...]]:
    """What, how much, over which seeds, the target, and whether it is met."""
    rows = []
    for name, of in values.items():
        target = TARGETS[name]
        over = f"{min(of):.3g} … {max(of):.3g}" if len(of) > 1 else ""
        wanted = f"{target.sign} {target.wanted:g}" if target.sign else ""
        rows.append((target.what, f"{statistics.median(of):.3g}", over, wanted, target.met(of)))
    return rows


HEAD = ("", "median", "over seeds", "target", "met")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--asked", type=int, default=1000)
    parser.add_argument("--executor", choices=("ray", "inline"), default="ray")
    parser.add_argument("--to", type=Path, default=RESULTS)
    given = parser.parse_args()
    size = Size(n_trials=given.trials, n_steps=given.steps, n_asked=given.asked)
    setting = Setting(executor=given.executor, workers=n_cores())
    found = _before(given.to, size, setting)
    seeds = [Saved(**told) for told in found.get("seeds", ())]
    if "regrouped" not in found:
        found["regrouped"] = regrouped(replace(size, n_trials=size.pack))
        print(f"regrouped: {found['regrouped']:.3f}", flush=True)
        share, spent = asking_share(size, setting)
        found |= {"asking_share": share, "asking": asdict(spent)}
        print(f"asking: {share:.4f} of wall time; {spent}", flush=True)
    for seed in range(len(seeds), given.seeds):
        seeds.append(saved(size, seed, setting))
        print(seeds[-1], flush=True)
        found["seeds"] = [asdict(each) for each in seeds]
        _write(found, seeds, given.to)
    print((given.to / "search.md").read_text())


def _before(to: Path, size: Size, setting: Setting) -> dict[str, Any]:
    """What an earlier run of this size and setting has found; else what is to be found."""
    about = {"size": asdict(size), "setting": asdict(setting)}
    with suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads((to / "search.json").read_text())
        if {name: found[name] for name in about} == about:
            return found
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"machine": asdict(machine(setting.workers)), "at": now, **about}


def _write(found: dict[str, Any], seeds: Sequence[Saved], to: Path) -> None:
    """After each seed, so that a run that is cut short has told what it saw."""
    size = found["size"]
    text = table(HEAD, lines(values_of(found, seeds)), (1,))
    (to / "search.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    (to / "search.md").write_text(
        f"# What searching and early stopping save\n\n{size['n_trials']} trials of the small shape "
        f"({size['n_features']} features, {size['n_steps']:,} steps), {len(seeds)} seeds of the draws, "
        f"{found['setting']['workers']} workers ({found['setting']['executor']}); {found['at']}.\n\n"
        f"```text\n{text}\n```\n"
    )


if __name__ == "__main__":
    main()
