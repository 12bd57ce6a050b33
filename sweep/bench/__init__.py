"""How fast this machine trains, and how fast it could: `monosweep bench`, and the parts that `make bench` shares.

    shapes -> loads (what a process repeats) -> crew (one process per core) -> measure -> report
"""
