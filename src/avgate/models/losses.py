"""Losses that training minimises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Spans = Literal["pooled", "per_sequence"]


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


def ccc_loss(prediction: Tensor, label: Tensor, mse_weight: float = 0.0, spans: Spans = "pooled") -> Tensor:
    """Sum over targets of 1 - CCC, plus an optional mean squared error over all valid steps of the batch.

    Args:
        prediction: [b L k].
        label: [b L k]; a step with NaN in any target is left out for all targets.
        mse_weight: weight of the mean squared error.
        spans: what a CCC is computed over: `pooled` is all valid steps of the batch together; `per_sequence` is the
            mean over sequences of the CCC within each. A sequence with fewer than two valid steps is then left out.

    Returns:
        A scalar; 0 with zero gradients if there is nothing with two valid steps to compute a CCC over.
    """
    valid = ~torch.isnan(label).any(-1)
    x, y = prediction[valid], label[valid]
    counts = valid.sum(1).tolist() if spans == "per_sequence" else [len(x)]
    missing = [_missing(*part) for part in zip(x.split(counts), y.split(counts), strict=True) if len(part[0]) >= 2]
    if not missing:
        return (prediction * 0).sum()
    loss = torch.stack(missing).mean()
    return loss + mse_weight * ((x - y) ** 2).mean() if mse_weight else loss


def _missing(x: Tensor, y: Tensor) -> Tensor:
    """Sum over the columns of [n k] of 1 - CCC."""
    return torch.stack([1 - ccc(x[:, k], y[:, k]) for k in range(x.shape[1])]).sum()


def beta_nll(mean: Tensor, log_variance: Tensor, label: Tensor, beta: float = 0.5) -> Tensor:
    """Gaussian negative log-likelihood, each step weighted by its variance to the power of beta.

        mean of  sg(v)^beta ( (y - x)^2 / v + log v ) / 2       v: variance, sg: no gradient

    Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks", ICLR
    2022, equation 4.

    Args:
        mean: x [b L k].
        log_variance: log v [b L k].
        label: y [b L k]; a step with NaN in any target is left out for all targets.
        beta: 0 is the plain likelihood, which hardly learns where the variance is large; with 1, the mean is learned as
            from squared errors.

    Returns:
        A scalar; 0 with zero gradients if no step is valid.
    """
    valid = ~torch.isnan(label).any(-1)
    if not bool(valid.any()):
        return (log_variance * 0).sum()
    x, s, y = mean[valid], log_variance[valid], label[valid]
    return ((beta * s.detach()).exp() * ((y - x) ** 2 / s.exp() + s) / 2).mean()


def reliability_loss(gates: Mapping[str, Tensor], reliable: Mapping[str, Tensor]) -> Tensor | float:
    """Cross-entropy of the `reliability/M` gates, mean over modalities; 0 if the fusion has no such gates.

    Args:
        gates: gates of a FusionOutput.
        reliable: modality -> [b L], what the gates should be: 1 reliable, 0 not, NaN unknown (left out).
    """
    losses = []
    for m, truth in reliable.items():
        gate = gates.get(f"reliability/{m}")
        if gate is not None:
            known = ~torch.isnan(truth)
            losses.append(nn.functional.binary_cross_entropy(gate[..., 0][known], truth[known]))
    return torch.stack(losses).mean() if losses else 0.0


def unimodal_loss(
    unimodal: Mapping[str, Tensor], labels: Tensor, reliable: Mapping[str, Tensor], spans: Spans = "pooled"
) -> Tensor | float:
    """CCC loss of the estimates from single modalities, on steps where that modality is reliable.

    The losses of all estimates of one modality are added, and the sums averaged over modalities; 0 without estimates.

    Args:
        unimodal: estimates [b L k]; the name is the modality M, or `fallback/M` (see ModelOutput).
        labels: [b L k]; NaN where unknown.
        reliable: modality -> [b L]; 1 where it is as recorded (present and not corrupted by training).
        spans: as for ccc_loss.
    """
    modalities = {name: name.split("/")[-1] for name in unimodal}
    losses = [
        ccc_loss(estimate, labels.masked_fill((reliable[modalities[name]] != 1)[..., None], torch.nan), spans=spans)
        for name, estimate in unimodal.items()
    ]
    return torch.stack(losses).sum() / len(set(modalities.values())) if losses else 0.0
