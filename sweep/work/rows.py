"""What a worker commits: results of members, and words about those that have none, as rows with their provenance."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from monosweep.model.config import TrialConfig
from monosweep.model.families import description_of
from monosweep.model.family import Description
from monosweep.model.kinds import kind_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import Key, Provenance, arrow_schema, arrow_table, tables_of, trial_row
from monosweep.sweep.version import code_version

if TYPE_CHECKING:
    from monosweep.model.results import TrialResult

_AND = " + "
_Columns = Mapping[str, np.ndarray[Any, Any]]


def tables_from(pack_id: str, results: Sequence[TrialResult], engine: str, device: str) -> dict[str, pa.Table]:
    """The parts of some members of a pack that have ended, trial by trial.

    Args:
        results: of one family, at least one.
        engine: that trained them.
        device: on which.
    """
    family = description_of(results[0].config)
    rows = [
        trial_row(
            Key(trial_id=result.config.trial_id, pack_id=pack_id), result.config, _metrics(result),
            _provenance(
                result.config, result.status, result.error, result.last_step, result.wall_time_s, engine, device,
                [json.loads(process) for process in result.trained_by] or [_process(result.config, device)],
            ),
        )
        for result in results
    ]  # fmt: skip
    columns = {"curves": [(r.config.trial_id, r.curve) for r in results]}
    columns |= {table: [(r.config.trial_id, r.tables[table]) for r in results] for table in family.tables}
    stacked = {table: _stacked(table, family, pack_id, members) for table, members in columns.items()}
    return {"trials": arrow_table("trials", rows, family), **stacked}


def live_points(pack_id: str, members: Sequence[tuple[TrialConfig, Sequence[Mapping[str, Any]]]]) -> pa.Table:
    """The rows of `curves` that members of a pack, all of one family, are going to have so far."""
    schema = arrow_schema("curves", description_of(members[0][0]))
    rows = [
        {"trial_id": config.trial_id, "pack_id": pack_id, **point} for config, points in members for point in points
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def failed_tables(
    pack_id: str, configs: Sequence[TrialConfig], error: str, engine: str, device: str, device_name: str | None = None
) -> dict[str, pa.Table]:
    """The parts of trials that cannot be trained.

    Args:
        device_name: of where it was tried; left out, this process's.
    """
    process, family = _process(configs[0], device, device_name), description_of(configs[0])
    rows = [
        trial_row(
            Key(trial_id=config.trial_id, pack_id=pack_id), config, None,
            _provenance(config, TrialStatus.FAILED, error, 0, 0.0, engine, device, [process]),
        )
        for config in configs
    ]  # fmt: skip
    empty = {table: arrow_table(table, [], family) for table in tables_of(family) if table != "trials"}
    return {"trials": arrow_table("trials", rows, family), **empty}


def process_here(config: TrialConfig, device: str) -> str:
    """What is kept with a member, such as `config`, of the process that trains it."""
    return json.dumps(_process(config, device))


def _process(config: TrialConfig, device: str, device_name: str | None = None) -> dict[str, str]:
    """What rows name of a process that trained, by column."""
    kind = kind_of(config)
    return {
        "device_name": device_name or kind.device_name(device), "code_version": code_version(),
        "library_versions": library_versions(kind.LIBRARIES),
    }  # fmt: skip


def _metrics(result: TrialResult) -> Mapping[str, Any] | None:
    return result.metrics if result.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED) else None


def _stacked(table: str, family: Description, pack_id: str, members: Sequence[tuple[str, _Columns]]) -> pa.Table:
    """The members' arrays below one another, with the key columns in front."""
    counts = [len(arrays["step"]) for _, arrays in members]
    stacked: dict[str, Any] = {
        "trial_id": np.repeat([trial_id for trial_id, _ in members], counts),
        "pack_id": [pack_id] * sum(counts),
    }
    schema = arrow_schema(table, family)
    for name in schema.names[2:]:
        stacked[name] = np.concatenate([arrays[name] for _, arrays in members])
    return pa.table([pa.array(stacked[f.name]).cast(f.type) for f in schema], schema=schema)


def _provenance(
    config: TrialConfig, status: TrialStatus, error: str | None, last_step: int, wall_time_s: float,
    engine: str, device: str, processes: Sequence[Mapping[str, str]],
) -> Provenance:  # fmt: skip
    def all_of(name: str) -> str:
        return _AND.join(dict.fromkeys(process[name] for process in processes))

    return Provenance(
        status=TrialStatus(status), error=error, last_step=last_step, wall_time_s=wall_time_s, engine=engine,
        device=device, device_name=all_of("device_name"), code_version=all_of("code_version"),
        library_versions=all_of("library_versions"), finished_at=datetime.now(UTC),
        family_digest=config.DIGEST or None,
    )  # fmt: skip


@cache
def library_versions(packages: tuple[str, ...]) -> str:
    """Python's version, and those of the packages that are installed, as rows say them."""
    found = [f"python {platform.python_version()}"]
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)
