"""Building blocks of several fusions: time mixing, joint cross-attention, gate, cross-attention, masked attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from avgate.core.errors import UsageError
from avgate.models.fusions.base import joint

TimeMixing = Literal["window", "relative"]
CorrelationScale = Literal["sqrt_d", "sqrt_d_and_steps"]


class WindowMixing(nn.Module):
    """W_j as in the paper: one L x L matrix over the steps of a fixed window, initialised at the identity.

    Shorter inputs use its upper left corner, so padding a window changes nothing.
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
        # Not a slice: it is contiguous for some lengths only, and torch.export would tie the program to these.
        step = torch.arange(length, device=self.weight.device)
        return self.weight.index_select(0, step).index_select(1, step)


class RelativeMixing(nn.Module):
    """W_j[s, t] = w[s - t], for any length; offsets beyond the reach use the weight at the reach (Shaw et al. 2018).

    The parameter holds w[-reach] ... w[reach] in this order; it starts as the identity (w[0] = 1, all others 0).
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
    """W_j of one modality in one iteration; kind `window` needs a window length, `relative` a reach in steps."""
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

    In the correlation C, X and J are zero at steps where a modality is absent.

    Args:
        dim: d_m, features of this modality.
        joint_dim: d, features of all modalities together.
        mixing: W_j.
        dropout: on the attended part.
        scale: divisor inside the tanh: sqrt(d), or sqrt(d n) with n the number of this modality's present steps (C is
            zero if there are none).
    """

    def __init__(
        self, dim: int, joint_dim: int, mixing: WindowMixing | RelativeMixing, dropout: float, scale: CorrelationScale
    ):
        super().__init__()
        self.mixing, self.scale = mixing, scale
        self.w_c = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, dim)))
        # H sums d terms of one sign: with Xavier's usual gain, H W_h would drown X and saturate the head.
        self.w_h = nn.Parameter(nn.init.xavier_uniform_(torch.empty(joint_dim, dim), gain=0.1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor, joint_masked: Tensor) -> Tensor:
        """X_att [b L d_m] from x [b L d_m], its presence [b L] and the masked joint features [b L d]."""
        x_masked = x * present[..., None]
        # X^T W_j first: it has fewer columns than W_j J, since d_m is below d.
        mixed = x_masked.transpose(1, 2) @ self.mixing.matrix(x.shape[1])
        correlation = mixed @ joint_masked / math.sqrt(joint_masked.shape[-1])
        if self.scale == "sqrt_d_and_steps":
            steps = present.sum(1).clamp(min=1).to(x.dtype)
            correlation = correlation / steps.sqrt()[:, None, None]
        hidden = torch.relu(x @ self.w_c @ torch.tanh(correlation))
        return x + self.dropout(hidden @ self.w_h)


@dataclass(frozen=True)
class JointAttentionConfig:
    """Settings common to all fusions with joint cross-attention; see JointCrossAttention.

    Args:
        time_mixing: form of W_j: `window` (one matrix for a fixed window) or `relative` (any length).
        reach: largest offset in steps that has its own weight in `relative` mixing.
        scale: what correlations are divided by, see JointCrossAttention.
        dropout: on the attended part of the features.
    """

    time_mixing: TimeMixing = "window"
    reach: int = 50
    scale: CorrelationScale = "sqrt_d"
    dropout: float = 0.1

    def __post_init__(self):
        if self.reach < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"joint cross-attention needs reach >= 0 and dropout in [0, 1), not {self}")


class RecursiveJointCrossAttention(nn.Module):
    """T iterations of joint cross-attention of all modalities; each reads the attended features of the one before.

        X_m^(0) = X_m                                                            [b L d_m]
        X_m^(t) = X_att of JointCrossAttention from X_m^(t-1) and J^(t-1)        [b L d_m], t = 1 ... T

    J^(t-1) is the concatenation of all X_n^(t-1), [b L d], with zeros in absent steps. W_j, W_c and W_h
    are separate for every modality and iteration.
    """

    def __init__(self, config: JointAttentionConfig, iterations: int, dims: Mapping[str, int], window: int | None):
        super().__init__()

        def attention(dim: int) -> JointCrossAttention:
            mixing = time_mixing(config.time_mixing, window, config.reach)
            return JointCrossAttention(dim, sum(dims.values()), mixing, config.dropout, config.scale)

        self.dims = dict(dims)
        self.iterations = nn.ModuleList(
            nn.ModuleDict({m: attention(dim) for m, dim in dims.items()}) for _ in range(iterations)
        )

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """X_m^(0) ... X_m^(T), each [b L d_m], from features [b L d_m] and presence [b L] of every modality m."""
        found = {m: [features[m]] for m in self.dims}
        for iteration in self.iterations:
            joint_masked = joint({m: x[-1] * present[m][..., None] for m, x in found.items()})
            for m, x in found.items():
                x.append(iteration.get_submodule(m)(x[-1], present[m], joint_masked))
        return found


