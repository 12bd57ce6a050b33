"""How a tensor of many indices is decomposed into a tree of small ones (Jermyn, 2017)."""
