"""The toy model of Jermyn, Schiefer and Hubinger (arXiv 2211.09169): one hidden layer, its weights and metrics."""
