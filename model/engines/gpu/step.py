"""One optimiser step of a whole pack at once: the arithmetic of `model.engines.cpu.engine`, stacked.

Every operation runs over all slots of the pack.  None of them waits for the device or makes its size depend on data or
on who is there, so that a CUDA graph can hold the step for whomever the slots come to hold: what differs between trials
is read from buffers.  What a product reads and writes is kept in the products' own type; sums and parameters stay in
the trials'.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.engines.cpu.engine import mask_row
from monosweep.model.engines.gpu.elementwise import Elementwise
from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.engines.gpu.products import DeviceProducts, group_size, multiply
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.decay import DECAY_SHARES
from monosweep.model.precision import DTYPES

_Rows = tuple[Tensor, Tensor, Tensor]


class StackedStep:
    """Buffers for a step, and the step itself.

    Args:
        config: of any trial of the pack's shape.
        n_slots: how many trials there may be.
        device: where they are trained.
        parts: what is done besides products.
    """

    def __init__(
        self, config: TwoLayerConfig, layout: PaddedLayout, n_slots: int, device: str, parts: Elementwise
    ) -> None:
        self.config, self.layout, self._parts, self._device = config, layout, parts, device
        self._dtype = DTYPES[config.precision]
        self._products, self._group = DeviceProducts(config.precision, device), group_size(config)
        self._make_buffers(n_slots, config.samples_per_step)
        # Gradients lack the factor 2 / batch of dL/dy = 2 error / batch until the end.
        self._l1, self._bias_reg, self._bias_target, self._peak_lr = self._zeros(4, n_slots).unbind(0)
        self._alive = torch.zeros(n_slots, dtype=torch.int32, device=device)
        self._mask = self._zeros(n_slots, layout.row) if config.connectivity < 1 else None

    def _make_buffers(self, n: int, batch: int) -> None:
        hidden, dtype = (n, batch, self.layout.n_neurons), self._products.dtype
        self._h, self._dh = (self._zeros(*hidden, dtype=dtype) for _ in range(2))
        # ReLU's slope can be told from its answers; the others need what went in.
        self._e = self._h if TOLD_BY_ANSWER[self.config.activation] else torch.zeros_like(self._h)
        self._error = self._zeros(n, batch, self.layout.n_out, dtype=dtype)
        self._grads = self._zeros(n, self.layout.row, dtype=dtype)
        self._bias_grads = self._zeros(n, self.layout.n_neurons)

    def _zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(shape, dtype=dtype or self._dtype, device=self._device)

    def put(self, slot: int, config: TwoLayerConfig | None) -> None:
        """Have a slot train by a trial's knobs, or not at all."""
        self._alive[slot] = config is not None
        if config is None:
            return
        batch = config.samples_per_step
        self._l1[slot], self._bias_reg[slot] = config.l1 / 2, config.bias_reg * batch
        self._bias_target[slot], self._peak_lr[slot] = config.bias_reg_target, config.lr
        mask = mask_row(self.layout, config)
        if self._mask is not None and mask is not None:
            self._mask[slot].copy_(torch.from_numpy(mask))

    def __call__(
        self, rows: _Rows, samples: DeviceSamples, lr: Float[Tensor, " pack"], bias_decay: Float[Tensor, " pack"]
    ) -> Float[Tensor, " pack"]:
        """One optimiser step of every trial; their task losses before it.

        Args:
            rows: parameters and both moments, (pack, row) each, changed in place.
        """
        encoder, bias = self.layout.encoder(rows[0]), self.layout.bias(rows[0])
        loss = self._gradients(encoder, bias, self.layout.decoder(rows[0]), samples)
        before = encoder.clone() if self.config.bias_decay_mode == "tied_to_update" else None
        self._parts.lamb(
            rows, self._grads, self._bias_grads, self._mask, self._bias_reg, self._bias_target, self._alive, lr,
            self.layout, 2 / self.config.samples_per_step,
        )  # fmt: skip
        bias.mul_(1 - bias_decay.unsqueeze(1) * self._decay_share(encoder, bias, before))
        return loss

    def _gradients(
        self, encoder: Tensor, bias: Tensor, decoder: Tensor, samples: DeviceSamples
    ) -> Float[Tensor, " pack"]:
        """Fill `_grads` and `_bias_grads`; the task losses."""
        operand, name, alive, scale = (
            self._products.operand, self.config.activation, self._alive, 1 / self.config.samples_per_step,
        )  # fmt: skip
        x, reads, writes = samples.inputs(self._products), operand(encoder), operand(decoder)
        multiply(x, reads, self._e, self._group)
        self._parts.activate(name, self._e, bias, alive, self._h)
        answers = operand(self._h)
        multiply(answers, writes.mT, self._error, self._group)
        loss = self._parts.subtract_target(self._error, *samples.targets(), alive, scale)
        errors = operand(self._error)
        multiply(errors.mT, answers, self.layout.decoder(self._grads), self._group)
        multiply(errors, writes, self._dh, self._group)
        self._parts.times_slope(name, self._dh, self._e, bias, self._l1, alive, self._bias_grads)
        multiply(x.mT, operand(self._dh), self.layout.encoder(self._grads), self._group)
        return loss

    def _decay_share(self, encoder: Tensor, bias: Tensor, before: Tensor | None) -> Float[Tensor, "pack n_neurons"]:
        """How much of the bias decay each neuron feels, 0 to 1 (`bias_decay_mode`)."""
        mode = self.config.bias_decay_mode
        now, then = {"w_in": encoder.mT, "bias": bias}, {} if before is None else {"w_in": before.mT}
        passed = {"silent": (self._h <= 0).all(dim=1)} if mode == "per_neuron" else {}
        share: Tensor = torch.func.vmap(DECAY_SHARES[mode])(now, then, passed, self._peak_lr)
        return share
