"""The gated models and their training as one would write them in plain PyTorch from the equations, for comparison.

Nothing of avgate's models, losses or training is imported. The parameters have the names that they have in avgate, so
that weights of one can be loaded into the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

TAU = 0.1


class Conv(nn.Module):
    """A weight-normalised convolution over time that keeps the length."""

    def __init__(self, in_dim: int, out_dim: int, dilation: int):
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(in_dim, out_dim, 5, dilation=dilation, padding=2 * dilation))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.conv(x) * mask


class Block(nn.Module):
    """A residual block of the TCN."""

    def __init__(self, in_dim: int, out_dim: int, dilation: int, dropout: float):
        super().__init__()
        self.first, self.second = Conv(in_dim, out_dim, dilation), Conv(out_dim, out_dim, dilation)
        self.skip = nn.Conv1d(in_dim, out_dim, 1) if in_dim != out_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.first(x, mask)))
        hidden = self.dropout(F.relu(self.second(hidden, mask)))
        return F.relu(hidden + self.skip(x)) * mask


class Encoder(nn.Module):
    """A linear layer and a TCN."""

    def __init__(self, in_dim: int, channels: Sequence[int], dropout: float):
        super().__init__()
        self.project = nn.Linear(in_dim, channels[0])
        widths = [channels[0], *channels]
        self.blocks = nn.ModuleList(Block(widths[i], widths[i + 1], 2**i, dropout) for i in range(len(channels)))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        mask = present[:, None].float()
        hidden = self.project(x).transpose(1, 2) * mask
        for block in self.blocks:
            hidden = block(hidden, mask)
        return hidden.transpose(1, 2)


class Weight(nn.Module):
    """A matrix."""

    def __init__(self, *shape: int):
        super().__init__()
        self.w = nn.Parameter(torch.empty(shape))


class Mixing(nn.Module):
    """W_j [L L]: of a fixed window, or by relative time."""

    def __init__(self, window: int, reach: int | None):
        super().__init__()
        self.reach = reach
        self.weight = nn.Parameter(torch.empty((window, window) if reach is None else 2 * reach + 1))

    def forward(self, steps: int) -> Tensor:
        if self.reach is None:
            return self.weight[:steps, :steps]
        step = torch.arange(steps)
        return self.weight[(step[:, None] - step).clamp(-self.reach, self.reach) + self.reach]


class Attention(nn.Module):
    """Joint cross-attention of one modality."""

    def __init__(self, dim: int, joint_dim: int, window: int, reach: int | None, dropout: float):
        super().__init__()
        self.mixing = Mixing(window, reach)
        self.w_c, self.w_h = nn.Parameter(torch.empty(dim, dim)), nn.Parameter(torch.empty(joint_dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor, joint: Tensor) -> Tensor:
        known = x * present[..., None]
        c = torch.tanh(known.transpose(1, 2) @ self.mixing(x.shape[1]) @ joint / math.sqrt(joint.shape[2]))
        return x + self.dropout(F.relu(x @ self.w_c @ c) @ self.w_h)


class Iteration(nn.Module):
    """One iteration and its gates."""

    def __init__(self, dims: Mapping[str, int], window: int, reach: int | None, dropout: float, final_relu: bool):
        super().__init__()
        joint_dim, self.final_relu = sum(dims.values()), final_relu
        self.attention = nn.ModuleDict(
            {m: Attention(dim, joint_dim, window, reach, dropout) for m, dim in dims.items()}
        )
        self.gate = nn.ModuleDict({m: Weight(dim, 2) for m, dim in dims.items()})

    def forward(self, x: dict[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        joint = torch.cat([x[m] * present[m][..., None] for m in x], dim=-1)
        gated = {}
        for m in x:
            attended = self.attention[m](x[m], present[m], joint)
            gate = torch.softmax(attended @ self.gate[m].w / TAU, dim=-1)
            gated[m] = gate[..., :1] * x[m] + gate[..., 1:] * attended
            if self.final_relu:
                gated[m] = F.relu(gated[m])
        return gated


class Fusion(nn.Module):
    """T gated iterations and a stage gate; with `fallback` also the reliabilities of rhgrjca."""

    def __init__(
        self, dims: dict[str, int], window: int, reach: int | None, dropout: float, fallback: bool, iterations: int = 3
    ):
        super().__init__()
        self.iterations = nn.ModuleList(
            Iteration(dims, window, reach, dropout, final_relu=not fallback) for _ in range(iterations)
        )
        self.stage_gate = nn.ModuleDict({m: Weight(iterations * dim, iterations) for m, dim in dims.items()})
        if fallback:
            seen = 17 * len(dims)
            judges = {m: nn.Sequential(nn.Linear(seen, d), nn.ReLU(), nn.Linear(d, 1)) for m, d in dims.items()}
            self.reliability = nn.ModuleDict({"judges": nn.ModuleDict(judges)})

    def judge(self, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shown = torch.cat([torch.cat([views[m], present[m][..., None].float()], -1) for m in views], -1)
        return {m: torch.sigmoid(judge(shown)) for m, judge in self.reliability["judges"].items()}

    def forward(self, x: dict[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        stages: dict[str, list[Tensor]] = {m: [] for m in x}
        for iteration in self.iterations:
            x = iteration(x, present)
            for m in x:
                stages[m].append(x[m])
        fused = []
        for m, outputs in stages.items():
            share = torch.softmax(torch.cat(outputs, -1) @ self.stage_gate[m].w / TAU, -1)
            fused.append((torch.stack(outputs, -2) * share[..., None]).sum(-2))
        return torch.cat(fused, -1)


class Spread(nn.Module):
    """Mean and log-variance of the labels."""

    def __init__(self, width: int, modalities: int, targets: int):
        super().__init__()
        seen = 2 * targets + 2 * modalities
        self.norm = nn.LayerNorm(width)
        self.centre = nn.Sequential(nn.Linear(seen, 8), nn.ReLU(), nn.Linear(8, targets))
        self.variance = nn.Sequential(nn.Linear(width + seen, 32), nn.ReLU(), nn.Linear(32, targets))

    def forward(self, fused: Tensor, x: Tensor, there: list[Tensor], relied: list[Tensor]) -> tuple[Tensor, Tensor]:
        seen = torch.cat([x, x * x, *there, *relied], -1)
        s = self.variance(torch.cat([self.norm(fused), seen], -1))
        return x + self.centre(seen), -7 + 8 * torch.sigmoid(s)


class Plain(nn.Module):
    """Encoders, hgrjca or rhgrjca, and heads.

    Args:
        features: modality -> columns.
        channels: modality -> channels of its TCN.
        window: steps.
        reach: of relative time mixing; None for the matrix of a window.
        dropout: of encoders, fusion and head.
        fallback: whether this is rhgrjca, with its further encoders.
        unimodal: whether there are heads of single modalities.
        spread: whether there is a spread head.
    """

    def __init__(
        self,
        features: Mapping[str, int],
        channels: Mapping[str, Sequence[int]],
        window: int,
        reach: int | None,
        dropout: tuple[float, float, float],
        *,
        fallback: bool,
        unimodal: bool,
        spread: bool,
        targets: int = 2,
    ):
        super().__init__()
        dims, (in_encoders, in_fusion, in_head) = {m: c[-1] for m, c in channels.items()}, dropout
        self.fallback = fallback
        self.encoders = nn.ModuleDict({m: Encoder(d, channels[m], in_encoders) for m, d in features.items()})
        self.absence = nn.ParameterDict({m: nn.Parameter(torch.empty(d)) for m, d in dims.items()})
        views = {}
        for m, d in features.items() if fallback else ():
            views[f"judged/{m}"] = Encoder(d, [16] * len(channels[m]), in_encoders)
            views[f"alone/{m}"] = Encoder(d, channels[m], in_encoders)
        self.view_encoders = nn.ModuleDict(views)
        self.fusion = Fusion(dims, window, reach, in_fusion, fallback)
        width = sum(dims.values()) * (3 if fallback else 1)
        self.dropout, self.head = nn.Dropout(in_head), nn.Linear(width, targets)
        self.unimodal = nn.ModuleDict({m: nn.Linear(d, targets) for m, d in dims.items()} if unimodal else {})
        self.spread = Spread(width, len(dims), targets) if spread else None

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Estimates, fused features, estimates from single modalities, and reliabilities."""
        known = {m: x.masked_fill(~present[m][..., None], 0) for m, x in features.items()}
        x = {
            m: torch.where(present[m][..., None], self.encoders[m](known[m], present[m]), self.absence[m])
            for m in known
        }
        relied: dict[str, Tensor] = {}
        said = {}
        if self.training:
            said = {m: self._estimate(head, x[m]) for m, head in self.unimodal.items()}
        if not self.fallback:
            fused = self.fusion(x, present)
        else:
            views = {m: self.view_encoders[f"judged/{m}"](known[m], present[m]) for m in known}
            relied = self.fusion.judge(views, present)
            alone = {m: torch.cat([x[m], self.view_encoders[f"alone/{m}"](known[m], present[m])], -1) for m in known}
            z = self.fusion({m: relied[m] * x[m] for m in x}, present)
            rho = math.prod(relied.values())
            fused = torch.cat([rho * z, *((1 - rho) * relied[m] * alone[m] for m in x)], -1)
            if self.training:
                for m in x:
                    parts = [alone[n] if n == m else torch.zeros_like(alone[n]) for n in x]
                    said[f"fallback/{m}"] = self._estimate(self.head, torch.cat([torch.zeros_like(z), *parts], -1))
        return self._estimate(self.head, fused), fused, said, relied

    def _estimate(self, head: nn.Module, x: Tensor) -> Tensor:
        return torch.tanh(head(self.dropout(x)))