class Gate(nn.Module):
    """Weights of several choices at each step: softmax(x W / tau) (DCA, arXiv 2403.19554, eq. 8 with tau = 0.1)."""

    def __init__(self, dim: int, choices: int, tau: float):
        super().__init__()
        self.tau = tau
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, choices)))

    def forward(self, x: Tensor) -> Tensor:
        """Weights [b L choices] that sum to 1, from x [b L dim]."""
        return torch.softmax(x @ self.w / self.tau, dim=-1)


class CrossAttention(nn.Module):
    """Cross-attention between two or more modalities (CA, arXiv 2111.05222).

        Z_m = sum over n != m of X_m W_mn X_n^T                                         [b L L]
        A_m[i, j] = exp( Z_m[i, j] / temperature ) / sum_k exp( Z_m[k, j] / temperature )   [b L L], column-wise
        X_att,m = tanh( X_m + A_m^T X_m )                                               [b L d_m]

    Step j of modality m thus receives a weighted mean of m's own steps i; the weight is how well i correlates with the
    other modalities at j. W_mn is d_m x d_n and its own transpose the other way round, W_nm = W_mn^T: with two
    modalities Z_n = Z_m^T, as in the paper; with more, each attends to the concatenation of all others.

    X_n is zero where n is absent. Steps i and k are those where m is present; A_m[:, j] is zero where no other
    modality is present at j, and everywhere if m never is.

    Args:
        dims: modality -> d_m, two or more; the parameter W_mn is `w.m_n` for m before n.
        temperature: of the softmax.
    """

    def __init__(self, dims: Mapping[str, int], temperature: float):
        super().__init__()
        if len(dims) < 2:
            raise UsageError(
                f"cross-attention needs at least two modalities, and there are only: {', '.join(dims)}",
                hint="choose another fusion, or a recipe with backbones for voice and face",
            )
        self.dims, self.temperature = dict(dims), temperature
        self.w = nn.ParameterDict(
            {
                f"{m}_{n}": nn.Parameter(nn.init.xavier_uniform_(torch.empty(dims[m], dims[n])))
                for m, n in combinations(dims, 2)
            }
        )

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """X_att [b L d_m] of every modality from features [b L d_m] and presence [b L]."""
        known = {m: features[m] * present[m][..., None] for m in self.dims}
        correlations: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        for m, n in combinations(self.dims, 2):
            z = known[m] @ self.w[f"{m}_{n}"] @ known[n].transpose(1, 2)
            correlations[m].append(z)
            correlations[n].append(z.transpose(1, 2))
        attended = {}
        for m in self.dims:
            others = torch.stack([present[n] for n in self.dims if n != m]).any(0)
            logits = torch.stack(correlations[m]).sum(0) / self.temperature
            # The lowest finite number instead of -inf: a column without any present step would become NaN.
            logits = logits.masked_fill(~present[m][:, :, None], torch.finfo(logits.dtype).min)
            weights = torch.softmax(logits, dim=1) * others[:, None, :]
            attended[m] = torch.tanh(features[m] + weights.transpose(1, 2) @ known[m])
        return attended


class GatedCrossAttention(nn.Module):
    """Cross-attention, then a gate per step between input and attended features (DCA, arXiv 2403.19554).

        G_m = softmax( X_att,m W_g,m / tau )                    [b L 2]     W_g,m : d_m x 2
        X_g,m = ReLU( G_m[0] * X_m + G_m[1] * X_att,m )         [b L d_m]

    Args:
        dims: modality -> d_m, two or more.
        temperature: of the cross-attention.
        tau: temperature of the gate.
    """

    def __init__(self, dims: Mapping[str, int], temperature: float, tau: float):
        super().__init__()
        self.attention = CrossAttention(dims, temperature)
        self.gate = nn.ModuleDict({m: Gate(dim, 2, tau) for m, dim in dims.items()})

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """X_g [b L d_m] of every modality, and the gates `attended/M` [b L 1], which are G_m[1]."""
        gated, gates = {}, {}
        for m, attended in self.attention(features, present).items():
            gate = self.gate[m](attended)
            gated[m] = torch.relu(gate[..., :1] * features[m] + gate[..., 1:] * attended)
            gates[f"attended/{m}"] = gate[..., 1:]
        return gated, gates


def attend(query: Tensor, key: Tensor, value: Tensor, present: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d / heads)) v over the present keys, for each head (Vaswani et al. 2017).

    Args:
        query: [... Q d].
        key: [... K d].
        value: [... K d].
        present: bool [... K], which keys are present.
        heads: number of heads; each gets d / heads features.

    Returns:
        [... Q d], the concatenated heads; zero where no key is present.
    """
    some = present.any(-1, keepdim=True)
    # A softmax over no key is NaN. Where none is present, attend to all of them and zero the result.
    mask = (present | ~some)[..., None, None, :]
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2) for x in (query, key, value))
    attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return attended.transpose(-3, -2).flatten(-2) * some[..., None]
