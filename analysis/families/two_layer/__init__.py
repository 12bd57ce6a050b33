"""What the weights of a two-layer toy model do: responses to features, the mechanism behind them, and its figures."""

from monosweep.model.families.two_layer.config import TWO_LAYER

FAMILY = TWO_LAYER.name
"""Its name in the column `family`; rows of older roots, which name none, are its own."""
