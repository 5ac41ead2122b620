"""Building blocks of several fusions: gate, cross-attention, masked attention."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from avgate.core.errors import UsageError


class Gate(nn.Module):
    """Weights of several choices at each step: softmax(x W / tau) (DCA, arXiv 2403.19554, eq. 8 with tau = 0.1)."""

    def __init__(self, dim: int, choices: int, tau: float):
        super().__init__()
        self.tau = tau
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, choices)))

    def forward(self, *parts: Tensor) -> Tensor:
        """Weights [b L choices] that sum to 1, from x [b L dim], or from parts of x [b L ...] in their order."""
        weights = (self.w / self.tau).split([part.shape[-1] for part in parts])
        # To put the parts side by side would copy all of them.
        return torch.softmax(sum(part @ w for part, w in zip(parts, weights, strict=True)), dim=-1)


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
