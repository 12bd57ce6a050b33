"""The text of a user's file: read, run as a module, told apart by a digest of its code, and named where it goes wrong.

A file's module is no module of any package: it is made from the text wherever it is needed, so a worker on another
machine needs no file.
"""

from __future__ import annotations

import ast
import hashlib
import json
import linecache
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from monosweep.model.config import ConfigError

_PLACE = re.compile(r"<(.+) [0-9a-f]{16}>")
"""What tracebacks call a user's file: `<my_toy.py 0123456789abcdef>`."""


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
        code = [self.class_name, _plain(self.tree())]
        return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]

    def tree(self) -> ast.Module:
        """The code.

        Raises:
            ConfigError: if it is none.
        """
        try:
            return ast.parse(self.text)
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            raise self.error(line, f"{type(error).__name__}: {getattr(error, 'msg', error)}") from None

    def error(self, line: int | None, problem: str) -> ConfigError:
        """What is wrong with the text, and where."""
        at = f"{self.file} line {line}" if line else self.file
        return ConfigError(f"family {self.family}: {at}: {problem}")


def _plain(node: Any) -> Any:
    """Code as JSON, the same in all versions of Python: `ast.dump` names what a newer one has added, though empty."""
    if isinstance(node, ast.AST):
        given = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
        return [type(node).__name__, {name: _plain(value) for name, value in sorted(given.items())}]
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return repr(node)


def is_reference(name: str) -> bool:
    """Whether a `family` names a class in a file."""
    return ".py:" in name


def read_source(reference: str, folder: Path, rule: str = "family must name a Python file and a class in it") -> Source:
    """The text behind `my_toy.py:MyToy`, the path relative to `folder`; who has another `rule` says so.

    Raises:
        ConfigError: if the file cannot be read.
    """
    path, _, class_name = reference.rpartition(":")
    try:
        return Source(Path(path).name, class_name, (folder / path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{rule}; {path!r}: {problem}") from None


def run(source: Source) -> ModuleType:
    """The text as a module, which tracebacks and debuggers can show.

    Raises:
        ConfigError: naming file and line, if it cannot be run.
    """
    name = f"monosweep_family_{source.digest}"
    module = ModuleType(name)
    place = f"<{source.file} {source.digest}>"
    module.__file__ = place
    linecache.cache[place] = (len(source.text), None, source.text.splitlines(keepends=True), place)
    sys.modules[name] = module  # where dataclasses look for the names in annotations
    try:
        exec(compile(source.text, place, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        raise source.error(_line_in(error, place), kind_and_words(error)) from error
    return module


def in_users_code(error: BaseException) -> bool:
    """Whether it was a user's own line that raised, and nothing that it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _PLACE.fullmatch(frames[-1].f_code.co_filename) is not None


def one_line(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says; before them the last line of a user's file on the
    way to it."""
    frames = [(_PLACE.fullmatch(f.f_code.co_filename), line) for f, line in traceback.walk_tb(error.__traceback__)]
    places = [f"{file[1]} line {line}: " for file, line in frames if file]
    return f"{places[-1] if places else ''}{kind_and_words(error)}"


def kind_and_words(error: BaseException) -> str:
    """The kind of an exception and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + text[0] if text else ''}"


def _line_in(error: BaseException, place: str) -> int | None:
    """Where in a user's text an error arose."""
    frames = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == place]
    return frames[-1] if frames else None
