"""Compiled kernels of the gradient of the spectral three-point correlation: those of the correlation transposed."""

from __future__ import annotations

import numpy as np

from mcrgen.descriptors._register_tiles import TILE_ROWS, complex_tile, real_tile
from mcrgen.descriptors._three_point_forward import add_transpose, left_factors
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
def _read(plan: Plan, first: int, upstream: Array, d: Array) -> None:
    """The transpose of :func:`_write`, ``(j, cosine or sine, i, a, b)``."""
    limit, span = plan.limit, 2 * plan.limit - 1
    block, step = block_size(plan), coefficient_count(plan)
    odd = plan.dxs * block
    nothing = np.zeros(len(upstream), d.dtype)
    d[:] = 0
    for a in range(min(LAGS_AT_A_TIME, limit - first)):
        for i in range(limit):
            right = (first + a) * span + i
            left = right - 2 * i
            after = upstream[right]
            before = upstream[left] if left >= 0 and i > 0 else nothing
            for j in range(span):
                at = j * step + i * block + a * plan.dys
                even, uneven = d[at : at + limit], d[odd + at : odd + at + limit]
                for b in range(1 if j < limit - 1 else 0, limit):
                    column = b * span - limit + 1 + j
                    even[b] = after[column] + before[column]
                    uneven[b] = after[column] - before[column]


