"""A family from a user's own file: read, named by its class, told apart by a digest of its code, and sent along.

A file's module is no module of any package: it is made from the text wherever it is needed, so a worker on another
machine needs no file, and a config can be pickled by its values and the text that its class came from.
"""

from __future__ import annotations

import ast
import hashlib
import json
import linecache
import sys
import traceback
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_origin

from monosweep.model.config import ConfigError, TrialConfig, field_types, shape_fields, unknown_name
from monosweep.model.family import Family, names


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
    tree = source.tree()
    module = _run(source)
    found = vars(module).get(source.class_name)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_family(value) and value is not Family]
        raise source.error(None, unknown_name("class", source.class_name, known))
    place = _classes(tree).get(source.class_name)
    if not _is_family(found):
        raise source.error(_line(place), f"{source.class_name} must be a subclass of monosweep.model.Family")
    _check_family(source, found, place)
    config: Any = found.Config
    config.FAMILY, config.DIGEST, config.SOURCE = source.family, source.digest, source
    config.__reduce__ = lambda self: (_revived, (source, self.to_dict()))
    try:
        config()
    except Exception as error:
        raise source.error(_line(_member(place, "Config")), f"a Config of defaults: {_message(error)}") from error
    family: type[Family] = found
    return family


def _is_family(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Family)


def _check_family(source: Source, family: type[Family], place: ast.ClassDef | None) -> None:
    for method in ("start", "sample", "loss"):
        if _own(family, method) is None and not (method == "sample" and _own(family, "sampler")):
            raise source.error(_line(place), f"{family.__name__} must have a method {method}")
    config, line = getattr(family, "Config", None), _line(_member(place, "Config")) or _line(place)
    if not (isinstance(config, type) and issubclass(config, TrialConfig) and config.__module__ == family.__module__):
        raise source.error(line, f"{family.__name__} must have a nested class Config(TrialConfig), its knobs")
    if not is_dataclass(config) or "__dataclass_fields__" not in vars(config):
        raise source.error(line, "Config must be decorated with @dataclass(frozen=True, kw_only=True)")
    _check_knobs(source, config, _member(place, "Config"))
    for record in ("Metrics", "CurveMetrics"):
        _check_record(source, getattr(family, record), _member(place, record), record)
    for table, record_of in family.Tables.items():
        _check_record(source, record_of, _member(place, record_of.__name__), f"Tables[{table!r}]")
        if "step" not in names(record_of):
            raise source.error(_line(place), f"Tables[{table!r}] must have a field step, which the trainer fills")


def _own(family: type[Family], name: str) -> Any:
    """A method that the base class does not have so."""
    found, base = getattr(family, name), getattr(Family, name)
    return None if getattr(found, "__func__", found) is base.__func__ else found


def _check_knobs(source: Source, config: type[TrialConfig], place: ast.ClassDef | None) -> None:
    base, shapes = field_types(TrialConfig), shape_fields(TrialConfig)
    try:
        kinds = field_types(config)
    except Exception as error:  # a name that an annotation uses
        raise source.error(_line(place), f"the types of Config's fields: {_message(error)}") from error
    for field in fields(config):
        line, kind = _line(_member(place, field.name)) or _line(place), kinds[field.name]
        if field.default is MISSING:
            raise source.error(line, f"{field.name} must have a default, as every knob has")
        if field.name not in base and kind not in (int, float, str, int | None) and get_origin(kind) is not Literal:
            raise source.error(line, f"{field.name} must be an int, float, str or Literal of words; got {kind}")
        if field.name not in base and hasattr(TrialConfig, field.name):
            raise source.error(line, f"{field.name} is what all configs have as a method; give the knob another name")
        if field.name in base and (kind != base[field.name] or field.name in set(shapes) - set(shape_fields(config))):
            raise source.error(line, f"{field.name} is a knob of all configs; keep its type and its Shape")
        if place and field.name in config.__annotations__ and field.name not in {*base, *_documented(place)}:
            raise source.error(line, f"{field.name} must have a docstring under it, which tables and help show")


def _check_record(source: Source, record: Any, place: ast.ClassDef | None, name: str) -> None:
    if not is_dataclass(record):
        raise source.error(_line(place), f"{name} must be a dataclass, whose fields are columns")
    for field in fields(record):
        if place and field.name in record.__annotations__ and field.name not in _documented(place):
            line = _line(_member(place, field.name)) or _line(place)
            raise source.error(line, f"{field.name} must have a docstring under it, which tables show")


def _classes(tree: ast.Module | ast.ClassDef) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _member(place: ast.ClassDef | None, name: str) -> Any:
    """A class or field in a class."""
    fields_ = {} if place is None else {n.target.id: n for n in place.body if _is_field(n)}  # type: ignore[attr-defined]
    return fields_.get(name) or (None if place is None else _classes(place).get(name))


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _documented(place: ast.ClassDef | None) -> set[str]:
    """Fields with a docstring under them."""
    body = [] if place is None else place.body
    return {
        node.target.id  # type: ignore[attr-defined]
        for node, doc in pairwise(body)
        if _is_field(node) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
    }


def _line(node: Any) -> int | None:
    return None if node is None else int(node.lineno)


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
        exec(compile(source.text, place, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        raise source.error(_last_line(error, place), _message(error)) from error
    return module


def _last_line(error: BaseException, place: str) -> int | None:
    """Where in a user's text an error arose."""
    frames = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == place]
    return frames[-1] if frames else None


def _message(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}{': ' + text[0] if text else ''}"
