"""Columns and arrays as the page carries them: JSON that names places in one block of bytes, compressed.

numbers -> Block.add -> places;  Arrow's columns -> column;  packed -> base64 of gzip, which report.js unpacks
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_FEW = 4096
"""Columns of no more different values than this are told as places in a list of them, exactly."""
_TYPES = {np.dtype(name): name for name in ("<f4", "<f8", "<i4", "<u4", "<u2", "u1")}
_EXACT_IN_SINGLE = 2**24
Place = dict[str, Any]


class Block:
    """Arrays one after another, each on a multiple of eight bytes, which typed arrays of a browser want."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def add(self, values: NDArray[Any]) -> Place:
        """Where `values` (any shape, flat afterwards) are from now on."""
        flat = np.ascontiguousarray(values).ravel()
        place = {"at": len(self._bytes), "n": len(flat), "type": _TYPES[flat.dtype]}
        self._bytes += flat.tobytes() + bytes(-flat.nbytes % 8)
        return place

    def packed(self, content: Any) -> str:
        """`content`, JSON that names places, and the block.

        The length of the JSON comes first, in four bytes, and the block begins at a multiple of eight.
        """
        said = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        said += b" " * (-(4 + len(said)) % 8)
        return compressed(struct.pack("<I", len(said)) + said + self._bytes)


def compressed(data: bytes) -> str:
    """base64 of gzip: nothing in it can end a script, whatever users have written."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def is_numeric(kind: pa.DataType) -> bool:
    """Whether it is a type of numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def column(block: Block, values: pa.ChunkedArray, exact: bool = False) -> Place | None:
    """A column of text, numbers or truth; None for lists, and where all is null.

    Numbers with many different values have single precision, which is seven digits, if not `exact`.
    """
    if pa.types.is_nested(values.type) or values.null_count == len(values):
        return None
    if pa.types.is_timestamp(values.type):
        values = pc.strftime(values, format="%Y-%m-%d %H:%M:%S")
    elif pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    numeric = is_numeric(values.type)
    different = values.combine_chunks().dictionary_encode()
    if not numeric or len(different.dictionary) <= min(_FEW, max(16, len(values) // 2)):
        return _listed(block, different, numeric)
    return {"kind": "number", "data": block.add(_measured(values, exact))}


def _listed(block: Block, different: pa.DictionaryArray, numeric: bool) -> Place:
    """Places in a list of values, the last of which is null if any is."""
    values = different.dictionary.to_pylist()
    codes = different.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    if different.null_count:
        values.append(None)
    kind = "number" if numeric else "words"
    listed: Place = {"kind": kind, "values": values if numeric else [None if v is None else str(v) for v in values]}
    if len(values) > 1:
        width = "u1" if len(values) <= 256 else "<u2" if len(values) <= 65536 else "<u4"
        listed["codes"] = block.add(codes.astype(width))
    return listed


def _measured(values: pa.ChunkedArray, exact: bool) -> NDArray[Any]:
    """NaN for null; double precision where whole numbers would lose digits or large ones be infinite."""
    numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    large = pa.types.is_integer(values.type) and np.nanmax(np.abs(numbers)) > _EXACT_IN_SINGLE
    with np.errstate(over="ignore"):
        single = numbers.astype("<f4")
    return numbers.astype("<f8") if exact or large or np.isinf(single).any() else single
