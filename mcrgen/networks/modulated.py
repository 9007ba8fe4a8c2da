"""A conditional network for inference whose number varies from voxel to voxel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcrgen.networks.folded import InferenceNetwork, Layer


class ModulatedNetwork(InferenceNetwork):
    """An :class:`InferenceNetwork` whose layers scale and shift their channels as tables say for the number at each voxel.

    Every voxel of every layer follows the number at its own place, so that a medium may change within the receptive field, and
    nothing depends on how it is cut into blocks. Where the number is the same everywhere, the scores are those of the folded
    network of that number, less its threshold, up to rounding. Scaling and shifting are done in float32 whatever the
    convolutions compute in: rounded to bfloat16, rows of neighbouring numbers would differ by their rounding more than by the
    numbers.

    Attributes:
        conditions: ``(N,)`` numbers that the tables have rows for, ascending at equal distances.
        factors: ``(layers, N, channels)`` what the convolutions are multiplied by.
        summands: the same shape, what is added then.
        thresholds: ``(N, out_channels)``, taken off the scores.
    """

    conditions: Tensor
    factors: Tensor
    summands: Tensor
    thresholds: Tensor

    def __init__(
        self,
        convolutions: Sequence[nn.Conv3d],
        head: nn.Conv3d,
        slope: float,
        *,
        conditions: Tensor,
        factors: Tensor,
        summands: Tensor,
        thresholds: Tensor,
    ) -> None:
        """Take the layers and the tables over; factors and summands come as ``(N, layers, channels)``."""
        super().__init__(convolutions, head, slope)
        self.register_buffer("conditions", conditions)
        self.register_buffer("factors", factors.transpose(0, 1).contiguous())
        self.register_buffer("summands", summands.transpose(0, 1).contiguous())
        self.register_buffer("thresholds", thresholds)

    def memory(self, planes: int, height: int, width: int) -> int:
        """Bytes that a block takes: those of the layers, and of factors, summands and product of one of them."""
        looked_up = 3 * self.width * torch.float32.itemsize + 2 * torch.int32.itemsize
        return super().memory(planes, height, width) + looked_up * (planes + 2) * height * width

    def rows(self, numbers: Tensor) -> Tensor:
        """The row of the tables that is nearest to each number, the first or the last for those outside, int32."""
        low, high = self.conditions[0], self.conditions[-1]
        place = (numbers.to(low.device) - low) * ((len(self.conditions) - 1) / (high - low))
        return place.round_().clamp_(0, len(self.conditions) - 1).to(torch.int32)

    def slabs(self, values: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Scores, less the thresholds, of a block whose noise and numbers come slab by slab.

        Args:
            values: consecutive pairs of noise ``(1, noise_channels, planes, H + 2h, W + 2h)`` and the numbers of its voxels
                ``(planes, H + 2h, W + 2h)``; the first has the most planes.

        Yields:
            Consecutive slabs ``(1, out_channels, planes, H, W)``, ``2h`` planes fewer in all.
        """
        layers: list[_ModulatedLayer] = []
        for noise, numbers in values:
            if not layers:
                tables = zip(self.convolutions, self.factors, self.summands, strict=True)
                layers = [_ModulatedLayer(conv, self.slope, noise.shape[2], *table) for conv, *table in tables]
            x, rows = noise, self.rows(numbers)
            for layer in layers:
                out = layer.pushed(x, rows)
                if out is None:
                    break
                x, rows = out
            else:
                yield self.scores(x) - F.embedding(rows, self.thresholds).permute(3, 0, 1, 2)


class _ModulatedLayer(Layer):
    """A layer that looks up its channels' factors and summands, and holds the rows of the two planes it holds."""

    def __init__(self, conv: nn.Module, slope: float, planes: int, factors: Tensor, summands: Tensor) -> None:
        super().__init__(conv, slope, planes)
        self._factors = factors
        self._summands = summands
        self._rows: Tensor | None = None

    def pushed(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """The next planes of the output and the rows of their voxels; None as long as there are too few to have one."""
        rows = rows if self._rows is None else torch.cat([self._rows, rows])
        self._rows = rows[-2:].clone()
        y = self.convolved(x)
        if y is None:
            return None
        rows = rows[1:-1, 1:-1, 1:-1].contiguous()
        values, summands = (F.embedding(rows, table).permute(3, 0, 1, 2) for table in (self._factors, self._summands))
        return self.activated(values.mul_(y[0]).add_(summands))[None].to(y.dtype), rows
