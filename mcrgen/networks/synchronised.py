"""Batch normalisation over the batches of all processes, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn import functional as collective


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose statistics in training are those of all processes' batches together.

    Several processes then do what one does with the whole batch. PyTorch's own SyncBatchNorm is for GPUs only. With a single
    process, and in evaluation mode, it is ordinary batch normalisation.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2 axes, got {input.ndim}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(B, C, *spatial)``, of equal shape in all processes, over all axes but the second."""
        if not (self.training and distributed.is_available() and distributed.is_initialized()):
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        values = input.float()
        count = values.numel() // values.shape[1] * distributed.get_world_size()
        sums = collective.all_reduce(torch.stack([values.sum(dim=axes), values.square().sum(dim=axes)]))  # type: ignore[no-untyped-call]
        mean = sums[0] / count
        variance = (sums[1] / count - mean.square()).clamp_min(0.0)
        self._remember(mean.detach(), variance.detach() * count / max(1, count - 1))
        shape = (1, -1, *[1] * (input.ndim - 2))
        scale = (variance + self.eps).rsqrt() * self.weight
        normalised: Tensor = values * scale.view(shape) + (self.bias - mean * scale).view(shape)
        return normalised.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def synchronise(module: nn.Module) -> None:
    """Replace every batch normalisation in a module by a synchronised one with the same parameters and buffers."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            twin = SynchronisedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            twin.weight, twin.bias = child.weight, child.bias
            twin.running_mean, twin.running_var = child.running_mean, child.running_var
            twin.num_batches_tracked = child.num_batches_tracked
            twin.train(child.training)
            setattr(module, name, twin)
        else:
            synchronise(child)
