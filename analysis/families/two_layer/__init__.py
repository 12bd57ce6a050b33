"""What the weights of a two-layer toy model do: responses to features, the mechanism behind them, and its figures."""

from monosweep.analysis.knobs import DEFAULT_FAMILY

FAMILY = DEFAULT_FAMILY
"""Its name in the column `family`; rows of older roots, which name none, are its own."""
