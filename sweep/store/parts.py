"""Part files: their names, their seal, and which of them shows a pack.  Pure; the store and `analysis` agree here.

    table -> parquet() -> part-PACKID.parquet, or part-merged-….parquet of many packs -> packs_of, current -> views

**Seal.**  Readers of Parquet look at what the footer points to, so twelve bytes fit between the last page and the
footer: checksums of the pages and of the footer, and a fingerprint of the columns.  They tell within
microseconds whether a part is as it was written; pages carry Parquet's own checksums besides.

**Who shows a pack.**  A merged part names its packs in its footer.  Wherever several parts of a table and sweep
hold the same pack, it is shown from one of them alone: merged before single, larger before smaller, then by name.
So a merged part takes effect, whole, in the moment in which it appears; what it replaces may stay or go.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from hashlib import sha256

import pyarrow as pa

MERGED = "part-merged-"
PACKS_KEY = "monosweep_packs"
_MAGIC = b"PAR1"
_END = struct.Struct("<I4s")
"""Length of the footer, and Parquet's magic."""
_SEAL = struct.Struct("<4sIII")
"""Our magic, checksum of the pages, of the columns' fingerprint with the footer, and that fingerprint."""
_SEALED = b"MSW1"
_LEAST_BYTES = 12


def part_name(table: str, sweep: str, pack_id: str) -> str:
    """Where the part of one pack is, below the root."""
    return f"{table}/sweep={sweep}/part-{pack_id}.parquet"


def merged_name(table: str, sweep: str, packs: Iterable[str]) -> str:
    """Where the merged part of these packs is: the same packs give the same name."""
    return f"{table}/sweep={sweep}/{MERGED}{sha256(','.join(sorted(packs)).encode()).hexdigest()[:16]}.parquet"


def is_merged(name: str) -> bool:
    """Whether a part holds many packs, from its name or path."""
    return name.rsplit("/", 1)[-1].startswith(MERGED)


def pack_in(name: str) -> str:
    """The pack of a single part, from its name or path."""
    return name.rsplit("/", 1)[-1].removeprefix("part-").removesuffix(".parquet")


def parquet(table: pa.Table, packs: Iterable[str] = ()) -> bytes:
    """`table` as a sealed Parquet file; `packs` are named in its footer if it is merged."""
    import pyarrow.parquet as pq

    named = ",".join(sorted(packs))
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


def packs_of(name: str, footer: Mapping[bytes, bytes] | None) -> frozenset[str]:
    """The packs in a part, from its name and the key-value metadata of its footer."""
    if not is_merged(name):
        return frozenset([pack_in(name)])
    return frozenset(filter(None, (footer or {}).get(PACKS_KEY.encode(), b"").decode().split(",")))


def current(parts: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Which parts of one table and sweep show anything, and the packs in each that others show.

    >>> merged, ab, c = "part-merged-0.parquet", frozenset("ab"), frozenset("c")
    >>> current({"part-a.parquet": frozenset("a"), merged: ab, "part-c.parquet": c})
    {'part-merged-0.parquet': frozenset(), 'part-c.parquet': frozenset()}
    """
    shown: dict[str, frozenset[str]] = {}
    taken: set[str] = set()
    for name in sorted(parts, key=lambda name: (not is_merged(name), -len(parts[name]), name)):
        elsewhere = parts[name] & taken
        if elsewhere != parts[name]:
            shown[name] = frozenset(elsewhere)
        taken |= parts[name]
    return shown


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
