"""Figures: of each its typed info, computed from the tables and testable as numbers, and its painter, in one file."""
