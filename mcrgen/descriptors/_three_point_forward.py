"""Compiled kernels of the spectral three-point correlation: one thread works a slice off in blocks that stay in its cache.

With X_y(k) the Fourier transform of row y and b, j the lags dy, dx of the second point, a, i those of the first::

    S(a, i; b, j) = sum over k1, k2 of P(a, k1; b, k2) e(k1 i + k2 j),   e(m) = exp(2 pi i m / W),
    P(a, k1; b, k2) = sum over y of conj(X_y(k1 + k2)) X_{y + a}(k1) X_{y + b}(k2),

which is a matrix product over y for each pair (k1, k2). Exchanging the points and conjugation leave 0 <= |k1| <= k2 <= W / 2, a
quarter of the pairs: S = D + D^T, D = sum over k2 of Re[e(k2 j) (sum over k1 >= 0 of cos(k1 i) E + sin(k1 i) O)] with
E = P(k1) + P(-k1) and O = i (P(k1) - P(-k1)). Some lags a are worked off at a time: with both signs of k1, the rows of a tile.
"""

from __future__ import annotations

from mcrgen.descriptors._register_tiles import TILE_ROWS, complex_tile, real_tile
from mcrgen.descriptors._three_point_plan import (
    LAGS_AT_A_TIME,
    Array,
    Plan,
    Workspace,
    block_size,
    coefficient_count,
    compiled,
    workspace,
)


@compiled
def left_factors(plan: Plan, re: Array, im: Array, first: int, k1: int, k2: int, out_re: Array, out_im: Array) -> None:
    """conj(X_y(k1 + k2)) X_{y + a}(k1) for the lags a from ``first``, then the same of -k1, ``(sign, a, rows)``."""
    height = plan.height  # views, because numba does not vectorise where an index might be negative
    plus, minus = (k1 + k2) % plan.width * plan.pitch, (k2 - k1) * plan.pitch
    p_re, p_im = re[plus : plus + height], im[plus : plus + height]
    m_re, m_im = re[minus : minus + height], im[minus : minus + height]
    for a in range(LAGS_AT_A_TIME):
        shifted = k1 * plan.pitch + first + a
        x_re, x_im = re[shifted : shifted + height], im[shifted : shifted + height]
        here, there = a * plan.rows, (LAGS_AT_A_TIME + a) * plan.rows
        u_re, u_im = out_re[here : here + height], out_im[here : here + height]
        v_re, v_im = out_re[there : there + height], out_im[there : there + height]
        for y in range(height):
            u_re[y] = p_re[y] * x_re[y] + p_im[y] * x_im[y]
            u_im[y] = p_re[y] * x_im[y] - p_im[y] * x_re[y]
        for y in range(height):
            v_re[y] = m_re[y] * x_re[y] - m_im[y] * x_im[y]
            v_im[y] = -(m_re[y] * x_im[y] + m_im[y] * x_re[y])


@compiled
def _even_and_odd(plan: Plan, k1: int, k2: int, re: Array, im: Array, e: Array) -> None:
    """E and O from the products of k1 and -k1, into the real and imaginary parts ``(4, wavenumbers, block)`` of ``e``."""
    block = block_size(plan)
    part, at = len(e) // 4, k1 * block
    e_re, e_im = e[at : at + block], e[part + at : part + at + block]
    o_re, o_im = e[2 * part + at : 2 * part + at + block], e[3 * part + at : 3 * part + at + block]
    p_re, p_im, m_re, m_im = re[:block], im[:block], re[block : 2 * block], im[block : 2 * block]
    for n in range(block):
        e_re[n] = p_re[n] + m_re[n]
        e_im[n] = p_im[n] + m_im[n]
        o_re[n] = m_im[n] - p_im[n]
        o_im[n] = p_re[n] - m_re[n]
    if k1 == k2:  # exchanging the points gives the same pair again
        for values in (e_re, e_im, o_re, o_im):
            for n in range(block):
                values[n] *= values.dtype.type(0.5)


