"""A family from a user's own file: read, named by its class, told apart by a digest of its code, and sent along.

A file's module is no module of any package: it is made from the text wherever it is needed, so a worker on another
machine needs no file, and a config can be pickled by its values and the text that its class came from.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from monosweep.model.config import ConfigError, TrialConfig, field_defaults, field_types, unknown_name
from monosweep.model.families.contract import Family


@dataclass(frozen=True, slots=True)
class Source:
    """The text that a user's family is made from."""

    file: str
    """The file's name, without its folder."""
    class_name: str
    text: str

    @property
    def family(self) -> str:
        """As in the column `family`."""
        return f"{self.file}:{self.class_name}"

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits: a hash of the code, comments and layout aside."""
        try:
            code = ast.dump(ast.parse(self.text))
        except SyntaxError as error:
            raise ConfigError(f"family {self.family}: {self.file} line {error.lineno}: {error.msg}") from None
        return hashlib.sha256(f"{self.class_name}\n{code}".encode()).hexdigest()[:16]


def is_reference(name: str) -> bool:
    """Whether a `family` names a class in a file."""
    return ".py:" in name


def read_source(reference: str, folder: Path) -> Source:
    """The text behind `my_toy.py:MyToy`, the path relative to `folder`.

    Raises:
        ConfigError: if the file cannot be read.
    """
    path, _, class_name = reference.rpartition(":")
    try:
        return Source(Path(path).name, class_name, (folder / path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"family must name a Python file and a class in it; {path!r}: {problem}") from None


@cache
def load(source: Source) -> type[Family]:
    """The family that a text defines.

    Raises:
        ConfigError: naming file and line, if it cannot be run or defines no such family.
    """
    module = _run(source)
    found = vars(module).get(source.class_name)
    if found is None:
        known = [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, Family)]
        known = [name for name in known if name != "Family"]
        raise ConfigError(f"family {source.family}: {unknown_name('class', source.class_name, known)}")
    config = vars(found).get("Config") if isinstance(found, type) and issubclass(found, Family) else None
    if config is None or not issubclass(config, TrialConfig):
        raise ConfigError(
            f"family {source.family} must be a subclass of monosweep.model.Family with a nested dataclass "
            f"Config(TrialConfig); got {found!r}"
        )
    config.FAMILY, config.DIGEST = source.family, source.digest
    config.__reduce__ = lambda self: (_revived, (source, self.to_dict()))
    config.SOURCE = source
    field_defaults(config)
    field_types(config)
    family: type[Family] = found
    return family


def _revived(source: Source, values: dict[str, Any]) -> TrialConfig:
    return load(source).Config.from_dict(values)


def _run(source: Source) -> ModuleType:
    """The text as a module, which tracebacks and debuggers can show."""
    name = f"monosweep_family_{source.digest}"
    module = ModuleType(name)
    place = f"<{source.file} {source.digest}>"
    module.__file__ = place
    linecache.cache[place] = (len(source.text), None, source.text.splitlines(keepends=True), place)
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    try:
        exec(compile(source.text, place, "exec"), vars(module))
    except Exception as error:
        sys.modules.pop(name)
        raise ConfigError(f"family {source.family}: {_where(error, source, place)}") from error
    return module


def _where(error: Exception, source: Source, place: str) -> str:
    """File, line and message of an error in a user's text."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == place:
            line = trace.tb_lineno
        trace = trace.tb_next
    at = f"{source.file} line {line}: " if line else ""
    text = str(error).strip().splitlines()
    return f"{at}{type(error).__name__}{': ' + text[0] if text else ''}"
