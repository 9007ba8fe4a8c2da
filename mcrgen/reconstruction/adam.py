"""Adam inside a box."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mcrgen.errors import InputError, require_positive
from mcrgen.reconstruction._bounds import box


class ProjectedAdam(torch.optim.Adam):
    """Adam (Kingma and Ba, ICLR 2015) whose every step is followed by clamping to ``[low, high]``.

    Where an entry is clamped its first moment is set to zero. The moment is a mean of the gradients that drove the entry
    there; left alone it would go on to press against the bound for some ten steps after the gradient has turned, and the
    entry would stay. From zero the next gradient alone decides: inwards, the entry leaves at once; outwards, it is clamped
    again. The second moment, which only scales the step, is kept.

    Works with stochastic losses, for which :class:`mcrgen.reconstruction.lbfgs.BoundedLBFGS` is not meant.
    """

    def __init__(
        self, params: Iterable[Tensor], *, lr: float, low: float | Tensor, high: float | Tensor, **settings: Any
    ) -> None:
        """Set up Adam.

        Args:
            params: tensors, float32 or float64.
            lr: learning rate, about the largest change of an entry by one step.
            low: lower bounds, a number or a tensor that broadcasts to every parameter; minus infinity for none.
            high: upper bounds likewise.
            settings: further ones of :class:`torch.optim.Adam`.

        Raises:
            InputError: no tensor, a learning rate that is not positive, or bounds that make no box.
        """
        require_positive("lr", lr)
        tensors = list(params)
        if not tensors or not all(isinstance(p, Tensor) for p in tensors):
            raise InputError("params: expected one or more tensors, got none or other things; give what is optimised.")
        self._boxes = [box(p, low, high) for p in tensors]
        super().__init__(tensors, lr=lr, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step, clamp, and return what the closure returned."""
        loss = super().step(closure)
        for param, (low, high) in zip(self.param_groups[0]["params"], self._boxes, strict=True):
            outside = (param < low) | (param > high)
            if "exp_avg" in self.state[param]:
                self.state[param]["exp_avg"].masked_fill_(outside, 0.0)
            param.copy_(torch.clamp(param, low, high))
        return loss
