"""Part files: their names, their seal, and which of them shows a pack.  Pure; the store and `analysis` agree here.

    table -> parquet() -> part-PACKID-TRIALS.parquet, or part-merged-….parquet of many -> units_of, current -> views

**Seal.**  Readers of Parquet look at what the footer points to, so twelve bytes fit between the last page and the
footer: checksums of the pages and of the footer, and a fingerprint of the columns.  They tell within
microseconds whether a part is as it was written; pages carry Parquet's own checksums besides.

**Units.**  Members leave a pack at different times, so a pack may be committed in several parts.  What is committed
at once is a unit, PACKID-TRIALS, the latter a hash of its trials: the same leavers take the same name again.  Until
schema version 2 a pack was committed whole and its unit is PACKID alone; any newer unit of that pack replaces it.
Trials of which one was stopped or failed are a unit of their own, also where the same trials are one that did better.

**Who shows a unit.**  A merged part names its units in its footer.  Wherever several parts of a table and sweep
hold the same unit, it is shown from one of them alone: merged before single, more of its pack before less, larger
before smaller, then by name.  So a merged part takes effect, whole, in the moment in which it appears; what it
replaces may stay or go.  Rows know their pack and not their unit, so a part shows all that it holds of a pack or
none of it: `compact` sees to it that what merged parts hold of a pack is nested or apart.

**Units that overlap.**  A worker that was given up may end a member alone which its successor ends together with
another.  Such a trial has a row in both units, and shows what the unit of the better row holds (`beaten`).
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

import pyarrow as pa

from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.schema import ASKED

MERGED = "part-merged-"
PACKS_KEY = "monosweep_packs"
LESSER = ("stopped", "failed")
"""Statuses that have parts of their own, the better one first."""
_DIGITS = 16
"""Hexadecimal digits that stand for the trials of a unit."""
_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")
"""Length of the footer, and Parquet's magic."""
_SEAL = struct.Struct("<4sIII")
"""Our magic, checksum of the pages, of the columns' fingerprint with the footer, and that fingerprint."""
_SEALED = b"MSW1"
_LEAST_BYTES = 12


def part_name(table: str, sweep: str, pack_id: str, trial_ids: Iterable[str], lesser: str = "") -> str:
    """Where the part of these trials of a pack is, below the root; their order does not matter.

    Args:
        lesser: of LESSER if it says so of any: it never takes the place of rows that say more.
    """
    names = [*trial_ids, *([lesser] if lesser else [])]
    return f"{table}/sweep={in_path(sweep)}/part-{pack_id}-{_digest(names)}.parquet"


def weights_name(sweep: str, pack_id: str, step: int, trial_ids: Iterable[str]) -> str:
    """Where the weights of these trials of a pack are, looked at after so many steps."""
    return f"weights/sweep={in_path(sweep)}/part-{pack_id}-step{step:010d}-{_digest(trial_ids)}.safetensors"


def pack_and_step(name: str) -> tuple[str, int]:
    """The pack of a file of weights and the step after which they were; until schema version 2 it named no trials.

    >>> pack_and_step("weights/sweep=a/part-7d1c-step0000015872-0123456789abcdef.safetensors")
    ('7d1c', 15872)
    """
    match = re.search(r"part-(.+?)-step(\d+)(?:-[0-9a-f]+)?\.safetensors$", name)
    return (match.group(1), int(match.group(2))) if match else ("", -1)


def asked_name(sweep: str, trial_ids: Iterable[str]) -> str:
    """Where the part is that says these trials were asked for."""
    return f"{ASKED}/sweep={in_path(sweep)}/part-{_digest(trial_ids)}.parquet"


def merged_name(table: str, sweep: str, units: Iterable[str]) -> str:
    """Where the merged part of these units is: the same units give the same name."""
    return f"{table}/sweep={in_path(sweep)}/{MERGED}{_digest(units)}.parquet"


def _digest(names: Iterable[str]) -> str:
    return sha256(",".join(sorted(names)).encode()).hexdigest()[:_DIGITS]


