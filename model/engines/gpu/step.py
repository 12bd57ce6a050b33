"""One optimiser step of a whole pack at once: the arithmetic of `model.engines.cpu.engine`, stacked.

Every operation runs over all trials of the pack.  None of them waits for the device or makes its size depend on data,
so that a CUDA graph can hold the step.  `tests/model/engines/gpu/test_graph.py` watches over this.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.engines.cpu.engine import mask_row
from monosweep.model.engines.gpu.products import DeviceProducts
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.decay import DECAY_SHARES
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.weights import activate, activation_slope
from monosweep.model.optimizers import lamb_step
from monosweep.model.precision import DTYPES


class StackedStep:
    """Buffers for a step, and the step itself.

    Args:
        configs: the pack's members.
        device: where they are trained.
    """

    def __init__(self, configs: Sequence[TwoLayerConfig], layout: Layout, device: str) -> None:
        self.config, self.layout = configs[0], layout
        self._dtype, self._device = DTYPES[self.config.precision], device
        n, batch = len(configs), self.config.samples_per_step
        self._products = DeviceProducts(self.config.precision, device)
        self._make_buffers(n, batch)
        # Gradients lack the factor 2 / batch of dL/dy = 2 error / batch until the end.
        self._l1 = self._column([c.l1 / 2 for c in configs]).unsqueeze(2) if any(c.l1 for c in configs) else None
        self._bias_reg = self._column([c.bias_reg * batch for c in configs])
        self._bias_target = self._column([c.bias_reg_target for c in configs])
        self._peak_lr = self._column([c.lr for c in configs])
        self._mask = self._masks(configs)

    def _make_buffers(self, n: int, batch: int) -> None:
        self._h, self._dh = (self._zeros(n, batch, self.layout.n_neurons) for _ in range(2))
        # ReLU's slope can be told from its answers; the others need what went in.
        self._e = self._h if TOLD_BY_ANSWER[self.config.activation] else torch.zeros_like(self._h)
        self._error = self._zeros(n, batch, self.layout.n_out)
        self._grads, self._update = (self._zeros(n, self.layout.row) for _ in range(2))

    def _zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(shape, dtype=dtype or self._dtype, device=self._device)

    def _column(self, values: list[float]) -> Float[Tensor, "pack 1"]:
        return torch.tensor(values, dtype=self._dtype, device=self._device).view(-1, 1)

    def _masks(self, configs: Sequence[TwoLayerConfig]) -> Float[Tensor, "pack row"] | None:
        rows = {seed: mask_row(self.layout, c) for seed, c in {c.seed: c for c in configs}.items()}
        found = [torch.from_numpy(row) for c in configs if (row := rows[c.seed]) is not None]
        return torch.stack(found).to(self._device, self._dtype) if found else None

    def __call__(
        self,
        rows: tuple[Tensor, Tensor, Tensor],
        samples: DeviceSamples,
        lr: Float[Tensor, " pack"],
        bias_decay: Float[Tensor, " pack"],
    ) -> Float[Tensor, " pack"]:
        """One optimiser step of every trial; their task losses before it.

        Args:
            rows: parameters and both moments, (pack, row) each, changed in place.
        """
        encoder, bias = self.layout.encoder(rows[0]), self.layout.bias(rows[0])
        loss = self._gradients(encoder, bias, self.layout.decoder(rows[0]), samples)
        before = encoder.clone() if self.config.bias_decay_mode == "tied_to_update" else None
        self._step(rows, lr)
        bias.mul_(1 - bias_decay.unsqueeze(1) * self._decay_share(encoder, bias, before))
        return loss

    def _gradients(
        self, encoder: Tensor, bias: Tensor, decoder: Tensor, samples: DeviceSamples
    ) -> Float[Tensor, " pack"]:
        """Fill `_grads`, but for what `_finish_gradients` adds; the task losses."""
        operand, product = self._products.operand, self._products.product
        x, h, dh, error = samples.inputs(self._products), self._h, self._dh, self._error
        reads, writes = operand("encoder", encoder), operand("decoder", decoder)
        product(x, reads, self._e)
        self._e.add_(bias.unsqueeze(1))
        activate(self.config.activation, self._e, out=h)
        answers = operand("h", h)
        product(answers, writes.mT, error)
        samples.subtract_target(error)
        errors = operand("error", error)
        product(errors.mT, answers, self.layout.decoder(self._grads))
        product(errors, writes, dh)
        self._times_slope()
        torch.sum(dh, dim=1, out=self.layout.bias(self._grads))
        product(x.mT, operand("dh", dh), self.layout.encoder(self._grads))
        # Sample by sample first: a sum of millions of squares in one go loses digits on a CPU.
        per_sample: Tensor = torch.linalg.vector_norm(error, dim=2)
        return per_sample.square().sum(dim=1) / self.config.samples_per_step

    def _times_slope(self) -> None:
        """dL/de in the place of dL/dh."""
        if self._l1 is not None:
            self._dh.addcmul_(torch.sign(self._h), self._l1)
        if TOLD_BY_ANSWER[self.config.activation]:
            torch.ops.aten.threshold_backward.grad_input(self._dh, self._h, 0, grad_input=self._dh)
        else:
            self._dh.mul_(activation_slope(self.config.activation, self._e))

    def _step(self, rows: tuple[Tensor, Tensor, Tensor], lr: Float[Tensor, " pack"]) -> None:
        self._finish_gradients(self.layout.bias(rows[0]))
        lamb_step(rows[0], self._grads, *rows[1:], self._update, self.layout.segments, lr)

    def _finish_gradients(self, bias: Tensor) -> None:
        """Add what does not depend on the samples, and the factor that the products lack."""
        self.layout.bias(self._grads).add_((bias - self._bias_target) * self._bias_reg)
        if self._mask is not None:
            self._grads.mul_(self._mask)
        self._grads.mul_(2 / self.config.samples_per_step)

    def _decay_share(self, encoder: Tensor, bias: Tensor, before: Tensor | None) -> Float[Tensor, "pack n_neurons"]:
        """How much of the bias decay each neuron feels, 0 to 1 (`bias_decay_mode`)."""
        mode = self.config.bias_decay_mode
        now, then = {"w_in": encoder.mT, "bias": bias}, {} if before is None else {"w_in": before.mT}
        passed = {"silent": (self._h <= 0).all(dim=1)} if mode == "per_neuron" else {}
        share: Tensor = torch.func.vmap(DECAY_SHARES[mode])(now, then, passed, self._peak_lr[:, 0])
        return share
