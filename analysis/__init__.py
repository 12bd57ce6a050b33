"""Questions to a results root: SQL, figures, claims.  Never imports ray or torch.

    >>> from monosweep.analysis import open_root, plot
    >>> root = open_root("results")                                             # doctest: +SKIP
    >>> root.trials.filter("lr < 0.01").df(), plot.mono(root, by="lr")          # doctest: +SKIP

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
    from monosweep.analysis.notebook import Results, Trial, open_root
    from monosweep.analysis.papers.studies import STUDIES, check
    from monosweep.analysis.plotting import plot
    from monosweep.analysis.tables.root import QueryError, Root, RootError
    from monosweep.analysis.tables.rows import Rows

__all__ = [
    "STUDIES",
    "FigureError",
    "QueryError",
    "Results",
    "Root",
    "RootError",
    "Rows",
    "Selection",
    "Study",
    "Trial",
    "Verdict",
    "check",
    "draw",
    "draw_response",
    "open_root",
    "plot",
]

_HOMES = {
    "catalogue": ("draw",),
    "claims.study": ("Study",),
    "claims.verdict": ("Verdict",),
    "families.two_layer.response_map": ("draw_response",),
    "figures.data": ("Selection",),
    "knobs": ("FigureError",),
    "notebook": ("Results", "Trial", "open_root"),
    "papers.studies": ("STUDIES", "check"),
    "plotting": ("plot",),
    "tables.root": ("QueryError", "Root", "RootError"),
    "tables.rows": ("Rows",),
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
