"""The step of `step` with its elementwise work in a few kernels, each of which passes over its data once.

What a product reads and writes is kept in the products' own type (bf16 for `bf16`), so that nothing is converted on
the way; sums and parameters stay in single precision.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.engines.gpu import kernels
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.engines.gpu.step import StackedStep
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER


class FusedStep(StackedStep):
    """A `StackedStep` of trials in any precision but fp64; it needs Triton."""

    scatter = staticmethod(kernels.scatter)
    """For the samples."""

    def _make_buffers(self, n: int, batch: int) -> None:
        k, dtype = self.layout.n_neurons, torch.bfloat16 if self.config.precision == "bf16" else torch.float32
        self._h, self._dh = (self._zeros(n, batch, k, dtype=dtype) for _ in range(2))
        self._e = self._h if TOLD_BY_ANSWER[self.config.activation] else torch.zeros_like(self._h)
        self._error = self._zeros(n, batch, self.layout.n_out, dtype=dtype)
        self._grads = self._zeros(n, self.layout.row, dtype=dtype)
        self._bias_grads = self._zeros(n, k, dtype=torch.float32)

    def _gradients(
        self, encoder: Tensor, bias: Tensor, decoder: Tensor, samples: DeviceSamples
    ) -> Float[Tensor, " pack"]:
        operand, name, scale = self._products.operand, self.config.activation, 1 / self.config.samples_per_step
        x, reads, writes = samples.inputs(self._products), operand("encoder", encoder), operand("decoder", decoder)
        torch.bmm(x, reads, out=self._e)
        kernels.activate(name, self._e, bias, self._h)
        answers = self._operand(self._h)
        torch.bmm(answers, writes.mT, out=self._error)
        loss = kernels.subtract_target(self._error, *samples.targets(), scale)
        errors = self._operand(self._error)
        torch.bmm(errors.mT, answers, out=self.layout.decoder(self._grads))
        torch.bmm(errors, writes, out=self._dh)
        kernels.times_slope(name, self._dh, self._e, bias, self._l1)
        torch.sum(self._dh, dim=1, dtype=torch.float32, out=self._bias_grads)
        torch.bmm(x.mT, self._operand(self._dh), out=self.layout.encoder(self._grads))
        return loss

    def _operand(self, values: Tensor) -> Tensor:
        """A product's answer as the next one's operand."""
        return values if self.config.precision == "bf16" else self._products.operand("", values)

    def _step(self, rows: tuple[Tensor, Tensor, Tensor], lr: Float[Tensor, " pack"]) -> None:
        kernels.lamb(
            rows, self._grads, self._bias_grads, self._mask, self._bias_reg, self._bias_target,
            2 / self.config.samples_per_step, self.layout.segments, lr,
        )  # fmt: skip
