"""What training minimises."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def ccc(prediction: Tensor, label: Tensor, eps: float = 1e-8) -> Tensor:
    """Concordance correlation coefficient, differentiable (Lin 1989; population statistics).

        CCC = 2 cov / (var_x + var_y + (mean_x - mean_y)^2)

    Args:
        prediction: [n].
        label: [n].
        eps: added to the denominator, so that constant inputs give 0 and not NaN.
    """
    mean_x, mean_y = prediction.mean(), label.mean()
    cov = ((prediction - mean_x) * (label - mean_y)).mean()
    spread = ((prediction - mean_x) ** 2).mean() + ((label - mean_y) ** 2).mean()
    return 2 * cov / (spread + (mean_x - mean_y) ** 2 + eps)


def ccc_loss(prediction: Tensor, label: Tensor, mse_weight: float = 0.0) -> Tensor:
    """Sum over targets of 1 - CCC on all valid steps of the batch, plus an optional mean squared error.

    Args:
        prediction: [b L k].
        label: [b L k]; NaN in any target makes the step invalid in all.
        mse_weight: weight of the mean squared error.

    Returns:
        A scalar; 0 (with gradient 0) when fewer than two steps are valid.
    """
    valid = ~torch.isnan(label).any(-1)
    if int(valid.sum()) < 2:
        return (prediction * 0).sum()
    x, y = prediction[valid], label[valid]
    loss = torch.stack([1 - ccc(x[:, k], y[:, k]) for k in range(x.shape[1])]).sum()
    return loss + mse_weight * ((x - y) ** 2).mean() if mse_weight else loss


def reliability_loss(gates: Mapping[str, Tensor], reliable: Mapping[str, Tensor]) -> Tensor | float:
    """Cross-entropy between `reliability/M` gates and what is known of M, the mean over modalities; 0 without them.

    Args:
        gates: a FusionOutput's.
        reliable: modality -> [b L], 1 reliable, 0 not, NaN unknown.
    """
    losses = []
    for m, truth in reliable.items():
        gate = gates.get(f"reliability/{m}")
        if gate is not None:
            known = ~torch.isnan(truth)
            losses.append(nn.functional.binary_cross_entropy(gate[..., 0][known], truth[known]))
    return torch.stack(losses).mean() if losses else 0.0


def unimodal_loss(unimodal: Mapping[str, Tensor], labels: Tensor, reliable: Mapping[str, Tensor]) -> Tensor | float:
    """CCC loss of what each modality says alone, on the steps where it is reliable; mean over modalities, 0 without.

    Where a modality says something in several ways, the losses of all ways are added.

    Args:
        unimodal: modality, or `WAY/M` of modality M, -> [b L k].
        labels: [b L k]; NaN where there is none.
        reliable: modality -> [b L], 1 where that modality is as it was recorded.
    """
    modalities = {name: name.split("/")[-1] for name in unimodal}
    losses = [
        ccc_loss(estimate, labels.masked_fill((reliable[modalities[name]] != 1)[..., None], torch.nan))
        for name, estimate in unimodal.items()
    ]
    return torch.stack(losses).sum() / len(set(modalities.values())) if losses else 0.0
