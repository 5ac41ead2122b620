"""Convolution over time for training on a CPU: torch's numbers up to rounding, in about half the time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TAPS = 5
"""Taps of the convolutions that this is made for."""

_MADE, _SEEN = 4, 8
"""Outputs of a tile, and the inputs that they depend on; a tile's inputs are its own block of four and the next."""

_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
"""Where the polynomials are evaluated, infinity being the last; those near 1 lose the fewest digits."""
_ONE = _POINTS.index(1.0)


_NARROWEST = 64
"""Channels below which the products save less than is lost around them."""


def is_fast(x: Tensor, kernel: int, channels: tuple[int, ...]) -> bool:
    """Whether `rectified` should take the place of torch's convolution: where gradients are wanted, on a CPU.

    Estimates are left to torch, whose rounding is finer.

    Args:
        x: input of the encoder.
        kernel: taps.
        channels: of the convolutions.
    """
    return (
        kernel == TAPS
        and min(channels) >= _NARROWEST
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def rectified(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    absent: Tensor,
    noise: Tensor | None,
    *,
    before: int,
    dilation: int,
    slope: float,
    scale: float,
) -> Tensor:
    """ReLU of a convolution over time with zero padding, and dropout: [L b out] from x [L b in].

    Four outputs take 8 products with matrices [in out] instead of 20, by the algorithm of Toom and Cook (as in Lavin
    and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv 1509.09308):

        y = A^T ( (G w) * (B^T x) )         x: a tile's 8 inputs, w: the taps, y: the 4 outputs

    Args:
        x: [L b in].
        weight: [out in TAPS].
        bias: [out].
        absent: indices into the L b steps of those that become 0.
        noise: [L b out], of 0 and 1, by which the output is multiplied; None for no dropout.
        before: how many steps before its own an output sees.
        dilation: steps between taps.
        slope: of the ReLU below 0.
        scale: by which the output is multiplied, too.
    """
    made: Tensor = _Rectified.apply(x, weight, bias, absent, noise, before, dilation, slope, scale)  # type: ignore[no-untyped-call]  # torch has no types for it
    return made


class _Rectified(torch.autograd.Function):
    """See rectified. The gradients read off the output where ReLU, dropout and absence let them through."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        absent: Tensor,
        noise: Tensor | None,
        before: int,
        dilation: int,
        slope: float,
        scale: float,
    ) -> Tensor:
        (steps, b, width), out_dim = x.shape, len(weight)
        a, b_t, g = _matrices(x.dtype)
        count = -(-steps // (_MADE * dilation))
        flat = x.new_empty((count + 1) * _MADE * dilation, b, width)
        flat[:before].zero_()
        flat[before : before + steps] = x
        flat[before + steps :].zero_()
        block = dilation * b * width
        seen = _times(b_t, flat.as_strided((count, _SEEN, block), (_MADE * block, block, 1))).view(_SEEN, -1, width)
        taps = (g @ weight.view(-1, TAPS).T).view(_SEEN, out_dim, width)
        product = torch.bmm(seen, taps.transpose(1, 2))
        product[_ONE] += bias  # what the outputs' polynomial is at 1, every output has once
        a_t = (a.T * scale).expand(count, -1, -1)
        y = _relu_(torch.bmm(a_t, _by_tile(product, count)).view(-1, b, out_dim)[:steps], slope)
        if noise is not None:
            y = torch.mul(y, noise, out=y.new_empty(y.shape))
        y.view(-1, out_dim).index_fill_(0, absent, 0)
        ctx.save_for_backward(seen, taps, y, absent, noise if slope else None)
        ctx.settings = before, dilation, slope, scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        seen, taps, y, absent, noise = ctx.saved_tensors
        before, dilation, slope, scale = ctx.settings
        (steps, b, out_dim), width = y.shape, taps.shape[2]
        a, b_t, g = _matrices(y.dtype)
        count = -(-steps // (_MADE * dilation))
        passed = y.new_empty(count * _MADE * dilation, b, out_dim)
        passed[steps:].zero_()
        if slope:
            passed[:steps] = torch.ops.aten.leaky_relu_backward(grad if noise is None else grad * noise, y, slope, True)
            passed.view(-1, out_dim).index_fill_(0, absent, 0)
        else:  # y is above 0 just where the gradient passes
            torch.ops.aten.threshold_backward(grad, y, 0, grad_input=passed[:steps])
        product = _times(a * scale, passed.view(count, _MADE, -1)).view(_SEEN, -1, out_dim)
        of_taps = torch.bmm(product.transpose(1, 2), seen).view(_SEEN, -1)
        of_weight = (of_taps.T @ g).view(out_dim, width, TAPS)
        of_bias = product[_ONE].sum(0)
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_bias, *(None,) * 6
        of_seen = _by_tile(torch.bmm(product, taps), count)
        flat = y.new_empty((count + 1) * _MADE * dilation, b, width)
        flat[-_MADE * dilation :].zero_()
        own, following = b_t.T.expand(count, -1, -1).split(_MADE, 1)
        shape = (count, _MADE, dilation * b * width)
        torch.bmm(own, of_seen, out=flat[: -_MADE * dilation].view(shape))
        flat[_MADE * dilation :].view(shape).baddbmm_(following, of_seen)
        return flat[before : before + steps], of_weight, of_bias, *(None,) * 6


def joined(hidden: Tensor, skipped: Tensor, absent: Tensor, slope: float) -> Tensor:
    """ReLU of the sum [L b d], 0 in absent steps (indices into the L b); none of the gradients passes there."""
    made: Tensor = _Joined.apply(hidden, skipped, absent, slope)  # type: ignore[no-untyped-call]  # as above
    return made


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, skipped: Tensor, absent: Tensor, slope: float) -> Tensor:
        y = _relu_(hidden + skipped, slope)
        y.view(-1, y.shape[-1]).index_fill_(0, absent, 0)
        ctx.save_for_backward(y, absent)
        ctx.slope = slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, absent = ctx.saved_tensors
        if ctx.slope:
            passed = torch.ops.aten.leaky_relu_backward(grad, y, ctx.slope, True)
            passed.view(-1, y.shape[-1]).index_fill_(0, absent, 0)
        else:
            passed = torch.ops.aten.threshold_backward(grad, y, 0)
        return passed, passed, None, None


def _relu_(x: Tensor, slope: float) -> Tensor:
    return torch.nn.functional.leaky_relu_(x, slope) if slope else torch.relu_(x)


def _times(matrix: Tensor, tiles: Tensor) -> Tensor:
    """Matrix [8 n] times every tile [t n c], as [8 t c]."""
    out = tiles.new_empty(_SEEN, len(tiles), tiles.shape[2])
    torch.bmm(matrix.expand(len(tiles), -1, -1), tiles, out=out.transpose(0, 1))
    return out


def _by_tile(product: Tensor, tiles: int) -> Tensor:
    """[t 8 c] of [8 n c'], where the n rows are those of t tiles, one after the other."""
    return product.view(_SEEN, tiles, -1).transpose(0, 1)


@cache
def _matrices(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A [8 4], B^T [8 8] and G [8 TAPS] of the algorithm."""
    points = np.array(_POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    a, g = np.zeros((_SEEN, _MADE)), np.zeros((_SEEN, TAPS))
    a[:-1], a[-1, -1] = np.vander(points, _MADE, increasing=True), 1
    g[:-1], g[-1, -1] = np.vander(points, TAPS, increasing=True), 1
    g[:-1] /= [[np.prod(point - other)] for point, other in zip(points, others, strict=True)]
    b_t = np.zeros((_SEEN, _SEEN))
    for i, other in enumerate(others):
        b_t[i, :-1] = np.poly(other)[::-1]
    b_t[-1] = np.poly(points)[::-1]
    a_, b_, g_ = (torch.from_numpy(matrix).to(dtype) for matrix in (a, b_t, g))
    return a_, b_, g_
