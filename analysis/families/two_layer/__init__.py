"""What the weights of a two-layer toy model do: responses to features, and the mechanism behind them."""
