"""The GPU's fused kernels where there is no GPU: interpreted, compiled, and done without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monosweep.model.engines.gpu.engine import TOLERANCE, StackedEngine
from monosweep.model.engines.gpu.graph import same_bits

from .test_graph import NEEDS_GPU, pack, stores

HERE = Path(__file__).parent
POINTERS = {
    **{f"{name}_ptr": "*i64" for name in ("stream", "places", "starts", "ends", "position")},
    **{f"{name}_ptr": "*bf16" for name in ("y", "g", "dh", "e")},
}
CONSTANTS = {
    "L1": True,
    "MASKED": True,
    "B1": 0.9,
    "B2": 0.999,
    "EPS": 1e-6,
    "CAP": 10.0,
    "TILE": 1024,
    "TILES": 512,
    "N": 2000,
}


def test_kernels_in_tritons_interpreter():
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py")]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    "name", ["_activate", "_times_slope", "_subtract", "_total", "_moments", "_update", "_scatter"]
)
def test_kernels_compile(name, architecture, monkeypatch, tmp_path):
    """For an A100 and an H100, down to their machine code, on a machine with neither."""
    triton = pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from monosweep.model.engines.gpu import kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    for activation in ("relu", "gelu", "solu") if "ACT" in kernel.arg_names else ("",):
        known = CONSTANTS | {"ACT": activation}
        kinds = {arg: "constexpr" if arg in known else "fp32" if arg == "scale" else "i32" for arg in kernel.arg_names}
        kinds |= {arg: POINTERS.get(arg, "*fp32") for arg in kernel.arg_names if arg.endswith("_ptr")}
        constants = {(place,): known[arg] for place, arg in enumerate(kernel.arg_names) if arg in known}
        built = triton.compile(ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", architecture, 32))
        assert built.asm["cubin"]


def test_where_kernels_cannot_run_training_goes_on_as_it_is():
    if torch.cuda.is_available():
        pytest.skip("here they can")
    plain, asked = StackedEngine(pack(), "cpu"), StackedEngine(pack(), "cpu")
    first = plain.advance(3), asked.advance(3)
    with pytest.warns(RuntimeWarning, match="training without fused kernels, which is slower: .") as warned:
        assert not asked.fuse()
    assert len(warned) == 1 and not asked.fused
    assert (first[0] == first[1]).all() and (plain.advance(30) == asked.advance(30)).all()
    assert same_bits(stores(plain), stores(asked))


def test_double_precision_stays_with_torch():
    engine = StackedEngine(pack(precision="fp64"), "cpu")
    engine.due = {"fuse"}
    engine.advance(1)
    assert not engine.fused and "fp64" not in TOLERANCE


@NEEDS_GPU
@pytest.mark.parametrize("precision", TOLERANCE)
def test_compiled_kernels_train_what_torch_trains(precision):
    plain, fused = (StackedEngine(pack(precision=precision, l1=0.001), "cuda") for _ in range(2))
    plain.due, fused.due = set(), {"fuse", "capture"}
    ours, theirs = fused.advance(30), plain.advance(30)
    assert fused.fused and fused.captured and not plain.fused
    torch.testing.assert_close(torch.from_numpy(ours), torch.from_numpy(theirs), rtol=TOLERANCE[precision], atol=0)
