"""What numba may not do with the engine's arithmetic."""

from monosweep.model.engines.cpu import compiled_step, elementwise, gemm, lanes


def test_no_compiled_function_may_be_reordered():
    """What two runs can show depends on what the compiler happens to inline; this is what lets it."""
    modules = (compiled_step, elementwise, gemm, lanes)
    found = {f.__name__: f.targetoptions for m in modules for f in vars(m).values() if hasattr(f, "targetoptions")}
    assert {"train_chunk", "lamb", "long_dot", "gemm"} <= set(found)
    assert not [name for name, options in found.items() if options.get("fastmath")]
