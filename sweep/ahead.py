"""What makes seconds of imports shorter: torch's library is loaded beside them, and no garbage is looked for.

Nothing here changes what is imported; where something is missing, the import itself will say so.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

_RTLD_NOW = 2
_WITH_LIBRARIES = (
    "asyncio", "csv", "multiprocessing.connection", "pyarrow.compute", "pyarrow.parquet", "pydantic", "rich.console",
    "statistics", "zoneinfo",
)  # fmt: skip
"""What a launch imports that loads libraries too; a process loads one at a time."""


def load_torch() -> None:
    """Begin to load torch's library (C++ alone, a third of a second) while Python imports our modules.

    A call through ctypes, unlike an import, leaves the interpreter free meanwhile.  A process that ends at once waits
    for it: what C++ sets up must not be torn down at the same time.
    """
    found = find_spec("torch") if sys.platform == "linux" and "torch" not in sys.modules else None
    if found is None or found.origin is None:
        return
    with importing():
        for name in _WITH_LIBRARIES:
            import_module(name)
    library = Path(found.origin).parent / "lib" / "libtorch_cpu.so"
    Thread(target=ctypes.CDLL(None).dlopen, args=(bytes(library), _RTLD_NOW)).start()


@contextmanager
def importing() -> Iterator[None]:
    """Imports inside the block are not interrupted by looks for garbage, of which they leave none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
