"""The toy model of Elhage et al., *Toy Models of Superposition* (2022): features through fewer dimensions and back."""
