"""How fast this machine trains, and how fast it could: `monosweep bench`, and the parts that `make bench` shares.

model.bench (shapes, loads) -> crew (one process per core) -> measure -> report
"""
