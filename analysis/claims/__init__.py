"""Findings as numbers that tables can give: the evidence, and three verdicts."""
