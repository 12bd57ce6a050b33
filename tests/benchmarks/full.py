"""`make bench`: monosweep, its peers and the machine's limit, in turns; writes results/*.json and *.md.

Every contender has the whole machine while it is measured.  Each turn measures all of them once, so that
whatever else the machine does is spread over them; the table holds medians over the turns before and after which
nothing else was running, as far as there are enough of those.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from checks import ENGINES_TOLERANCE, STANDARD_ERRORS, Agreement, agreements, engines_differ_by
from contenders import ours, plain_tune
from contenders.jax_peer import JaxPeer
from contenders.sample import CASES, Case, Sample, Turn
from monosweep.model.bench.loads import Kind, Load
from monosweep.sweep.bench.crew import Crew
from monosweep.sweep.bench.measure import PRODUCTS, SECONDS, Limit, Machine, limit_of, machine
from monosweep.sweep.bench.report import number, sizes
from monosweep.sweep.plan.machine import n_cores
from monosweep.sweep.text import table

RESULTS = Path(__file__).parent / "results"
OURS, OURS_RAY, PLAIN, JAX, LIMIT = "ours, inline", "ours, ray", "plain", "jax", "limit"
OURS_BF16 = "ours, ray, bf16"
QUIET = 0.15
"""Cores that other programs may keep busy without disturbing the measurement."""
_PATIENCE_S = 10.0
_FEWEST = 2
BARE: tuple[Kind, ...] = ("packed", *PRODUCTS, "memory")
"""Measured by the crew: the packed engine alone, and the floors."""
SWEEP = 64
"""Trials of the sweep whose wall time includes starting."""
_SEEDS_PER_TURN = 100


@dataclass
class Measured:
    """Everything that the turns have brought."""

    cases: Sequence[Case]
    samples: list[Sample] = field(default_factory=list)
    startups: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """How many cores other programs kept busy just before and just after each turn, by contender."""
    bare: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Work per second by shape and load; `bf16` and `gemm, bf16` are `packed` and `gemm` with products in bfloat16."""

    def add(self, contender: str, turn: Turn) -> None:
        self.samples += turn.samples
        self.startups[contender].append(turn.startup_s)

    def calm(self, contender: str) -> list[int]:
        """The turns at which the machine was ours; all of them if those are fewer than two."""
        quiet = self.undisturbed(contender)
        return quiet if len(quiet) >= _FEWEST else list(range(len(self.others[contender])))

    def undisturbed(self, contender: str) -> list[int]:
        """The turns before and after which nothing else ran."""
        return [i for i, loads in enumerate(self.others[contender]) if max(loads) < QUIET]

    def step_ms(self, contender: str, shape: str, calm: bool = True) -> list[float]:
        """Of the calm turns, or of all."""
        found = [s.step_ms for s in self.samples if (s.contender, s.shape) == (contender, shape)]
        return [found[i] for i in self.calm(contender)] if calm else found

    def rates(self, case: Case, load: str) -> list[float]:
        """Of a bare load at the calm turns."""
        return [self.bare[case.shape.name, load][i] for i in self.calm(LIMIT)]

    def limit(self, case: Case) -> Limit:
        return limit_of(case.shape, {kind: self.rates(case, kind) for kind in BARE})

    def engine_ms(self, case: Case, load: str = "packed") -> float:
        return 1e3 / median(self.rates(case, load))


def measure(cases: Sequence[Case], turns: int, n_workers: int, tell: Callable[[str], None]) -> Measured:
    """All contenders and the limit, `turns` times."""
    measured = Measured(cases)
    with closing(JaxPeer(cases)) as jax:
        for turn in range(turns):
            seed = turn * _SEEDS_PER_TURN
            for contender, train in _contenders(cases, n_workers, jax).items():
                tell(f"turn {turn + 1} of {turns}: {contender}")
                before = await_quiet()
                measured.add(contender, train(seed))
                measured.others[contender].append((before, busy_cores()))
            tell(f"turn {turn + 1} of {turns}: {LIMIT}")
            before = await_quiet()
            _measure_bare(measured, n_workers)
            measured.others[LIMIT].append((before, busy_cores()))
    return measured


def await_quiet() -> float:
    """Wait, but not for ever, until other programs leave the machine alone; how many cores they keep busy."""
    deadline = time.monotonic() + _PATIENCE_S
    while (load := busy_cores()) >= QUIET and time.monotonic() < deadline:
        pass
    return load


def busy_cores() -> float:
    """Cores that were busy over a second in which this process sleeps; 0 where the system does not tell."""
    before = _busy_s()
    time.sleep(1)
    return _busy_s() - before


