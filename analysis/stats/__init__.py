"""Statistics over seeds: intervals and ranks."""
