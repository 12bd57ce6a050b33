"""Machine code on disk never outlives its source."""

from pathlib import Path

from monosweep.model.engines.cpu import compiled_step, elementwise, gemm, jit, lanes


def test_a_change_of_any_source_leaves_all_kept_code_behind(tmp_path):
    sources = [tmp_path / name for name in ("caller.py", "callee.py")]
    for source in sources:
        source.write_text("a = 1\n")
    before = jit.cache_folder(sources)
    assert jit.cache_folder(sources) == before
    sources[1].write_text("a = 2\n")
    assert jit.cache_folder(sources) != before


def test_every_compiled_module_counts_as_source():
    folder = Path(jit.__file__).parent
    users = {path for path in folder.glob("*.py") if "@compiled" in path.read_text()}
    assert users <= set(jit._SOURCES)
    assert jit.cache_folder(jit._SOURCES) in Path(compiled_step.train_chunk.stats.cache_path).parents


def test_no_compiled_function_may_be_reordered():
    """What two runs can show depends on what the compiler happens to inline; this is what lets it."""
    modules = (compiled_step, elementwise, gemm, lanes)
    found = {f.__name__: f.targetoptions for m in modules for f in vars(m).values() if hasattr(f, "targetoptions")}
    assert {"train_chunk", "lamb", "long_dot", "gemm"} <= set(found)
    assert not [name for name, options in found.items() if options.get("fastmath")]
