"""Unpadded convolutions for inference, computed a few planes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLAB_BYTES = 30 << 20  # just under what malloc maps anew, and has zeroed by the kernel, at every call
_GPU_SLAB_BYTES = 256 << 20  # millions of voxels, enough to fill a GPU


class InferenceNetwork(nn.Module):
    """A chain of unpadded 3x3x3 convolutions with leaky ReLUs and a final 1x1x1 convolution.

    It is computed slab by slab along z, and every layer keeps the two planes of its input that its next output needs too.
    So no plane is computed twice within a block, whatever is alive stays in the processor's cache, and memory grows with the
    cross-section of a block only. The result is that of the layers applied to the whole block.

    Attributes:
        convolutions: the 3x3x3 convolutions, in any data type.
        head: the 1x1x1 convolution, in float32.
        slope: of the leaky ReLUs for negative values.
        width: channels of the widest layer.
    """

    def __init__(self, convolutions: Sequence[nn.Conv3d], head: nn.Conv3d, slope: float) -> None:
        """Take the layers over."""
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.head = head
        self.slope = slope
        self.width = max(conv.out_channels for conv in convolutions)

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the noise and of the 3x3x3 convolutions."""
        return next(self.convolutions.parameters()).dtype

    def planes(self, height: int, width: int) -> int:
        """How many planes of noise of that size are best given at once: those that fit the cache, or fill a GPU."""
        size = _GPU_SLAB_BYTES if self.head.weight.is_cuda else _SLAB_BYTES
        return max(2, size // (height * width * self.width * self.dtype.itemsize))

    def memory(self, planes: int, height: int, width: int) -> int:
        """Bytes that a block takes whose noise comes in slabs of that size: every layer's input, and an output, and a tenth."""
        return int(1.1 * (len(self.convolutions) + 2) * (planes + 2) * height * width * self.width * self.dtype.itemsize)

    def scores(self, x: Tensor) -> Tensor:
        """What the final convolution makes of the last layer's output; plane by plane where that has to be widened."""
        if x.dtype == torch.float32:
            scores: Tensor = self.head(x)
            return scores
        return torch.cat([self.head(plane.float()) for plane in x.split(1, dim=2)], dim=2)  # type: ignore[no-untyped-call]


class FoldedNetwork(InferenceNetwork):
    """An :class:`InferenceNetwork` with everything but the leaky ReLUs folded into its convolutions."""

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise ``(B, noise_channels, D + 2h, H + 2h, W + 2h)`` to scores ``(B, out_channels, D, H, W)``, float32."""
        return torch.cat(list(self.slabs(noise.split(self.planes(*noise.shape[3:]), dim=2))), dim=2)  # type: ignore[no-untyped-call]

    def slabs(self, noise: Iterable[Tensor]) -> Iterator[Tensor]:
        """Scores of a block whose noise comes slab by slab.

        Args:
            noise: consecutive slabs ``(B, noise_channels, planes, H + 2h, W + 2h)``; the first has the most planes.

        Yields:
            Consecutive slabs ``(B, out_channels, planes, H, W)`` of the scores, ``2h`` planes fewer in all.
        """
        layers: list[Layer] = []
        for slab in noise:
            layers = layers or [Layer(conv, self.slope, slab.shape[2]) for conv in self.convolutions]
            x: Tensor | None = slab
            for layer in layers:
                x = None if x is None else layer(x)
            if x is not None:
                yield self.scores(x)


class Layer:
    """One convolution, its activation, and the last two planes of what it was given."""

    def __init__(self, conv: nn.Module, slope: float, planes: int) -> None:
        """Start without input; ``planes`` is the most that is given at once."""
        self._conv = conv
        self._slope = slope
        self._planes = planes
        self._input: Tensor | None = None
        self._held = 0

    def __call__(self, x: Tensor) -> Tensor | None:
        """The next planes of the output; None as long as there are too few to have one."""
        y = self.convolved(x)
        return None if y is None else self.activated(y)

    def activated(self, y: Tensor) -> Tensor:
        """The leaky ReLU, in place."""
        return F.leaky_relu(y, self._slope, inplace=True)

    def convolved(self, x: Tensor) -> Tensor | None:
        """The next planes before the activation."""
        if self._input is None:
            b, c, _, h, w = x.shape
            self._input = x.new_empty((b, self._planes + 2, h, w, c)).permute(0, 4, 1, 2, 3)  # channels last
        count = self._held + x.shape[2]
        self._input[:, :, self._held : count] = x
        y: Tensor | None = self._conv(self._input[:, :, :count]) if count > 2 else None
        self._held = min(count, 2)
        self._input[:, :, : self._held] = self._input[:, :, count - self._held : count].clone()
        return y
