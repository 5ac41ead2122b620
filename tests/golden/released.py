"""Equations of the authors' released code in float64 NumPy, for one complete sequence; the code itself isn't here.

Each function names the file that it was written from. Weights have the names of that code and the layout of
torch.nn.Linear: linear(x) is x W^T + b. What the code doesn't know isn't here either: absent steps, dropout outside
training, batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray

Weights = Mapping[str, ndarray]


def linear(weights: Weights, name: str, x: ndarray) -> ndarray:
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def relu(x: ndarray) -> ndarray:
    return np.where(x > 0, x, 0.0)


def softmax(x: ndarray, axis: int) -> ndarray:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def layer_norm(weights: Weights, name: str, x: ndarray) -> ndarray:
    """Over all of x."""
    normal = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def jca(weights: Weights, parts: Mapping[str, ndarray]) -> ndarray:
    """models/cam.py of praveena2j/JointCrossAttentional-AV-Fusion: CAM up to its regressor, [L d]."""
    joint = np.concatenate(list(parts.values()), axis=1)
    found = []
    for m, x in parts.items():
        correlation = np.tanh(x.T @ linear(weights, f"affine_{m}", joint.T).T / np.sqrt(joint.shape[1]))
        hidden = relu(linear(weights, f"W_c{m}", correlation) + linear(weights, f"W_{m}", x.T))
        found.append(linear(weights, f"W_h{m}", hidden).T + x)
    return np.concatenate(found, axis=1)


def co_attention(weights: Weights, parts: Mapping[str, ndarray], rounds: int, use_query: bool) -> ndarray:
    """DCNLayer of models/av_crossatten.py with DenseCoAttn of models/dense_coattn.py, [L d].

    RJCA (praveena2j/Joint-Cross-Attention-for-Audio-Visual-Fusion) and DCA (praveena2j/Dynamic-CrossAttention) use the
    query's linear layer; RJCMA (praveena2j/RJCMA) computes it and uses the joint features themselves.
    """
    for i in range(rounds):
        joint = np.concatenate(list(parts.values()), axis=1)
        query = linear(weights, f"{i}.query", joint) if use_query else joint
        following = {}
        for m, x in parts.items():
            key, value = linear(weights, f"{i}.key_{m}", x.T), linear(weights, f"{i}.value_{m}", x)
            scores = np.tanh(key @ query / np.sqrt(query.shape[1]))
            weighted = relu(np.tanh(value @ scores))
            following[m] = x + relu(linear(weights, f"{i}.linears_{m}", weighted))
        parts = following
    return np.concatenate(list(parts.values()), axis=1)


def lfan_with_one_head(weights: Weights, parts: Mapping[str, ndarray]) -> ndarray:
    """models/model.py of sucv/ABAW3: LeaderFollowerAttentionNetwork up to its regressor; the first part leads."""
    rows = []
    for step in range(len(next(iter(parts.values())))):
        q, k, v = (
            np.stack([linear(weights, f"encoder{kind}_{m}", x[step]) for m, x in parts.items()]) for kind in "QKV"
        )
        scores = softmax(k @ q.T / np.sqrt(q.shape[1]), axis=1)
        follower = layer_norm(weights, "ln", (scores @ v + v).reshape(-1))
        rows.append(np.concatenate([next(iter(parts.values()))[step], follower]))
    return np.stack(rows)


def lfan_with_heads(weights: Weights, parts: Mapping[str, ndarray], heads: int) -> ndarray:
    """models/transformer.py of sucv/ABAW3: MultiModalEncoderBlock, behind the leader's features as in LFAN."""
    rows = []
    for step in range(len(next(iter(parts.values())))):
        together = []
        for head in range(heads):
            # One linear layer makes queries, keys and values: for each head in turn, its share of the three.
            made = [np.split(linear(weights, f"qkv_{m}", x[step]), heads)[head] for m, x in parts.items()]
            q, k, v = np.split(np.stack(made), 3, axis=1)
            together.append(softmax(q @ k.T / np.sqrt(q.shape[1]), axis=1) @ v + v)
        out = linear(weights, "o_proj", np.stack(together).reshape(-1))
        rows.append(np.concatenate([next(iter(parts.values()))[step], layer_norm(weights, "norm1", out)]))
    return np.stack(rows)


def temporal_convolutions(weights: Weights, x: ndarray, channels: Sequence[int], kernel: int) -> ndarray:
    """models/temporal_convolutional_model.py of sucv/ABAW3: TemporalConvNet, [L channels[-1]] from [L in]."""

    def leaky(z: ndarray) -> ndarray:
        return np.where(z > 0, z, 0.01 * z)

    for i in range(len(channels)):
        hidden = x
        for conv in ("conv1", "conv2"):
            g, v = weights[f"{i}.{conv}.weight_g"], weights[f"{i}.{conv}.weight_v"]
            weight = g * v / np.sqrt((v**2).sum((1, 2), keepdims=True))
            before = np.concatenate([np.zeros(((kernel - 1) * 2**i, hidden.shape[1])), hidden])
            taps = [before[tap * 2**i : tap * 2**i + len(x)] @ weight[:, :, tap].T for tap in range(kernel)]
            hidden = leaky(sum(taps) + weights[f"{i}.{conv}.bias"])
        skip = f"{i}.downsample"
        past = x if f"{skip}.weight" not in weights else linear(weights, skip, x)
        x = leaky(hidden + past)
    return x


def ccc_loss(gold: ndarray, predicted: ndarray, ddof: int = 1) -> float:
    """base/loss_function.py of sucv/ABAW3: CCCLoss of one target, [b L] each; variances are divided by L - ddof."""
    off, gone = gold - gold.mean(1, keepdims=True), predicted - predicted.mean(1, keepdims=True)
    spread = gold.var(1, ddof=ddof, keepdims=True) + predicted.var(1, ddof=ddof, keepdims=True)
    ccc = 2 * off * gone / (spread + (gold.mean(1, keepdims=True) - predicted.mean(1, keepdims=True)) ** 2 + 1e-50)
    return float((1 - ccc).mean())
