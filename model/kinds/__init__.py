"""The ways in which trials come to their rows: one seam for all kinds of families.  Torch-free to import.

    config ──kind_of──> Kind (`contract`) ──> Trainer ──> snapshots ──> rows

`networks` are trained, by torch; `procedures` are plain functions that are called, without it.
"""

from __future__ import annotations

from monosweep.model.config import TrialConfig
from monosweep.model.families import description_of
from monosweep.model.family import NETWORK
from monosweep.model.kinds.contract import Kind


def module_of(config: TrialConfig) -> str:
    """What a worker may import before there is a trial like this one."""
    return "monosweep.model.kinds." + ("networks" if description_of(config).kind == NETWORK else "procedures")


def kind_of(config: TrialConfig) -> Kind:
    """How a trial is run; that of networks imports torch."""
    if description_of(config).kind == NETWORK:
        from monosweep.model.kinds import networks  # torch

        return networks
    from monosweep.model.kinds import procedures

    return procedures
