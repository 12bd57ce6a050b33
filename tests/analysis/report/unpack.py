"""A page taken apart again, in another way than the browser does it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Unpacked:
    said: dict[str, Any]
    block: bytes

    def array(self, place: dict[str, Any]) -> np.ndarray:
        kind = np.dtype(place["type"])
        assert place["at"] % 8 == 0
        return np.frombuffer(self.block[place["at"] : place["at"] + place["n"] * kind.itemsize], kind)

    def column(self, name: str, family: int = 0) -> list[Any]:
        told = self.said["families"][family]["columns"][name]
        if "data" in told:
            return [None if np.isnan(v) else float(v) for v in self.array(told["data"])]
        shown = self.said["families"][family]["shown"]
        codes = self.array(told["codes"]) if "codes" in told else [0] * shown
        return [told["values"][code] for code in codes]

    def lines(self, told: dict[str, Any], name: str) -> dict[str, list[float]]:
        """A column of traces or of a part, by trial."""
        ids = self.column("trial_id")
        places, starts, values = (
            self.array(told["trials"]),
            self.array(told["starts"]),
            self.array(told["values"][name]),
        )
        assert len(starts) == len(places) + 1
        return {ids[p]: values[starts[k] : starts[k + 1]].tolist() for k, p in enumerate(places)}


def unpacked(html: str) -> Unpacked:
    found = re.search(r'<script type="text/plain" id="content">([A-Za-z0-9+/=]*)</script>', html)
    assert found
    raw = gzip.decompress(base64.b64decode(found[1]))
    length = int.from_bytes(raw[:4], "little")
    return Unpacked(json.loads(raw[4 : 4 + length]), raw[4 + length :])
