"""Limited-memory quasi-Newton method with bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mcrgen.errors import InputError, require_positive
from mcrgen.reconstruction._bounds import box
from mcrgen.reconstruction._line_search import Trial, search
from mcrgen.reconstruction._quadratic_model import QuadraticModel, dot, projected_step


class BoundedLBFGS(torch.optim.Optimizer):
    """L-BFGS for one tensor inside a box: few evaluations of a dear loss, everything on the tensor's device.

    One :meth:`step` is one iteration. The compact L-BFGS model of the loss (Byrd, Lu, Nocedal and Zhu, SIAM J. Sci. Comput. 16
    (1995) 1190) is minimised over the entries that are free to move, the result is projected onto the box (Bertsekas, SIAM J.
    Control Optim. 20 (1982) 221), and a line search between here and there finds a point of the weak Wolfe conditions, mostly
    by one evaluation. An entry is not free where it is at a bound, or nearly, and the gradient holds it there. Deviations from
    L-BFGS-B: these entries come from the gradient at the current point instead of the generalised Cauchy point, whose search
    goes breakpoint by breakpoint; the full Newton point is projected instead of shortening the way to it.

    The first direction, and any after the model was found useless, is the projected gradient, scaled so that its full step
    moves no entry by more than ``first_move``.

    The loss must be deterministic, since a step starts from the loss and gradient that the last one ended with. Where it
    changes between steps, because other slices are drawn or weights are annealed, or where the tensor was changed from
    outside, call :meth:`forget` before the next step. Within a step it must not change.

    Memory: ``2 history + 8`` tensors of the parameter's size, about. The state dict holds all of it, as plain tensors and
    numbers: a resumed run repeats an uninterrupted one bit for bit.

    The loss falls from step to step, up to :meth:`forget`. A trial point where it or its slope is not finite is stepped back
    from.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        low: float | Tensor,
        high: float | Tensor,
        history: int = 10,
        first_move: float = 0.01,
        gradient_tolerance: float = 1e-8,
        decrease_tolerance: float = 1e-9,
    ) -> None:
        """Store the settings; a tensor outside the box is clamped at the first step.

        Args:
            params: one tensor, float32 or float64, of any shape.
            low: lower bounds, a number or a tensor that broadcasts to the parameter; minus infinity for none.
            high: upper bounds likewise.
            history: pairs the model is made of. 10 suit most losses; 20 cost twice the memory and rarely save evaluations.
            first_move: largest change of an entry by the first trial; what is here suits grey values from 0 to 1. The line
                search lengthens it where the loss goes on falling.
            gradient_tolerance: converged where ``projected_gradient_norm`` is at most this.
            decrease_tolerance: converged where a step lowers the loss by at most this share of it.

        Raises:
            InputError: not one tensor, or settings outside their ranges.
        """
        tensors = list(params)
        if len(tensors) != 1 or not isinstance(tensors[0], Tensor):
            raise InputError(f"params: expected one tensor, got {len(tensors)} entries; join what is optimised in one tensor.")
        if history < 1:
            raise InputError(f"history: expected 1 or more, got {history}; 10 suit most losses.")
        require_positive("first_move", first_move)
        for name, value in (("gradient_tolerance", gradient_tolerance), ("decrease_tolerance", decrease_tolerance)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name}: expected 0 or more, got {value}; 0 never stops early.")
        lower, upper = (b if b.ndim == 0 else b.expand(tensors[0].shape).flatten() for b in box(tensors[0], low, high))
        self._bounds = lower, upper
        self.history = history
        self.first_move = first_move
        self.gradient_tolerance = gradient_tolerance
        self.decrease_tolerance = decrease_tolerance
        super().__init__(tensors, {})

    @property
    def evaluations(self) -> int:
        """Calls of closures so far."""
        return int(self._memory.get("evaluations", 0))

    @property
    def converged(self) -> bool:
        """Whether the last step met a tolerance, or found no lower loss at all."""
        return bool(self._memory.get("converged", False))

    @property
    def projected_gradient_norm(self) -> float:
        """Largest |P(x - g) - x|, zero at a minimum in the box; infinite before the first step and after :meth:`forget`."""
        return float(self._memory.get("norm", math.inf))

    def forget(self) -> None:
        """Drop the model and the last loss and gradient; the count of evaluations stays."""
        evaluations = self.evaluations
        self._memory.clear()
        self._memory["evaluations"] = evaluations

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> float:  # type: ignore[override]
        """Do one iteration and return the loss at the point it ends at.

        Args:
            closure: zeroes the gradient, evaluates the loss, calls backward and returns the loss.

        Raises:
            InputError: no closure, one that computes no gradient, or a loss that is not finite at the starting point.
        """
        if closure is None:
            raise InputError("closure: expected a function that evaluates the loss, got None; call step(closure).")
        memory = self._memory
        if "gradient" not in memory:
            self._begin(closure)
        point, gradient, loss = self._point(), memory["gradient"], memory["loss"]
        if self.projected_gradient_norm <= self.gradient_tolerance:
            memory["converged"] = True
            return float(loss)
        best = self._search(closure, point, gradient)
        if best is None:
            self._put(point)
            memory["converged"] = True
            return float(loss)
        self._accept(best, point)
        return best.loss

    @property
    def _param(self) -> Tensor:
        param: Tensor = self.param_groups[0]["params"][0]
        return param

    @property
    def _memory(self) -> dict[str, Any]:
        memory: dict[str, Any] = self.state[self._param]
        return memory

    def _point(self) -> Tensor:
        return self._param.detach().flatten().clone()

    def _put(self, point: Tensor) -> None:
        self._param.copy_(point.view(self._param.shape))

    def _clamp(self, point: Tensor) -> Tensor:
        low, high = self._bounds
        return point.clamp(low, high)

    def _norm(self, point: Tensor, gradient: Tensor) -> float:
        return float(self._descent(point, gradient, 1.0).abs().max())

    def _descent(self, point: Tensor, gradient: Tensor, rate: float) -> Tensor:
        """The step of projected gradient descent."""
        return self._clamp(point - rate * gradient) - point

    def _begin(self, closure: Callable[[], Any]) -> None:
        self._put(self._clamp(self._point()))
        loss, gradient = self._evaluate(closure)
        if not (math.isfinite(loss) and bool(gradient.isfinite().all())):
            raise InputError(
                f"closure: expected a finite loss and gradient at the start, got a loss of {loss}; start elsewhere."
            )
        norm = self._norm(self._point(), gradient)
        self._memory.update(loss=loss, gradient=gradient, norm=norm, order=[], converged=False)

    def _evaluate(self, closure: Callable[[], Any]) -> tuple[float, Tensor]:
        with torch.enable_grad():
            loss = closure()
        self._memory["evaluations"] = self.evaluations + 1
        if self._param.grad is None:
            raise InputError("closure: expected it to compute the gradient of the tensor, got none; call backward in it.")
        return float(loss.detach() if isinstance(loss, Tensor) else loss), self._param.grad.detach().flatten().clone()

    def _search(self, closure: Callable[[], Any], point: Tensor, gradient: Tensor) -> Trial | None:
        """Search along the model's direction and, where that fails, along the projected gradient."""
        memory = self._memory
        if memory["order"]:
            free = self._free(point, gradient)
            model = QuadraticModel(memory["pairs"][: len(memory["order"])], memory["order"])
            step = projected_step(model, point, gradient, free, self._clamp)
            best = None if step is None else self._along(step, closure, point, gradient)
            if best is not None:
                return best
            memory["order"] = []
        steepest = float(self._descent(point, gradient, 1.0).ne(0).mul(gradient).abs().max())
        return self._along(self._descent(point, gradient, self.first_move / steepest), closure, point, gradient)

    def _free(self, point: Tensor, gradient: Tensor) -> Tensor:
        """1 where an entry may move, 0 where it is at a bound, or nearly, and held there (Bertsekas 1982)."""
        low, high = self._bounds
        near = min(math.sqrt(torch.finfo(point.dtype).eps), self.projected_gradient_norm)
        held: Tensor = ((point - low <= near) & (gradient > 0)) | ((high - point <= near) & (gradient < 0))
        return held.logical_not().to(point)

    def _along(self, step: Tensor, closure: Callable[[], Any], point: Tensor, gradient: Tensor) -> Trial | None:
        slope = dot(gradient, step)
        if not slope < 0:
            return None

        def trial(share: float) -> Trial:
            self._put(self._clamp(point + share * step))
            loss, found = self._evaluate(closure)
            return Trial(share, loss, dot(found, step), found)

        best = search(trial, Trial(0.0, self._memory["loss"], slope, gradient), self._reach(point, step))
        if best is not None:
            self._put(self._clamp(point + best.step * step))
        return best

    def _reach(self, point: Tensor, step: Tensor) -> float:
        """How many times the step fits into the box: 1 or more."""
        low, high = self._bounds
        room = torch.where(step > 0, high - point, point - low) / step.abs()
        return max(1.0, float(torch.where(step == 0, math.inf, room).min()))

    def _accept(self, best: Trial, before: Tensor) -> None:
        memory = self._memory
        fall = memory["loss"] - best.loss
        step, change = self._point() - before, best.gradient - memory["gradient"]
        curvature, size = dot(step, change), dot(change, change)
        if curvature > torch.finfo(step.dtype).eps * size:
            self._remember(step, change)
        memory.update(loss=best.loss, gradient=best.gradient, norm=self._norm(self._point(), best.gradient))
        small = fall <= self.decrease_tolerance * max(abs(best.loss), abs(best.loss + fall))
        memory["converged"] = small or self.projected_gradient_norm <= self.gradient_tolerance

    def _remember(self, step: Tensor, change: Tensor) -> None:
        """Put a pair in the place of the oldest."""
        memory = self._memory
        if "pairs" not in memory:
            memory["pairs"] = step.new_zeros(self.history, 2, step.numel())
        order: list[int] = memory["order"]
        place = len(order) if len(order) < self.history else order[0]
        memory["pairs"][place, 0], memory["pairs"][place, 1] = step, change
        memory["order"] = [*(order if len(order) < self.history else order[1:]), place]
