"""The front door `monosweep VERB ...`: a verb's module is imported only when that verb is asked for.

It alone knows both `sweep` and `analysis`, and hands `analysis` in where a verb of `sweep` draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from monosweep.model.config import TrialConfig, UserError, unknown_name
from monosweep.sweep.text import without_secrets

USAGE_ERROR = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: whoever read our output (such as `head`) had enough."""


@dataclass(frozen=True, slots=True)
class Verb:
    """What the front door knows of a verb: where it lives, and a line about it."""

    module: str
    help: str
    draws: bool = False
    """Whether its function takes `draw=`, which makes the response map for --plot."""


_HERE, _CLUSTER = "monosweep.sweep.cli.verbs", "monosweep.sweep.cli.cluster_verbs"
_TABLES = "monosweep.analysis.cli"

VERBS = {
    "presets": Verb(_HERE, "what can be launched by name"),
    "launch": Verb(_HERE, "train what a preset or YAML file asks for and the results root lacks"),
    "status": Verb(_HERE, "how far the sweeps of a results root are"),
    "compact": Verb(_HERE, "merge the small files of a results root, while sweeps train and readers read"),
    "submit": Verb(_CLUSTER, "launch on a running Ray cluster, as a job that goes on without us"),
    "resume": Verb(_CLUSTER, "submit again what a results root was launched with"),
    "logs": Verb(_CLUSTER, "what the driver of a submitted sweep says (--follow)"),
    "stop": Verb(_CLUSTER, "end a submitted sweep; what is trained is kept"),
    "list": Verb(_CLUSTER, "the sweeps of a results root, and who drives them"),
    "trial": Verb(_HERE, "train one trial here, watched (--pdb to debug, --plot to draw)", draws=True),
    "replay": Verb(_HERE, "train a finished trial again from its row, and compare", draws=True),
    "bench": Verb(_HERE, "how many trials this machine trains per hour, and what limits it"),
    "query": Verb(_TABLES, "SQL over the tables of a results root"),
    "figures": Verb(_TABLES, "the paper's figures from the tables of a results root"),
    "claims": Verb(_TABLES, "the paper's findings held against the tables of a results root"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 for a user's mistake, 130 for Ctrl-C, or the verb's own."""
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last words
    except UserError as error:
        print(f"monosweep: {without_secrets(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt as interrupt:
        print(f"monosweep: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else USAGE_ERROR
    if argv[0] in ("-V", "--version"):
        print(f"monosweep {_version()}")
        return 0
    name, rest = argv[0], argv[1:]
    if name not in VERBS:
        raise UserError(f"{unknown_name('verb', name, list(VERBS))}; see monosweep --help")
    verb = VERBS[name]
    function: Callable[..., int] = getattr(import_module(verb.module), name)
    return function(rest, draw=_draw_response) if verb.draws else function(rest)


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items()]
    return "\n".join([
        "monosweep: hyperparameter sweeps of monosemanticity in toy models",
        "",
        "usage: monosweep VERB ...      monosweep VERB --help explains one verb",
        "",
        *lines,
        "",
        "first steps: monosweep launch quick && monosweep figures results",
    ])  # fmt: skip


def _version() -> str:
    from importlib.metadata import version

    return version("monosweep")


def _draw_response(weights: Mapping[str, Any], config: TrialConfig, path: str) -> None:
    """The response map of one trial; kept here because sweep/ may not import analysis/."""
    from monosweep.analysis.figures import draw_response

    draw_response(weights, config, path)


if __name__ == "__main__":
    sys.exit(main())