@compiled
def _to_k2(plan: Plan, d: Array, q: Array) -> None:
    """The transpose of :func:`_over_k2`."""
    spans, step, count = plan.spans, coefficient_count(plan), 2 * plan.limit - 1
    for n in range(0, 2 * plan.dxs * block_size(plan), len(plan.lanes)):
        for k in range(0, len(q) // step, TILE_ROWS):
            real_tile(plan.lanes, plan.waves, k * spans, spans, 1, d, n, step, q, k * step + n, step, count)


@compiled
def _to_k1(plan: Plan, k2: int, q: Array, e: Array) -> None:
    """The transpose of :func:`_over_k1`."""
    block, part = block_size(plan), len(e) // 4
    for reim in range(2):
        at = (2 * k2 + reim) * coefficient_count(plan)
        for k in range(0, k2 + 1, TILE_ROWS):
            for n in range(0, block, len(plan.lanes)):
                even, odd = reim * part + k * block + n, (2 + reim) * part + k * block + n
                s = at + plan.dxs * block + n
                real_tile(plan.lanes, plan.cosines, k * plan.dxs, plan.dxs, 1, q, at + n, block, e, even, block, plan.limit)
                real_tile(plan.lanes, plan.sines, k * plan.dxs, plan.dxs, 1, q, s, block, e, odd, block, plan.limit)


@compiled
def _product_gradient(plan: Plan, k1: int, k2: int, e: Array, re: Array, im: Array) -> None:
    """The transpose of :func:`_even_and_odd`, conjugated: the gradients of the products of k1 and -k1."""
    block = block_size(plan)
    part, at = len(e) // 4, k1 * block
    e_re, e_im = e[at : at + block], e[part + at : part + at + block]
    o_re, o_im = e[2 * part + at : 2 * part + at + block], e[3 * part + at : 3 * part + at + block]
    to = 2 * k1 * block
    p_re, p_im = re[to : to + block], im[to : to + block]
    m_re, m_im = re[to + block : to + 2 * block], im[to + block : to + 2 * block]
    for n in range(block):
        p_re[n] = e_re[n] + o_im[n]
        p_im[n] = o_re[n] - e_im[n]
        m_re[n] = e_re[n] - o_im[n]
        m_im[n] = -o_re[n] - e_im[n]
    if k1 == k2:
        for values in (p_re, p_im, m_re, m_im):
            for n in range(block):
                values[n] *= values.dtype.type(0.5)


@compiled
def _factor_gradients(
    plan: Plan, re: Array, im: Array, first: int, k1: int, k2: int, c_re: Array, c_im: Array, out_re: Array, out_im: Array
) -> None:
    """The transpose of :func:`left_factors`, for conjugate gradients ``c`` of its result, added to ``out``."""
    height = plan.height
    plus, minus = (k1 + k2) % plan.width * plan.pitch, (k2 - k1) * plan.pitch
    p_re, p_im = re[plus : plus + height], im[plus : plus + height]
    m_re, m_im = re[minus : minus + height], im[minus : minus + height]
    gp_re, gp_im = out_re[plus : plus + height], out_im[plus : plus + height]
    gm_re, gm_im = out_re[minus : minus + height], out_im[minus : minus + height]
    for a in range(LAGS_AT_A_TIME):
        shifted = k1 * plan.pitch + first + a
        x_re, x_im = re[shifted : shifted + height], im[shifted : shifted + height]
        g_re, g_im = out_re[shifted : shifted + height], out_im[shifted : shifted + height]
        here, there = a * plan.rows, (LAGS_AT_A_TIME + a) * plan.rows
        u_re, u_im = c_re[here : here + height], c_im[here : here + height]
        v_re, v_im = c_re[there : there + height], c_im[there : there + height]
        for y in range(height):
            g_re[y] += u_re[y] * p_re[y] + u_im[y] * p_im[y] + v_re[y] * m_re[y] + v_im[y] * m_im[y]
            g_im[y] += u_re[y] * p_im[y] - u_im[y] * p_re[y] + v_im[y] * m_re[y] - v_re[y] * m_im[y]
        for y in range(height):
            gp_re[y] += u_re[y] * x_re[y] - u_im[y] * x_im[y]
            gp_im[y] += u_re[y] * x_im[y] + u_im[y] * x_re[y]
        for y in range(height):
            gm_re[y] += v_re[y] * x_re[y] + v_im[y] * x_im[y]
            gm_im[y] += v_im[y] * x_re[y] - v_re[y] * x_im[y]


@compiled
def _right_gradient(plan: Plan, k2: int, work: Workspace, out_re: Array, out_im: Array) -> None:
    """The gradient with respect to X(k2) as the second point, of all k1 together, added to ``out``."""
    limit, dys = plan.limit, plan.dys
    for y in range(0, plan.height, TILE_ROWS):
        for b in range(0, plan.dys, len(plan.lanes)):
            complex_tile(
                plan.lanes, work.m_re, work.m_im, y, 1, plan.rows, work.c_re, work.c_im, b, dys,
                work.p_re, work.p_im, b, dys, TILE_ROWS * (k2 + 1),
            )  # fmt: skip
        for r in range(min(TILE_ROWS, plan.height - y)):
            at, to = r * dys, k2 * plan.pitch + y + r
            p_re, p_im = work.p_re[at : at + limit], work.p_im[at : at + limit]
            g_re, g_im = out_re[to : to + limit], out_im[to : to + limit]
            for b in range(limit):
                g_re[b] += p_re[b]
                g_im[b] -= p_im[b]


@compiled
def add_slice_gradient(plan: Plan, work: Workspace, re: Array, im: Array, out_re: Array, out_im: Array) -> None:
    """Add the gradient with respect to the spectra of one slice to ``out``, given that of its S3 in ``work``."""
    left, products = TILE_ROWS * plan.rows, 2 * block_size(plan)
    add_transpose(work.s3)
    for first in range(0, plan.limit, LAGS_AT_A_TIME):
        _read(plan, first, work.s3, work.d)
        _to_k2(plan, work.d, work.q)
        for k2 in range(plan.width // 2 + 1):
            _to_k1(plan, k2, work.q, work.e)
            for k1 in range(k2 + 1):
                _product_gradient(plan, k1, k2, work.e, work.c_re, work.c_im)
                left_factors(plan, re, im, first, k1, k2, work.m_re[k1 * left :], work.m_im[k1 * left :])
                for y in range(0, plan.height, len(plan.lanes)):
                    complex_tile(
                        plan.lanes, work.c_re, work.c_im, k1 * products, plan.dys, 1, re, im, k2 * plan.pitch + y, 1,
                        work.u_re, work.u_im, y, plan.rows, plan.limit,
                    )  # fmt: skip
                _factor_gradients(plan, re, im, first, k1, k2, work.u_re, work.u_im, out_re, out_im)
            _right_gradient(plan, k2, work, out_re, out_im)


@compiled
def add_gradient(plan: Plan, re: Array, im: Array, upstream: Array, out_re: Array, out_im: Array) -> None:
    """Add the gradients ``(K, W pitch)`` of the spectra to ``out``, given those ``(K, N, N)`` of S3."""
    work = workspace(plan)
    for n in range(len(re)):
        work.s3[:] = upstream[n]
        add_slice_gradient(plan, work, re[n], im[n], out_re[n], out_im[n])
