"""Which trials come next, and which go on: sources and judges.  Ray only in `tune_judge` and `searcher`."""
