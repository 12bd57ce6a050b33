"""A paper, as what its claims are held against: which trials they are about, and at which sizes.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monosweep.analysis.claims.batch import Size
from monosweep.analysis.claims.claim import Claim


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One paper that is reproduced."""

    name: str
    """Also its folder in `analysis/papers/`."""
    families: Sequence[str]
    """Whose trials its claims are about."""
    sizes: Sequence[Size]
    """From the paper's own to the smallest; the last is what is asked for where the tables hold none."""
    claims: Sequence[Claim]
    """In the paper's order."""