def _busy_s() -> float:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _contenders(cases: Sequence[Case], n_workers: int, jax: JaxPeer) -> Mapping[str, Callable[[int], Turn]]:
    return {
        OURS: lambda seed: ours.turn("inline", cases, n_workers, seed),
        PLAIN: lambda seed: plain_tune.turn(cases, n_workers, seed),
        JAX: jax.turn,
        OURS_RAY: lambda seed: ours.turn("ray", cases, n_workers, seed),
        OURS_BF16: lambda seed: ours.turn("ray", cases, n_workers, seed, "bf16"),
    }


def _measure_bare(measured: Measured, n_workers: int) -> None:
    with Crew(n_workers) as crew:
        for case in measured.cases:
            n = case.n_packed // n_workers
            loads = {kind: Load(kind, case.shape.trials(n)) for kind in BARE}
            loads["bf16"] = Load("packed", case.shape.trials(n, precision="bf16"))
            loads["gemm, bf16"] = Load("gemm", case.shape.trials(1, precision="bf16"))
            for name, load in loads.items():
                measured.bare[case.shape.name, name].append(crew.rate(load, SECONDS[load.kind]))


def as_plain(measured: Measured, here: Machine, checks: Sequence[Agreement], engines: Mapping[str, float]) -> Any:
    """The results file."""
    blas = {name: os.environ.get(name, "unset") for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": asdict(here) | {"system": platform.platform(), "environment": blas} | {"versions": _versions(here)},
        "startup_s": measured.startups,
        "busy_cores_of_others": measured.others,
        "undisturbed_turns": {contender: len(measured.undisturbed(contender)) for contender in measured.others},
        "shapes": [_shape(measured, case) for case in measured.cases],
        "engines_differ_by": engines,
        "loss_checks": [asdict(check) | {"holds": check.holds} for check in checks],
    }


def _shape(measured: Measured, case: Case) -> dict[str, Any]:
    name = case.shape.name
    contenders = (OURS, OURS_RAY, OURS_BF16, PLAIN, JAX)
    return {
        "case": asdict(case),
        "step_ms": {c: median(measured.step_ms(c, name)) for c in contenders},
        "step_ms_at_each_turn": {c: measured.step_ms(c, name, calm=False) for c in contenders},
        "limit": asdict(measured.limit(case)),
        "bare_per_second": {load: rates for (shape, load), rates in measured.bare.items() if shape == name},
    }


def _versions(here: Machine) -> Mapping[str, str]:
    return {**here.versions, **{name: metadata.version(name) for name in ("torch-optimizer", "jax", "jaxlib")}}


def commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "model", "sweep"], check=False).returncode
    return commit.stdout.strip() + (" with changes" if changed else "")


_HEADER = (
    "shape", "N / d / k / batch", "steps", "contender", "ms/step", "range", "trials/h", f"/h, {SWEEP} cold",
    "ours ÷ it", "bf16 ÷ it", "share",
)  # fmt: skip


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """One row per shape and contender, the limit last."""
    return [row for case in measured.cases for row in _rows_of(measured, case)]


def _rows_of(measured: Measured, case: Case) -> list[tuple[str, ...]]:
    name, limit = case.shape.name, measured.limit(case)
    found = []
    for contender in (OURS_RAY, OURS, OURS_BF16, PLAIN, JAX):
        samples, startup_s = measured.step_ms(contender, name), median(measured.startups[contender])
        cold = _per_hour(case, median(samples), startup_s)
        spread = f"{number(min(samples))} – {number(max(samples))}"
        found.append(_row(measured, case, contender, median(samples), spread, cold))
    found.append(_row(measured, case, "engine alone", measured.engine_ms(case)))
    found.append(_row(measured, case, "engine alone, bf16", measured.engine_ms(case, "bf16")))
    found.append(_row(measured, case, f"products alone ({limit.library})", limit.products_ms))
    found.append(_row(measured, case, "products alone, bf16", measured.engine_ms(case, "gemm, bf16")))
    found.append(_row(measured, case, "memory alone", limit.traffic_ms))
    return found


def _row(measured: Measured, case: Case, who: str, step_ms: float, spread: str = "", cold: str = "") -> tuple[str, ...]:
    name = case.shape.name
    half = "bf16" in who
    limit = measured.engine_ms(case, "gemm, bf16") if half else measured.limit(case).products_ms
    ours, ours_half = (median(measured.step_ms(c, name)) for c in (OURS_RAY, OURS_BF16))
    return (
        name, sizes(case.shape), f"{case.shape.n_steps:,}", who, number(step_ms), spread,
        number(3.6e6 / (step_ms * case.shape.n_steps)), cold, f"{step_ms / ours:.2f}", f"{step_ms / ours_half:.2f}",
        f"{limit / step_ms:.0%}" if spread or who.startswith("engine") else "",
    )  # fmt: skip


