"""Where packs are trained: `inline` in this process (or a few of its own), `ray` on Ray Tune."""
