"""The front door `monosweep VERB ...`: a verb's module is imported only when that verb is asked for.

It alone knows both `sweep` and `analysis`, and hands `analysis` in where a verb of `sweep` draws.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from monosweep.model.config import TrialConfig, UserError, unknown_name
from monosweep.sweep.homes import stand_in
from monosweep.sweep.streams import OutputError, drop_output, prepare, unheard
from monosweep.sweep.text import brief, without_secrets

if TYPE_CHECKING:
    from monosweep.model.families.two_layer.config import TwoLayerConfig

USAGE_ERROR = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
PIPE_CLOSED = 141
"""128 + SIGPIPE: whoever read our output (such as `head`) had enough."""


@dataclass(frozen=True, slots=True)
class Verb:
    """What the front door knows of a verb."""

    run: Callable[[Sequence[str]], int]
    """Arguments in, an exit status out."""
    help: str
    """A line about it."""
    acts: bool = False
    """What it does counts, not what it prints."""


# A verb's module is imported by the verb: `query` should load neither torch nor Ray, and --help nothing at all.


def _presets(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import presets

    return presets(argv)


def _new(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import new

    return new(argv)


def _launch(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import launch

    return launch(argv)


def _status(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import status

    return status(argv)


def _compact(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import compact

    return compact(argv)


def _submit(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.cluster_verbs import submit

    return submit(argv)


def _resume(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.cluster_verbs import resume

    return resume(argv)


def _logs(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.cluster_verbs import logs

    return logs(argv)


def _stop(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.cluster_verbs import stop

    return stop(argv)


def _list(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.cluster_verbs import list

    return list(argv)


def _trial(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.trial_verbs import trial

    return trial(argv, draw=_draw_response)


def _replay(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.trial_verbs import replay

    return replay(argv, draw=_draw_response)


def _weights(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.trial_verbs import weights

    return weights(argv)


def _measure(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import measure

    return measure(argv)


def _bench(argv: Sequence[str]) -> int:
    from monosweep.sweep.cli.verbs import bench

    return bench(argv)


def _query(argv: Sequence[str]) -> int:
    from monosweep.analysis.cli import query

    return query(argv)


def _figures(argv: Sequence[str]) -> int:
    from monosweep.analysis.cli import figures

    return figures(argv)


def _claims(argv: Sequence[str]) -> int:
    from monosweep.analysis.cli import claims

    return claims(argv)


def _report(argv: Sequence[str]) -> int:
    from monosweep.analysis.cli import report

    return report(argv)


def _draw_response(weights: Mapping[str, Any], config: TrialConfig, path: str) -> None:
    """The response map of one trial, for --plot; kept here because sweep/ may not import analysis/."""
    from monosweep.analysis.figures import load_matplotlib

    load_matplotlib()
    from monosweep.analysis.families.two_layer.response_map import draw_response

    draw_response(weights, cast("TwoLayerConfig", config), path)  # the verbs have seen to that


VERBS = {
    "presets": Verb(_presets, "what can be launched by name"),
    "new": Verb(_new, "a toy model of your own to begin with, and its spec", acts=True),
    "launch": Verb(_launch, "train what a preset or YAML file asks for and the results root lacks", acts=True),
    "status": Verb(_status, "how far the sweeps of a results root are"),
    "compact": Verb(_compact, "merge a results root's small files, while sweeps train and readers read", acts=True),
    "submit": Verb(_submit, "launch on a running Ray cluster, as a job that goes on without us", acts=True),
    "resume": Verb(_resume, "submit again what a results root was launched with", acts=True),
    "logs": Verb(_logs, "what the driver of a submitted sweep says (--follow)"),
    "stop": Verb(_stop, "end a submitted sweep; what is trained is kept", acts=True),
    "list": Verb(_list, "the sweeps of a results root, and who drives them"),
    "trial": Verb(_trial, "train one trial here, watched (--pdb to debug, --plot to draw)"),
    "replay": Verb(_replay, "train a finished trial again from its row, and compare"),
    "weights": Verb(_weights, "trials' weights for other code; trained again where none were kept", acts=True),
    "measure": Verb(_measure, "metrics of your own for trials whose weights were kept", acts=True),
    "bench": Verb(_bench, "how many trials this machine trains per hour, and what limits it"),
    "query": Verb(_query, "SQL over the tables of a results root"),
    "figures": Verb(_figures, "the paper's figures from the tables of a results root"),
    "report": Verb(_report, "a page to look at a results root, brush and click (--watch while a sweep runs)"),
    "claims": Verb(_claims, "the paper's findings held against the tables of a results root"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 2 for a user's mistake, 130 for Ctrl-C, or the verb's own."""
    if argv is None:  # a process of its own
        prepare()
        os.environ |= stand_in()
    try:
        _check_here()
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last words
    except UserError as error:
        if isinstance(error, OutputError):
            drop_output()
        print(f"monosweep: {brief(without_secrets(str(error)))}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt as interrupt:
        print(f"monosweep: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return PIPE_CLOSED
    return status


def _check_here() -> None:
    """Whatever is given as a relative path would be somewhere else, or nowhere."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"a command needs a working directory; the one of this shell is gone ({error.strerror}); cd to another"
        ) from None


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
    if VERBS[name].acts:
        unheard()
    return VERBS[name].run(rest)


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


if __name__ == "__main__":
    sys.exit(main())
