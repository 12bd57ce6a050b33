"""Machine code on disk never outlives its source."""

from pathlib import Path

from monosweep.model.engines.cpu import compiled_step, jit


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