@compiled
def _over_k1(plan: Plan, k2: int, e: Array, q: Array) -> None:
    """Sums over k1 of cos(k1 i) E and sin(k1 i) O."""
    block, part = block_size(plan), len(e) // 4
    for reim in range(2):
        to = (2 * k2 + reim) * coefficient_count(plan)
        for i in range(0, plan.dxs, TILE_ROWS):
            for n in range(0, block, len(plan.lanes)):
                c, s = to + i * block + n, to + (plan.dxs + i) * block + n
                even, odd = reim * part + n, (2 + reim) * part + n
                real_tile(plan.lanes, plan.cosines, i, 1, plan.dxs, e, even, block, q, c, block, k2 + 1)
                real_tile(plan.lanes, plan.sines, i, 1, plan.dxs, e, odd, block, q, s, block, k2 + 1)


@compiled
def _over_k2(plan: Plan, q: Array, d: Array) -> None:
    """D without the sum over +i and -i, ``(cosine or sine, i, a, b, j)``."""
    spans, step, count = plan.spans, coefficient_count(plan), 2 * (plan.width // 2 + 1)
    for r in range(0, 2 * plan.dxs * block_size(plan), TILE_ROWS):
        for j in range(0, spans, len(plan.lanes)):
            real_tile(plan.lanes, q, r, 1, step, plan.waves, j, spans, d, r * spans + j, spans, count)


@compiled
def _write(plan: Plan, first: int, d: Array, out: Array) -> None:
    """D at the lags of the half window, its rows from a = ``first``."""
    limit, span = plan.limit, 2 * plan.limit - 1
    odd = plan.dxs * block_size(plan) * plan.spans
    for a in range(min(LAGS_AT_A_TIME, limit - first)):
        for i in range(limit):
            right = (first + a) * span + i
            left = right - 2 * i
            for b in range(limit):
                skipped = limit - 1 if b == 0 else 0
                count = span - skipped
                column = b * span - limit + 1 + skipped
                at = ((i * LAGS_AT_A_TIME + a) * plan.dys + b) * plan.spans + skipped
                even, uneven = d[at : at + count], d[odd + at : odd + at + count]
                after = out[right, column : column + count]
                for j in range(count):
                    after[j] = even[j] + uneven[j]
                if left >= 0:
                    before = out[left, column : column + count]
                    for j in range(count):
                        before[j] = even[j] - uneven[j]


@compiled
def add_transpose(matrix: Array) -> None:
    """In place, block by block for the cache."""
    size, step = len(matrix), 16
    for top in range(0, size, step):
        for left in range(top, size, step):
            for p in range(top, min(top + step, size)):
                for q in range(max(left, p), min(left + step, size)):
                    total = matrix[p, q] + matrix[q, p]
                    matrix[p, q] = total
                    matrix[q, p] = total


@compiled
def correlate_slice(plan: Plan, work: Workspace, re: Array, im: Array, out: Array) -> None:
    """S3 of one slice."""
    for first in range(0, plan.limit, LAGS_AT_A_TIME):
        for k2 in range(plan.width // 2 + 1):
            for k1 in range(k2 + 1):
                left_factors(plan, re, im, first, k1, k2, work.m_re, work.m_im)
                for b in range(0, plan.dys, len(plan.lanes)):
                    complex_tile(
                        plan.lanes, work.m_re, work.m_im, 0, plan.rows, 1, re, im, k2 * plan.pitch + b, 1,
                        work.p_re, work.p_im, b, plan.dys, plan.height,
                    )  # fmt: skip
                _even_and_odd(plan, k1, k2, work.p_re, work.p_im, work.e)
            _over_k1(plan, k2, work.e, work.q)
        _over_k2(plan, work.q, work.d)
        _write(plan, first, work.d, out)
    add_transpose(out)


@compiled
def correlate(plan: Plan, re: Array, im: Array, out: Array) -> None:
    """S3 ``(K, N, N)`` of spectra ``(K, W pitch)``."""
    work = workspace(plan)
    for n in range(len(re)):
        correlate_slice(plan, work, re[n], im[n], out[n])
