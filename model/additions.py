"""Functions of a user's own for families that there are: a metric, or an activation.  Torch-free to import.

    @metric("two_layer", "superposition")        a column of `trials`
    def largest_weight(config, params, fixed) -> float:
        "Largest absolute value among the weights."
        return max(float(w.abs().max()) for w in params.values())

    @activation("two_layer")                     a value of the knob `activation`
    def leaky(e):
        "ReLU that leaks a tenth."
        return torch.where(e > 0, e, 0.1 * e)

They stand in a file, and a spec names both it and the family: `family: my_metrics.py:two_layer`.  A metric is given
one trial, as `Family.metrics` is, an activation a tensor of any shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from monosweep.model.config import ConfigError, TrialConfig

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__monosweep_adds__"


@dataclass(frozen=True, slots=True)
class Addition:
    """What a decorated function is meant for."""

    kind: Literal["metric", "activation"]
    families: tuple[str, ...]


def metric(*families: str) -> Callable[[F], F]:
    """Have a function report a number of each trial of these families: `(config, params, fixed) -> float`.

    Its name is a column of `trials`, its docstring says what that means, and the type that it returns (`float` if it
    does not say) is the column's.  Tensors come as the family names them: of `two_layer` w_in (k, d), bias (k) and
    w_out (n_out, k), fixed the embedding (d, N); of `superposition` w (m, n) and bias (n).
    """
    return _mark("metric", families)


def activation(*families: str) -> Callable[[F], F]:
    """Have a function be an activation of these families, by its name: a tensor to one of the same shape, by torch's
    operations on each element; its docstring says what it is."""
    return _mark("activation", families)


def addition_of(value: Any) -> Addition | None:
    """What a value of a module is decorated as."""
    found = vars(value).get(_MARK) if callable(value) and hasattr(value, "__dict__") else None
    return found if isinstance(found, Addition) else None


def _mark(kind: Literal["metric", "activation"], families: tuple[Any, ...]) -> Callable[[F], F]:
    if not families or not all(isinstance(family, str) for family in families):
        raise TypeError(f"@{kind} must name families, as in @{kind}('two_layer')")

    def marked(function: F) -> F:
        setattr(function, _MARK, Addition(kind, families))
        return function

    return marked


def is_own(config: TrialConfig) -> bool:
    """Whether the trial's activation is a user's."""
    return getattr(config, "activation", None) in config.ACTIVATIONS


def activated(config: Any, known: Mapping[str, Callable[[Any], Any]], e: Any) -> Any:
    """act(e): by a user's own activation, or by one of those that its family knows.

    Raises:
        ConfigError: if a user's own does not keep the shape.
    """
    if not is_own(config):
        return known[config.activation](e)
    answer = config.ACTIVATIONS[config.activation](e)
    if getattr(answer, "shape", None) != e.shape:
        got = tuple(answer.shape) if hasattr(answer, "shape") else type(answer).__name__
        raise ConfigError(f"activation {config.activation} must keep the shape, {tuple(e.shape)}; got {got}")
    return answer
