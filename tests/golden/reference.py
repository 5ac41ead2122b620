"""A second implementation of the equations in float64 NumPy: loops instead of batches, readable instead of fast.

It shares no code with avgate and is written from the equations alone, so that a mistake would have to be made twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy import ndarray


def relu(x: ndarray) -> ndarray:
    return np.maximum(x, 0.0)


def softmax(x: ndarray) -> ndarray:
    """Over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def mixing_matrix(weight: ndarray, steps: int, time_mixing: str, reach: int) -> ndarray:
    """W_j [L L]; row s is the step of X_m, column t the step of J."""
    if time_mixing == "window":
        return weight[:steps, :steps]
    matrix = np.zeros((steps, steps))
    for s in range(steps):
        for t in range(steps):
            matrix[s, t] = weight[min(max(s - t, -reach), reach) + reach]
    return matrix


def joint_cross_attention(
    weights: Mapping[str, ndarray],
    name: str,
    modality: str,
    features: Mapping[str, ndarray],
    present: Mapping[str, ndarray],
    *,
    time_mixing: str,
    reach: int,
    scale: str,
) -> ndarray:
    """X_att [L d_m] of one modality, on one sequence; its parameters are those whose names begin with `name`."""
    # A step contributes to a correlation only where its modality is present.
    known = {m: x * present[m][:, None] for m, x in features.items()}
    joint = np.concatenate(list(known.values()), axis=1)  # J [L d]
    steps, d = joint.shape
    mixing = mixing_matrix(weights[f"{name}.mixing.weight"], steps, time_mixing, reach)
    argument = np.einsum("si,st,tk->ik", known[modality], mixing, joint) / np.sqrt(d)
    if scale == "sqrt_d_and_steps":
        argument = argument / np.sqrt(max(present[modality].sum(), 1))
    c = np.tanh(argument)  # [d_m d]
    h = relu(features[modality] @ weights[f"{name}.w_c"] @ c)  # [L d]
    return features[modality] + h @ weights[f"{name}.w_h"]


def hgrjca(
    weights: Mapping[str, ndarray],
    features: Mapping[str, ndarray],
    present: Mapping[str, ndarray],
    *,
    iterations: int,
    tau: float,
    time_mixing: str,
    reach: int,
    next_input: str,
    gate_sees: str,
    final_relu: bool,
    scale: str,
) -> tuple[ndarray, dict[str, ndarray]]:
    """Hierarchical gated recursive joint cross-attention, one sequence after the other.

    Args:
        weights: the module's parameters under their state_dict names.
        features: modality -> [b L d_m], absent steps already replaced by the absence vector.
        present: modality -> bool [b L].
        iterations, tau, time_mixing, reach, next_input, gate_sees, final_relu, scale: as in HgrjcaConfig.

    Returns:
        fused [b L sum d_m], and the gates "attended/m" and "iteration/m", each [b L T].
    """
    options = (iterations, tau, time_mixing, reach, next_input, gate_sees, final_relu, scale)
    sequences = [
        _hgrjca_of_one(weights, {m: x[i] for m, x in features.items()}, {m: p[i] for m, p in present.items()}, *options)
        for i in range(len(next(iter(features.values()))))
    ]
    fused = np.stack([one for one, _ in sequences])
    return fused, {name: np.stack([gates[name] for _, gates in sequences]) for name in sequences[0][1]}


def _hgrjca_of_one(
    weights, features, present, iterations, tau, time_mixing, reach, next_input, gate_sees, final_relu, scale
):
    current = dict(features)
    gated_outputs: dict[str, list[ndarray]] = {m: [] for m in features}
    attended_shares: dict[str, list[ndarray]] = {m: [] for m in features}
    for t in range(iterations):
        following = {}
        for m, x in current.items():
            name = f"iterations.{t}.{m}"
            attended = joint_cross_attention(
                weights, f"{name}.attention", m, current, present, time_mixing=time_mixing, reach=reach, scale=scale
            )
            seen = np.concatenate([x, attended], axis=1) if gate_sees == "both" else attended
            gate = softmax(seen @ weights[f"{name}.gate.w"] / tau)  # [L 2]: untouched, attended
            gated = gate[:, 0:1] * x + gate[:, 1:2] * attended
            if final_relu:
                gated = relu(gated)
            gated_outputs[m].append(gated)
            attended_shares[m].append(gate[:, 1])
            following[m] = gated if next_input == "gated" else attended
        current = following

    parts, gates = [], {}
    for m in features:
        stage = softmax(np.concatenate(gated_outputs[m], axis=1) @ weights[f"stage_gate.{m}.w"] / tau)  # [L T]
        parts.append(sum(stage[:, t : t + 1] * gated_outputs[m][t] for t in range(iterations)))
        gates[f"attended/{m}"] = np.stack(attended_shares[m], axis=1)
        gates[f"iteration/{m}"] = stage
    return np.concatenate(parts, axis=1), gates


def convolve_over_time(x: ndarray, weight: ndarray, bias: ndarray, dilation: int, causal: bool) -> ndarray:
    """Cross-correlation over time with zeros outside, one output step and tap after the other.

    Args:
        x: [L in].
        weight: [out in kernel].
        bias: [out].
        dilation: steps between taps.
        causal: the last tap sits on the output's own step; otherwise the middle one does.
    """
    kernel = weight.shape[2]
    own_tap = kernel - 1 if causal else kernel // 2
    out = np.tile(bias, (len(x), 1))
    for t in range(len(x)):
        for k in range(kernel):
            source = t + (k - own_tap) * dilation
            if 0 <= source < len(x):
                out[t] += weight[:, :, k] @ x[source]
    return out


def weight_normalised(weights: Mapping[str, ndarray], name: str) -> ndarray:
    """g * v / |v|, the norm over each output channel (Salimans and Kingma 2016)."""
    g = weights[f"{name}.parametrizations.weight.original0"]
    v = weights[f"{name}.parametrizations.weight.original1"]
    return np.stack([g[o] * v[o] / np.sqrt((v[o] ** 2).sum()) for o in range(len(v))])


def tcn(weights: Mapping[str, ndarray], x: ndarray, present: ndarray, channels: Sequence[int], causal: bool) -> ndarray:
    """Linear layer and residual blocks of two dilated convolutions, on one sequence.

    Args:
        weights: the module's parameters under their state_dict names.
        x: [L in].
        present: bool [L]; absent steps count as zero at every layer.
        channels: of each block; block i has dilation 2^i.
        causal: see convolve_over_time.

    Returns:
        [L channels[-1]].
    """
    here = present[:, None].astype(float)
    hidden = (x @ weights["project.weight"].T + weights["project.bias"]) * here
    for i in range(len(channels)):
        inner = hidden
        for half in ("first", "second"):
            name = f"blocks.{i}.{half}.conv"
            inner = relu(
                convolve_over_time(inner, weight_normalised(weights, name), weights[f"{name}.bias"], 2**i, causal)
                * here
            )
        skip = f"blocks.{i}.skip"
        residual = hidden
        if f"{skip}.weight" in weights:
            residual = hidden @ weights[f"{skip}.weight"][:, :, 0].T + weights[f"{skip}.bias"]
        hidden = relu(inner + residual) * here
    return hidden
