"""The quadratic model of a limited-memory quasi-Newton method, in compact form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 1 << 16
DECREASE = 1e-4
MOST_HALVINGS = 10


class QuadraticModel:
    """BFGS approximation of a Hessian, B = theta 1 - W^T M^-1 W, from the latest steps and changes of the gradient.

    W has the rows y_1 .. y_k, theta s_1 .. theta s_k, and theta = y_k.y_k / s_k.y_k (Byrd, Lu, Nocedal and Zhu, SIAM J. Sci.
    Comput. 16 (1995) 1190, section 3; M here is the inverse of theirs). Only M and what is as small is made: W stays where it
    is, as the pairs. Inner products over voxels are taken chunk by chunk and added in float64, so that pairs in float32 serve
    for 10^7 voxels.
    """

    def __init__(self, pairs: Tensor, order: list[int]) -> None:
        """Set up the small matrices.

        Args:
            pairs: ``(k, 2, n)`` steps s and changes y of the gradient.
            order: places of the pairs in ``pairs``, oldest first.
        """
        self.rows = pairs.view(-1, pairs.shape[-1])
        self.order = [2 * i + 1 for i in order] + [2 * i for i in order]
        products = _products(self.rows, self.rows)[self.order][:, self.order]
        k = len(order)
        sy, newest = products[k:, :k], k - 1
        self.theta = float(products[newest, newest] / sy[newest, newest])
        self.scale = torch.ones(2 * k, dtype=torch.float64)
        self.scale[k:] = self.theta
        older = sy.tril(-1)
        self.middle = torch.cat(
            [torch.cat([-sy.diag().diag(), older.T], 1), torch.cat([older, self.theta * products[k:, k:]], 1)]
        )

    def newton_step(self, gradient: Tensor, free: Tensor) -> Tensor:
        """Return the step to the model's minimum over the free entries, the others taking -gradient / theta.

        By the Sherman-Morrison-Woodbury formula (same paper, section 5).

        Args:
            gradient: ``(n,)``.
            free: ``(n,)``, 1 for the free entries and 0 for the others.
        """
        gram = _products(self.rows, self.rows, free)[self.order][:, self.order] * torch.outer(self.scale, self.scale)
        weights = torch.linalg.solve_ex(self.middle - gram / self.theta, self._times(gradient * free))[0]
        rows = torch.empty_like(weights)
        rows[self.order] = weights * self.scale / self.theta
        with torch.autocast(gradient.device.type, enabled=False):  # bfloat16 would spoil the direction
            correction = torch.mv(self.rows.T, rows.to(self.rows))
        return correction.mul_(free).add_(gradient).div_(-self.theta)

    def change(self, step: Tensor, slope: float) -> float:
        """Change of the loss that the model expects of a step ``(n,)`` along which the loss has the derivative ``slope``."""
        along = self._times(step)
        bend = self.theta * dot(step, step) - float(along @ torch.linalg.solve_ex(self.middle, along)[0])
        return slope + 0.5 * bend

    def _times(self, vector: Tensor) -> Tensor:
        """W vector."""
        return _products(self.rows, vector[None])[self.order, 0] * self.scale


def projected_step(
    model: QuadraticModel, point: Tensor, gradient: Tensor, free: Tensor, project: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Return a step inside the box that lowers the model, or None if rounding leaves none.

    The minimum of the model over the free entries, projected onto the box, and drawn back along the bent path of projections
    until the model falls in proportion to the slope (Bertsekas, SIAM J. Control Optim. 20 (1982) 221). No
    evaluation of the loss is spent on this.
    """
    newton = model.newton_step(gradient, free)
    share = 1.0
    for _ in range(MOST_HALVINGS):
        step = project(point + share * newton).sub_(point)
        slope = dot(gradient, step)
        if slope < 0 and model.change(step, slope) <= DECREASE * slope:
            return step
        share *= 0.5
    return None


def dot(a: Tensor, b: Tensor) -> float:
    """Inner product, added pairwise: a plain loop over 10^7 float32 would lose three digits."""
    return float((a * b).sum())


def _products(rows: Tensor, columns: Tensor, weights: Tensor | None = None) -> Tensor:
    """``rows (r, n) diag(weights) columns (c, n)^T`` as float64 on the host."""
    # float64 is some five times slower on a CPU; on a GPU, float32 products may be set to be rounded to TF32
    kind = torch.float64 if rows.is_cuda else rows.dtype
    parts = []
    with torch.autocast(rows.device.type, enabled=False):
        for start in range(0, rows.shape[1], CHUNK):
            piece = slice(start, start + CHUNK)
            right = columns[:, piece] if weights is None else columns[:, piece] * weights[piece]
            parts.append(rows[:, piece].to(kind) @ right.to(kind).T)
    return torch.stack(parts).cpu().double().sum(dim=0)