def _per_hour(case: Case, step_ms: float, startup_s: float) -> str:
    return number(3600 * SWEEP / (startup_s + SWEEP * case.shape.n_steps * step_ms / 1e3))


def markdown(measured: Measured, result: Mapping[str, Any], turns: int) -> str:
    """The table and all that is needed to read it."""
    here, header = result["machine"], [list(_HEADER), ["---"] * len(_HEADER)]
    lines = [f"| {' | '.join(row)} |" for row in (*header, *rows(measured))]
    return "\n".join([
        f"# Benchmark of {result['date'][:10]}, commit {result['commit']}",
        "",
        f"{here['device']}, {here['n_cores']} cores, float32; {here['system']}.  ",
        f"OpenBLAS environment: {here['environment']}.  ",
        ", ".join(f"{name} {version}" for name, version in here["versions"].items()) + ".",
        "",
        f"Medians of the turns that no other program disturbed, of {turns} in all: "
        + ", ".join(f"{contender} {n}" for contender, n in result["undisturbed_turns"].items())
        + f"; of all turns where those are fewer than {_FEWEST}, and then not to be relied on.  At a turn every "
        "contender has the whole machine once.",
        "",
        *lines,
        "",
        _READING,
        "",
        *_check_lines(result),
    ])  # fmt: skip


_READING = f"""- ms/step: milliseconds per step of one trial, whole machine, all cores training; range: of those turns.
- trials/h: whole trials of so many steps at that pace. `/h, {SWEEP} cold`: the same for a sweep of {SWEEP} trials
  with everything else that costs time: starting processes or Ray, importing, compiling, scheduling, storing.
- engine alone: the packed engine without snapshots, store and executor, one process per core.
- ours ÷ it, bf16 ÷ it: how many times faster monosweep through Ray Tune is, with float32 or bfloat16 products.
- share: products alone, of the same precision, ÷ ms/step.
- products alone: the five matrix products of a step in the engine's own layout, one process per core, by the
  fastest of the engine's own calls from compiled code (gemm), NumPy and torch; bf16 by the engine's. memory alone:
  what a step must read and write besides, at the bandwidth measured over as much memory as a step touches."""


def _check_lines(result: Mapping[str, Any]) -> list[str]:
    checks = result["loss_checks"]
    worst = max(abs(c["ours"] - c["theirs"]) / c["tolerance"] for c in checks)
    width = max(c["tolerance"] / c["ours"] for c in checks)
    rates = (
        f"- {s['case']['shape']['name']}: "
        + ", ".join(f"{kind} {rate:.0f}" for kind, rate in s["limit"]["gigaflops"].items())
        + f" GFLOP/s, {s['limit']['gigabytes_per_s']:.0f} GB/s"
        for s in result["shapes"]
    )
    return [
        "Rates of the products and of memory, all cores:",
        "",
        *rates,
        "",
        "Start-up, median seconds: " + ", ".join(f"{k} {median(v):.1f}" for k, v in result["startup_s"].items()) + ".",
        "",
        f"Loss checks: {sum(c['holds'] for c in checks)} of {len(checks)} mean losses of the peers lie within "
        f"{STANDARD_ERRORS} standard errors of ours (furthest: {STANDARD_ERRORS * worst:.1f}; widest tolerance: "
        f"{width:.1%} of the loss); solo and packed engine differ by at most "
        f"{max(result['engines_differ_by'].values()):.1e}.",
    ]


def main() -> int:
    """Measure, print, write; 1 if the contenders do not train the same thing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--name", default="cpu", help="file name below results/, without ending")
    args = parser.parse_args()
    if args.turns < 2:
        parser.error(f"--turns must be 2 or more, for the losses' standard errors; got {args.turns}")
    engines = {c.shape.name: engines_differ_by(c.shape, min(20, c.n_steps // 2)) for c in CASES}
    measured = measure(CASES, args.turns, n_cores(), lambda line: print(line, file=sys.stderr, flush=True))
    checks = list(agreements(CASES, measured.samples, OURS))
    result = as_plain(measured, machine(n_cores()), checks, engines)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{args.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{args.name}.md").write_text(markdown(measured, result, args.turns) + "\n")
    print(table(_HEADER, rows(measured), right=range(4, len(_HEADER))))
    print("\n".join(["", *_check_lines(result)]))
    for check in checks:
        if not check.holds:
            print(f"not the same loss: {check}")
    same = all(check.holds for check in checks) and max(engines.values()) <= ENGINES_TOLERANCE
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