def is_merged(name: str) -> bool:
    """Whether a part holds many packs, from its name or path."""
    return name.rsplit("/", 1)[-1].startswith(MERGED)


def unit_in(name: str) -> str:
    """The unit of a single part, from its name or path."""
    return name.rsplit("/", 1)[-1].removeprefix("part-").removesuffix(".parquet")


def pack_of(unit: str) -> str:
    """The pack of a unit.

    >>> pack_of("7d1c-0123456789abcdef"), pack_of("7d1c")
    ('7d1c', '7d1c')
    """
    end = -_DIGITS - 1
    return unit[:end] if unit[end : end + 1] == "-" else unit


def parquet(table: pa.Table, units: Iterable[str] = ()) -> bytes:
    """`table` as a sealed Parquet file; `units` are named in its footer if it is merged."""
    import pyarrow.parquet as pq

    named = ",".join(sorted(units))
    # A few rows need neither statistics nor each column's documentation: half of a small part is its footer.
    plain = pa.schema([field.remove_metadata() for field in table.schema], metadata=table.schema.metadata)
    sink = pa.BufferOutputStream()
    options = {"compression": "zstd", "write_page_checksum": True, "write_statistics": bool(named)}
    with pq.ParquetWriter(sink, plain, **options) as writer:
        writer.write_table(table.cast(plain))
        if named:
            writer.add_key_value_metadata({PACKS_KEY: named})
    return seal(sink.getvalue().to_pybytes(), table.schema)


def seal(data: bytes, schema: pa.Schema) -> bytes:
    """A Parquet file with its checksums before the footer."""
    start = len(data) - _END.size - _END.unpack(data[-_END.size :])[0]
    columns = zlib.crc32(",".join(f"{field.name}:{field.type}" for field in schema).encode())
    about = _SEAL.pack(_SEALED, zlib.crc32(data[:start]), _footer_sum(columns, data[start:]), columns)
    return data[:start] + about + data[start:]


def columns_in(data: bytes) -> int | None:
    """The fingerprint of a sealed part's columns; equal ones have equal columns.  None without a seal."""
    found = _sealed(data)
    return None if found is None else found[2]


def damage(data: bytes) -> str | None:
    """Why these bytes are not a whole part; None if they are.  A part without a seal is read through."""
    if len(data) < _LEAST_BYTES:
        return f"it has {len(data)} bytes" if data else "it is empty"
    found = _sealed(data)
    if found is None:
        return _unreadable(data)
    pages, footer, columns, start = found
    if _footer_sum(columns, data[start + _SEAL.size :]) != footer:
        return "its footer does not have its checksum"
    return None if zlib.crc32(memoryview(data)[:start]) == pages else "its pages do not have their checksum"


def damaged_tail(tail: bytes) -> str | None:
    """As `damage`, from the seal on: the last bytes of a part, as many as `tail_bytes` says."""
    found = _sealed(tail)
    if found is None:
        return "it has no seal"
    _, footer, columns, start = found
    right = _footer_sum(columns, tail[start + _SEAL.size :]) == footer
    return None if right else "its footer does not have its checksum"


def tail_bytes(end: bytes) -> int:
    """How many of a part's last bytes hold its seal and footer, from its last eight."""
    return int(_END.unpack(end)[0]) + _END.size + _SEAL.size


