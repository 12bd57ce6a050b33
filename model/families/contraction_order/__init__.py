"""In which order the bonds of a tensor network are to be contracted (Schindler and Jermyn, 2020)."""
