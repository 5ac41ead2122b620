"""The pieces that fusions share: time mixing, one iteration of joint cross-attention, and a gate."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

TimeMixing = Literal["window", "relative"]
CorrelationScale = Literal["sqrt_d", "sqrt_d_and_steps"]


class WindowMixing(nn.Module):
    """W_j as the paper has it: one L x L matrix over the steps of a fixed window, at the identity to begin with.

    Shorter inputs use the upper left corner, so that padding a window changes nothing.
    """

    def __init__(self, window: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(window))

    def matrix(self, length: int) -> Tensor:
        """W_j for an input of `length` steps: [length length]."""
        window = self.weight.shape[0]
        if length > window:
            raise ValueError(
                f"window time mixing was built for {window} steps and got {length}: "
                "cut the input into windows or use 'relative'"
            )
        return self.weight[:length, :length]


class RelativeMixing(nn.Module):
    """W_j[s, t] = w[s - t], for any length; offsets beyond the reach share the weight at the reach (Shaw et al. 2018).

    Begins at the identity.
    """

    def __init__(self, reach: int):
        super().__init__()
        self.reach = reach
        weight = torch.zeros(2 * reach + 1)
        weight[reach] = 1.0
        self.weight = nn.Parameter(weight)

    def matrix(self, length: int) -> Tensor:
        """W_j for an input of `length` steps: [length length]."""
        step = torch.arange(length, device=self.weight.device)
        offset = (step[:, None] - step[None, :]).clamp(-self.reach, self.reach)
        return self.weight[offset + self.reach]


def time_mixing(kind: TimeMixing, window: int | None, reach: int) -> WindowMixing | RelativeMixing:
    """The W_j of one modality in one iteration; `window` needs a window length, `relative` a reach in steps."""
    if kind == "relative":
        return RelativeMixing(reach)
    if window is None:
        raise ValueError("window time mixing needs a fixed window length; use time_mixing='relative' for any length")
    return WindowMixing(window)


class JointCrossAttention(nn.Module):
    """One modality's joint cross-attention in one iteration (JCA, arXiv 2203.14779; RJCA, arXiv 2304.07958).

        C = tanh( X^T W_j J / sqrt(d) )     [b d_m d]
        H = ReLU( X W_c C )                 [b L d]
        X_att = X + dropout( H W_h )        [b L d_m]

    In the correlation C, steps where a modality is absent count as zero, in X and in J.

    Args:
        dim: d_m, features of this modality.
        joint_dim: d, features of all modalities together.
        mixing: W_j.
        dropout: on the attended part.
        scale: what C is divided by: sqrt(d), or sqrt(d) and the square root of this modality's present steps.
    """

    def __init__(
        self, dim: int, joint_dim: int, mixing: WindowMixing | RelativeMixing, dropout: float, scale: CorrelationScale
    ):
        super().__init__()
        self.mixing, self.scale = mixing, scale
        self.w_c = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, dim)))
        self.w_h = nn.Parameter(nn.init.xavier_uniform_(torch.empty(joint_dim, dim)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor, joint_masked: Tensor) -> Tensor:
        """X_att [b L d_m] from x [b L d_m], its presence [b L] and the masked joint features [b L d]."""
        x_masked = x * present[..., None]
        mixed = self.mixing.matrix(x.shape[1]) @ joint_masked
        correlation = x_masked.transpose(1, 2) @ mixed / math.sqrt(joint_masked.shape[-1])
        if self.scale == "sqrt_d_and_steps":
            steps = present.sum(1).clamp(min=1).to(x.dtype)
            correlation = correlation / steps.sqrt()[:, None, None]
        hidden = torch.relu(x @ self.w_c @ torch.tanh(correlation))
        return x + self.dropout(hidden @ self.w_h)


class Gate(nn.Module):
    """softmax(x W / tau) over a number of choices, per step (DCA, arXiv 2403.19554, eq. 8 with tau = 0.1)."""

    def __init__(self, dim: int, choices: int, tau: float):
        super().__init__()
        self.tau = tau
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, choices)))

    def forward(self, x: Tensor) -> Tensor:
        """Weights [b L choices] that sum to 1, from x [b L dim]."""
        return torch.softmax(x @ self.w / self.tau, dim=-1)