def units_of(name: str, footer: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """The units in a part, from its name and the key-value metadata of its footer."""
    if not is_merged(name):
        return frozenset([unit_in(name)])
    return frozenset(filter(None, (footer or {}).get(PACKS_KEY.encode(), b"").decode().split(",")))


def current(parts: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Which parts of one table and sweep show anything, and the packs in each that others show.

    >>> merged, ab, c = "part-merged-0.parquet", frozenset("ab"), frozenset("c")
    >>> current({"part-a.parquet": frozenset("a"), merged: ab, "part-c.parquet": c})
    {'part-merged-0.parquet': frozenset(), 'part-c.parquet': frozenset()}
    """
    by_pack: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, units in parts.items():
        for unit in units:
            by_pack[pack_of(unit)].append((name, unit))
    ranked = sorted(parts, key=lambda name: (not is_merged(name), -len(parts[name]), name))
    rank = {name: i for i, name in enumerate(ranked)}
    hidden: dict[str, set[str]] = defaultdict(set)
    for pack, held in by_pack.items():
        for name in _not_showing(pack, held, rank) if len(held) > 1 else ():
            hidden[name].add(pack)
    return {name: frozenset(hidden[name]) for name in ranked if not hidden[name].issuperset(map(pack_of, parts[name]))}


def _not_showing(pack: str, held: Sequence[tuple[str, str]], rank: Mapping[str, int]) -> list[str]:
    """Of the parts that hold units of a pack, those that need not show any so that each is shown once."""
    units = defaultdict[str, set[str]](set)
    for name, unit in held:
        units[name].add(unit)
    replaced = any(unit != pack for _, unit in held)
    taken, hidden = {pack} if replaced else set(), []
    for name in sorted(units, key=lambda name: (not is_merged(name), -len(units[name]), rank[name])):
        if units[name] <= taken:
            hidden.append(name)
        taken |= units[name]
    return hidden


PREFERENCE = ("completed", "diverged", "stopped", "failed")
"""Which of a trial's rows is shown: the first of these, then the earliest, then the least pack_id."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A row of `trials`, and where it is."""

    sweep: str
    holder: str
    """The unit of a single part, empty for merged ones: of a pack at most one of these shows anything."""
    pack_id: str
    trial_id: str
    status: str
    finished_at: datetime


Beaten = Mapping[tuple[str, str], frozenset[tuple[str, str]]]
"""By sweep and holder (as in `Standing`), the members (pack_id, trial_id) that another holder shows."""


def beaten(rows: Iterable[Standing]) -> Beaten:
    """Where members of packs are in several units, and which of these do not show them."""
    by_member: dict[tuple[str, str, str], list[Standing]] = defaultdict(list)
    for row in rows:
        by_member[row.sweep, row.pack_id, row.trial_id].append(row)
    found: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for (sweep, *member), standing in by_member.items():
        best = min(standing, key=lambda row: (PREFERENCE.index(row.status), row.finished_at, row.holder))
        for row in standing:
            if row.holder != best.holder:
                found[sweep, row.holder].add((member[0], member[1]))
    return {holder: frozenset(members) for holder, members in found.items()}


def holder_of(name: str) -> str:
    """As `Standing.holder`, from a part's name or path."""
    return "" if is_merged(name) else unit_in(name)


def _sealed(data: bytes) -> tuple[int, int, int, int] | None:
    """Checksums of the pages and the footer, fingerprint, and where the seal begins; None without a seal."""
    if len(data) < _END.size + _SEAL.size or data[-4:] != _MAGIC:
        return None
    start = len(data) - tail_bytes(data[-_END.size :])
    if start < 0 or data[start : start + 4] != _SEALED:
        return None
    _, pages, footer, columns = _SEAL.unpack_from(data, start)
    return pages, footer, columns, start


def _footer_sum(columns: int, footer: bytes) -> int:
    return zlib.crc32(footer, columns)


def _unreadable(data: bytes) -> str | None:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as part:
            part.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        return " ".join(str(error).split())
    return None


_USUAL_HEADER = 1 << 14
"""Bytes that hold the names of the tensors in most files."""


def tensor_names(begin: Callable[[int], bytes], size: int) -> list[str]:
    """The names in a safetensors file, which begins with eight bytes of length and a JSON header of that length.

    Args:
        begin: gives the first n bytes.
        size: of the file.

    Raises:
        ValueError: if it is none.
    """
    data = begin(min(size, _USUAL_HEADER))
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < end <= size:
        data = begin(end)
    header = json.loads(data[8:end])
    if not isinstance(header, dict):
        raise ValueError(f"its header must be an object; got {type(header).__name__}")
    return [name for name in header if name != "__metadata__"]
