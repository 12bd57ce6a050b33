"""What is measured of the two-layer engines: shapes of trials, the arithmetic of their steps, and loads to repeat."""
