"""Questions to a results root: SQL, figures, claims.  Never imports ray or torch.

    >>> from monosweep.analysis import open_root
    >>> open_root("results").sql("select lr, avg(loss) from trials group by lr").to_pandas()   # doctest: +SKIP

The names below are for users; a name's module is imported when it is first asked for.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monosweep.analysis.catalogue import draw
    from monosweep.analysis.claims.study import Study
    from monosweep.analysis.claims.verdict import Verdict
    from monosweep.analysis.families.two_layer.response_map import draw_response
    from monosweep.analysis.figures.data import Selection
    from monosweep.analysis.knobs import FigureError
    from monosweep.analysis.papers.studies import STUDIES, check
    from monosweep.analysis.tables.root import QueryError, Root, RootError, open_root

__all__ = [
    "STUDIES",
    "FigureError",
    "QueryError",
    "Root",
    "RootError",
    "Selection",
    "Study",
    "Verdict",
    "check",
    "draw",
    "draw_response",
    "open_root",
]

_HOMES = {
    "catalogue": ("draw",),
    "claims.study": ("Study",),
    "claims.verdict": ("Verdict",),
    "families.two_layer.response_map": ("draw_response",),
    "figures.data": ("Selection",),
    "knobs": ("FigureError",),
    "papers.studies": ("STUDIES", "check"),
    "tables.root": ("QueryError", "Root", "RootError", "open_root"),
}
"""Which module has which of the names."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"monosweep.analysis.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


if __name__ == "analysis":  # `import analysis` at a checkout's root is the same module as `import monosweep.analysis`
    sys.modules[__name__] = import_module("monosweep.analysis")
