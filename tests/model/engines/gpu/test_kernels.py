"""The GPU's fused kernels where there is no GPU: interpreted, compiled, and done without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monosweep.model.engines.gpu.engine import StackedEngine

from .packs import DRAWING_KERNELS, STEP_KERNELS, pack
from .test_graph import NEEDS_GPU

HERE = Path(__file__).parent
CONSTANTS = {
    "MASKED": True, "B1": 0.9, "B2": 0.999, "EPS": 1e-6, "CAP": 10.0, "TILE": 1024, "TILES": 512, "N": 2000,
    "SCALE": 0.25, "PURPOSE": 4, "PARTS": 2, "BATCH": 50, "FEATURES": 20, "ROW": 24, "HALVINGS": 5, "EDGES": 512,
    "CELLS": 1200, "STRIP": 128, "ROWS": 16, "COLUMNS": 128,
}  # fmt: skip


def test_kernels_in_tritons_interpreter():
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py")]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def compiled(kernel, architecture, acc, activation):
    """For pointers to bf16 where a step has products of single precision."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    known = CONSTANTS | {"ACC": acc, "ACT": activation} | ({"TILE": 16} if "COLUMNS" in kernel.arg_names else {})
    real, half = ("*fp64", "*fp64") if acc and acc.name == "fp64" else ("*fp32", "*bf16")
    pointers = {f"{name}_ptr": "*i64" for name in ("stream", "whole", "cells", "edges")} | {"alive_ptr": "*i32"}
    pointers |= {f"{name}_ptr": half for name in ("y", "g", "dh", "e")}
    pointers |= {f"{name}_ptr": "*fp64" for name in ("real", "ends", *([] if acc else ["sums"]))}
    kinds = {arg: "constexpr" if arg in known else "i32" for arg in kernel.arg_names}
    kinds |= {arg: pointers.get(arg, real) for arg in kernel.arg_names if arg.endswith("_ptr")}
    constants = {(place,): known[arg] for place, arg in enumerate(kernel.arg_names) if arg in known}
    return __import__("triton").compile(ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", architecture, 32))


@pytest.mark.parametrize(("architecture", "precision"), [(80, "float32"), (90, "float64")])
@pytest.mark.parametrize("name", [*STEP_KERNELS, *DRAWING_KERNELS])
def test_kernels_compile(name, architecture, precision, monkeypatch, tmp_path):
    """For an A100 and an H100, down to their machine code, on a machine with neither."""
    triton = pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    from monosweep.model.engines.gpu import drawing, kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(drawing if name in DRAWING_KERNELS else kernels, name)
    acc = getattr(triton.language, precision) if "ACC" in kernel.arg_names else None
    for activation in ("relu", "gelu", "solu") if "ACT" in kernel.arg_names else ("",):
        assert compiled(kernel, architecture, acc, activation).asm["cubin"]


@NEEDS_GPU
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("bf16", 3e-2), ("fp64", 1e-9)])
def test_compiled_kernels_train_what_torch_trains(precision, tolerance):
    plain, fused = (StackedEngine(pack(precision=precision, l1=0.001), d) for d in ("cpu", "cuda"))
    ours, theirs = fused.advance(30), plain.advance(30)
    assert fused.how == "packed, fused, captured" and plain.how == "packed"
    torch.testing.assert_close(torch.from_numpy(ours), torch.from_numpy(theirs), rtol=tolerance, atol=0)
