"""Layers that follow a number: scale and shift of their channels as its functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HIDDEN = 32


class Conditioning(nn.Module):
    """Scale and shift of every channel of every layer as smooth functions of one number.

    Feature-wise linear modulation (FiLM; Perez, Strub, de Vries, Dumoulin and Courville, AAAI 2018): a perceptron with one
    hidden layer maps the number, brought from its range to [-1, 1], to a factor and a summand per channel. It starts as the
    identity for every number.

    Attributes:
        low: lower end of the range.
        high: upper end.
    """

    def __init__(self, low: float, high: float, *, layers: int, channels: int) -> None:
        """Build the perceptron for a range of the number, and so many layers of so many channels."""
        super().__init__()
        self.low = low
        self.high = high
        self._shape = (layers, 2, channels)
        self.hidden = nn.Linear(1, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, layers * 2 * channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Map numbers of any shape ``S`` to ``(*S, layers, 2, channels)``: factors and summands, float32."""
        with torch.autocast(values.device.type, enabled=False):
            scaled = (2.0 * values.float() - (self.low + self.high)) / (self.high - self.low)
            raw = self.out(nn.functional.silu(self.hidden(scaled[..., None]))).unflatten(-1, self._shape)
        factor, summand = raw.unbind(dim=-2)
        return torch.stack([1.0 + factor, summand], dim=-2)
