"""A family of one's own to begin with: a commented file that trains, and a spec that names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from monosweep.model.config import ConfigError

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class New:
    """What was written."""

    file: Path
    spec: Path
    sweep: str
    """The spec's name."""


def new(path: str) -> New:
    """Write a family into `path`, and a spec beside it; nothing is written over.

    Raises:
        ConfigError: if the path names no such file, one of the two is there, or cannot be written.
    """
    file = Path(path)
    stem = file.stem
    if file.suffix != ".py" or not (stem.isidentifier() and stem.isascii() and stem.islower()):
        raise ConfigError(f"FILE must be a word in small letters that ends in .py, such as my_toy.py; got {path!r}")
    words = {"stem": stem, "name": "".join(part.capitalize() for part in stem.split("_"))}
    made = New(file, file.with_suffix(".yaml"), stem)
    if there := [str(one) for one in (made.file, made.spec) if one.exists()]:
        raise ConfigError(f"{there[0]} is there already, and is not written over; give another name")
    for to, template in ((made.file, "family.py.txt"), (made.spec, "spec.yaml.txt")):
        try:
            with to.open("x") as opened:
                opened.write((_TEMPLATES / template).read_text().format(**words))
        except OSError as error:
            raise ConfigError(f"cannot write {str(to)!r}: {error.strerror}; choose another place") from None
    return made