def ccc_loss(x: Tensor, y: Tensor) -> Tensor:
    """Sum over targets of 1 - CCC, of [n k]."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    cov = ((x - mean_x) * (y - mean_y)).mean(0)
    return (1 - 2 * cov / (x.var(0, False) + y.var(0, False) + (mean_x - mean_y) ** 2 + 1e-8)).sum()


class Trainer:
    """One step of training after the other.

    Args:
        model: what is trained.
        lr: of AdamW.
        weight_decay: of AdamW.
        unimodal: weight of the losses of single modalities.
        reliability: weight of the loss of reliabilities.
        mse: weight of the mean squared error.
    """

    def __init__(
        self, model: Plain, lr: float, weight_decay: float, *, unimodal: float, reliability: float, mse: float
    ):
        self.model, self.weights = model, (unimodal, reliability, mse)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
        self.spread = [] if model.spread is None else list(model.spread.parameters())
        own = {id(p) for p in self.spread}
        self.rest = [p for p in model.parameters() if id(p) not in own]

    def step(
        self,
        features: Mapping[str, Tensor],
        present: Mapping[str, Tensor],
        labels: Tensor,
        reliable: Mapping[str, Tensor],
        lost: Mapping[str, Tensor],
    ) -> float:
        """The loss of one batch [b L ...], before the step; `lost` is the presence that the spread head learns from."""
        for_unimodal, for_reliability, for_mse = self.weights
        self.model.train()
        estimate, _, said, relied = self.model(features, present)
        valid = ~labels.isnan().any(-1)
        loss = ccc_loss(estimate[valid], labels[valid])
        if for_mse:
            loss = loss + for_mse * F.mse_loss(estimate[valid], labels[valid])
        for name, own in said.items():
            sure = valid & (reliable[name.split("/")[-1]] == 1)
            loss = loss + for_unimodal * ccc_loss(own[sure], labels[sure]) / len(features)
        for m, share in relied.items():
            loss = loss + for_reliability * F.binary_cross_entropy(share[..., 0], reliable[m]) / len(features)
        whole = loss
        if self.model.spread is not None:
            whole = loss + self._spread(features, lost, labels)
        self.optimizer.zero_grad()
        whole.backward()
        nn.utils.clip_grad_norm_(self.rest, 1.0)
        if self.spread:
            nn.utils.clip_grad_norm_(self.spread, 1.0)
        self.optimizer.step()
        return loss.item()

    def _spread(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Likelihood, weighted by the deviation, of what the spread head says of estimates without dropout."""
        assert self.model.spread is not None
        self.model.eval()
        with torch.no_grad():
            estimate, fused, _, relied = self.model(features, present)
        there = [here[..., None].float() for here in present.values()]
        centre, s = self.model.spread(fused, estimate, there, list(relied.values()) or there)
        valid = ~labels.isnan().any(-1) & torch.stack(list(present.values())).any(0)
        centre, s, labels = centre[valid], s[valid], labels[valid]
        return ((0.5 * s.detach()).exp() * ((labels - centre) ** 2 / s.exp() + s) / 2).mean()
