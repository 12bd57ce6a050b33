"""A trial trained again, against its row: every number and a verdict.  Pure: `sweep.cli.trial_verbs` trains."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from typing import Any

import numpy as np

from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import Provenance
from monosweep.sweep.text import exact, table
from monosweep.sweep.version import code_version, same_code


@dataclass(frozen=True, slots=True)
class Compared:
    """One number of a row and of its replay."""

    name: str
    row: Any
    now: Any

    @property
    def equal(self) -> bool:
        """Whether the two are the same bit for bit."""
        return bool(self.row == self.now)

    @property
    def difference(self) -> float | None:
        """now - row, where both are numbers."""
        if isinstance(self.row, (int, float)) and isinstance(self.now, (int, float)):
            return self.now - self.row
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison comes to."""

    text: str
    ok: bool
    """Bit-equal, or different for a known reason: other hardware, code or versions."""


def compare(
    row: Mapping[str, Any], status: TrialStatus, last_step: int, metrics: Mapping[str, Any] | None,
    names: Sequence[str],
) -> list[Compared]:  # fmt: skip
    """How the trial ended, and every metric (`names`)."""
    now = {"status": str(status), "last_step": last_step}
    now |= {name: metrics[name] if metrics else None for name in names}
    return [Compared(name, row[name], value) for name, value in now.items()]


def compare_curve(rows: Sequence[Mapping[str, Any]], curve: Mapping[str, np.ndarray[Any, Any]]) -> list[Compared]:
    """Every number of every recorded step; a step that only one side has counts as different.  Columns that rows lack
    throughout are newer than they are."""
    names = [name for name in curve if not rows or any(row.get(name) is not None for row in rows)]
    then = {row["step"]: row for row in rows}
    now = {int(step): i for i, step in enumerate(curve["step"])}
    return [
        Compared(
            f"{name} at step {step}",
            then[step][name] if step in then else None,
            curve[name][now[step]].item() if step in now else None,
        )
        for step in sorted(then.keys() | now.keys())
        for name in names
    ]


def describe(ending: Sequence[Compared], curve: Sequence[Compared]) -> str:
    """A table of the trial's ending, and a line about its curve."""
    rows = [(c.name, exact(c.row), exact(c.now), exact(c.difference), "yes" if c.equal else "no") for c in ending]
    return table(("", "row", "now", "difference", "bit-equal"), rows, {1, 2, 3}) + "\n" + _curve_line(curve)


def _curve_line(curve: Sequence[Compared]) -> str:
    different = [c for c in curve if not c.equal]
    if not different:
        n_steps = len({c.name.rsplit(" ", 1)[1] for c in curve})
        return f"curve: {n_steps} recorded steps, bit-equal"
    first = different[0]
    return (
        f"curve: {len(different)} of {len(curve)} numbers differ, first {first.name}: "
        f"{exact(first.row)} in the row, {exact(first.now)} now"
    )


def verdict(row: Mapping[str, Any], compared: Sequence[Compared], here: Mapping[str, str]) -> Verdict:
    """Judge the comparison, which begins with the status.

    Args:
        here: this replay's device_name, code_version and library_versions.
    """
    if row["status"] == TrialStatus.FAILED:
        now = compared[0].now
        why = f"the row is of a failed trial ({row['error']})"
        return Verdict(f"nothing to compare: {why}; now it is {now}", ok=True)
    changed = [f"{row[name]} there, {now} here" for name, now in here.items() if _differs(name, row[name], now)]
    if all(c.equal for c in compared):
        place = f"with a row that came from elsewhere: {'; '.join(changed)}" if changed else "on this machine"
        return Verdict(f"bit-equal {place}", ok=True)
    if not same_code(row["code_version"], here["code_version"]):
        code = f"trained by other code ({row['code_version']}; this is {here['code_version']})"
        other = [line for line in changed if row["code_version"] not in line]
        return Verdict("; ".join([f"differs, as it may: {code}", *other]), ok=True)
    if changed:
        return Verdict(f"differs, as it may: {'; '.join(changed)}", ok=True)
    if row["engine"] == "vmapped" and _nearly(compared):
        why = "the vmapped engine trained it in a pack, and how a stack is multiplied may depend on its size"
        return Verdict(f"differs in the last bits, as it may: {why}", ok=True)
    return Verdict(
        "differs on the same hardware, code and library versions, which must not happen; please report it", ok=False
    )


def _nearly(compared: Sequence[Compared]) -> bool:
    """Whether the trial ended in the same way, with the same loss to three digits."""
    rest = {c.name: c for c in compared if not c.equal}
    loss = rest.get("loss")
    return not {"status", "last_step"} & rest.keys() and (loss is None or abs(loss.difference or 0) <= 1e-3 * loss.row)


def _differs(name: str, there: str, here: str) -> bool:
    return not same_code(there, here) if name == "code_version" else there != here


def provenance_here(row: Mapping[str, Any], device_name: str) -> dict[str, str]:
    """This machine's answers to the row's columns that decide whether bits must agree."""
    here = {
        "device_name": device_name,
        "code_version": code_version(),
        "library_versions": _same_libraries(row["library_versions"]),
    }
    assert here.keys() <= {f.name for f in fields(Provenance)}
    return here


def _same_libraries(versions: str) -> str:
    """`python 3.11.9, torch 2.9.0, ...` with the versions installed here, for the libraries that it names."""
    names = [part.split(" ", 1)[0] for part in versions.split(", ")]
    return ", ".join(f"{name} {_installed(name)}" for name in names)


def _installed(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
