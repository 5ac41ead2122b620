"""Every fusion a second time, in float64 NumPy and from the equations in its docstring alone; see reference.py.

Each function fuses one sequence: (weights, features, present, **settings) -> (fused [L out], gates name -> [L n]), with

    weights: the module's parameters under their state_dict names;
    features: modality -> [L d_m], absent steps already replaced by the absence vector;
    present: modality -> bool [L];
    settings: the fields of the fusion's config; dropout plays no part here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from tests.golden.reference import hgrjca, joint_cross_attention, relu, sigmoid, softmax

Weights = Mapping[str, ndarray]
PerModality = Mapping[str, ndarray]
Fused = tuple[ndarray, dict[str, ndarray]]


def side_by_side(parts: PerModality) -> ndarray:
    return np.concatenate(list(parts.values()), axis=1)


def audio(weights: Weights, features: PerModality, present: PerModality) -> Fused:
    return features["audio"], {}


def video(weights: Weights, features: PerModality, present: PerModality) -> Fused:
    return features["video"], {}


def concat(weights: Weights, features: PerModality, present: PerModality) -> Fused:
    return side_by_side(features), {}


# Joint cross-attention and what is built on its recursion


def recursion(
    weights: Weights, features: PerModality, present: PerModality, iterations: int, attention: dict[str, Any]
) -> dict[str, list[ndarray]]:
    """X_m^(0) ... X_m^(T) of every modality; `attention` are joint_cross_attention's settings."""
    stages = {m: [x] for m, x in features.items()}
    for t in range(iterations):
        before = {m: xs[t] for m, xs in stages.items()}
        for m in features:
            names = f"attention.iterations.{t}.{m}", f"attention.joints.{t}"
            stages[m].append(joint_cross_attention(weights, *names, m, before, present, **attention))
    return stages


def jca(weights: Weights, features: PerModality, present: PerModality, **attention) -> Fused:
    return rjca(weights, features, present, iterations=1, **attention)


def rjca(weights: Weights, features: PerModality, present: PerModality, *, iterations: int, **attention) -> Fused:
    stages = recursion(weights, features, present, iterations, attention)
    return side_by_side({m: xs[-1] for m, xs in stages.items()}), {}


def grjca(
    weights: Weights,
    features: PerModality,
    present: PerModality,
    *,
    iterations: int,
    tau: float,
    gate_sees: str,
    final_relu: bool,
    **attention,
) -> Fused:
    parts, gates = {}, {}
    for m, candidates in recursion(weights, features, present, iterations, attention).items():
        seen = candidates if gate_sees == "both" else candidates[1:]
        gate = softmax(np.concatenate(seen, axis=1) @ weights[f"gate.{m}.w"] / tau)  # [L T+1]
        mixed = sum(gate[:, t : t + 1] * x for t, x in enumerate(candidates))
        parts[m] = relu(mixed) if final_relu else mixed
        gates[f"candidate/{m}"] = gate
        gates[f"attended/{m}"] = 1 - gate[:, :1]
    return side_by_side(parts), gates


def hgrjca_of_one(weights: Weights, features: PerModality, present: PerModality, **settings) -> Fused:
    batch_of_one = ({m: x[None] for m, x in part.items()} for part in (features, present))
    fused, gates = hgrjca(weights, *batch_of_one, **settings)
    return fused[0], {name: gate[0] for name, gate in gates.items()}


def lstm(weights: Weights, name: str, direction: str, inputs: list[ndarray]) -> list[ndarray]:
    """The state h of one direction after each input, from zero; torch stacks input, forget, cell and output gate."""
    w_x, w_h = weights[f"{name}.weight_ih_l0{direction}"], weights[f"{name}.weight_hh_l0{direction}"]
    bias = weights[f"{name}.bias_ih_l0{direction}"] + weights[f"{name}.bias_hh_l0{direction}"]
    h = cell = np.zeros(w_h.shape[1])
    states = []
    for x in inputs:
        i, f, g, o = np.split(w_x @ x + w_h @ h + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        states.append(h)
    return states


def tagf(
    weights: Weights, features: PerModality, present: PerModality, *, iterations: int, tau: float, **attention
) -> Fused:
    parts, gates = {}, {}
    for m, candidates in recursion(weights, features, present, iterations, attention).items():
        gate = np.zeros((len(features[m]), iterations + 1))
        for step in range(len(gate)):
            inputs = [x[step] for x in candidates]
            there = lstm(weights, f"gate.{m}.lstm", "", inputs)
            back = lstm(weights, f"gate.{m}.lstm", "_reverse", inputs[::-1])[::-1]
            scores = [np.concatenate(h) @ weights[f"gate.{m}.w"][:, 0] for h in zip(there, back, strict=True)]
            gate[step] = softmax(np.array(scores) / tau)
        parts[m] = sum(gate[:, t : t + 1] * x for t, x in enumerate(candidates))
        gates[f"candidate/{m}"] = gate
        gates[f"attended/{m}"] = 1 - gate[:, :1]
    return side_by_side(parts), gates


# Cross-attention and the gates on it


def cross_attention(
    weights: Weights, name: str, features: PerModality, present: PerModality, temperature: float
) -> dict[str, ndarray]:
    """X_att [L d_m] of every modality."""
    order = list(features)
    steps = len(features[order[0]])
    attended = {}
    for m in order:
        others = [n for n in order if n != m]
        z = np.zeros((steps, steps))
        for n in others:
            first_is_m = order.index(m) < order.index(n)
            w = weights[f"{name}.w.{m}_{n}"] if first_is_m else weights[f"{name}.w.{n}_{m}"].T  # [d_m d_n]
            z += features[m] @ w @ (features[n] * present[n][:, None]).T
        a = np.zeros((steps, steps))
        own_steps = np.flatnonzero(present[m])
        for j in range(steps):
            if len(own_steps) and any(present[n][j] for n in others):
                a[own_steps, j] = softmax(z[own_steps, j] / temperature)
        attended[m] = np.tanh(features[m] + a.T @ features[m])
    return attended


def gated_cross_attention(
    weights: Weights, features: PerModality, present: PerModality, temperature: float, tau: float
) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
    """X_g [L d_m] of every modality, and the gates."""
    parts, gates = {}, {}
    for m, attended in cross_attention(weights, "gated.attention", features, present, temperature).items():
        gate = softmax(attended @ weights[f"gated.gate.{m}.w"] / tau)  # [L 2]: untouched, attended
        parts[m] = relu(gate[:, 0:1] * features[m] + gate[:, 1:2] * attended)
        gates[f"attended/{m}"] = gate[:, 1:2]
    return parts, gates


def ca(weights: Weights, features: PerModality, present: PerModality, *, temperature: float) -> Fused:
    return side_by_side(cross_attention(weights, "attention", features, present, temperature)), {}


def dca(weights: Weights, features: PerModality, present: PerModality, *, temperature: float, tau: float) -> Fused:
    parts, gates = gated_cross_attention(weights, features, present, temperature, tau)
    return side_by_side(parts), gates


def iaca(weights: Weights, features: PerModality, present: PerModality, *, temperature: float, tau: float) -> Fused:
    parts, gates = gated_cross_attention(weights, features, present, temperature, tau)
    shares = softmax(side_by_side(parts) @ weights["modality_gate.w"] / tau)  # [L M]
    weighted = {m: shares[:, i : i + 1] * x for i, (m, x) in enumerate(parts.items())}
    return side_by_side(weighted), gates | {"modality": shares}


# Attention over modalities and over a whole window


def layer_norm(weights: Weights, name: str, x: ndarray) -> ndarray:
    """Over the last axis."""
    deviation = x - x.mean(-1, keepdims=True)
    variance = (deviation**2).mean(-1, keepdims=True)
    return deviation / np.sqrt(variance + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention_of_one_query(query: ndarray, keys: ndarray, values: ndarray, present: ndarray, heads: int) -> ndarray:
    """[k] from a query [k], keys and values [K k] and which of them are present [K]; zero where none is."""
    attended = np.zeros_like(query)
    if not present.any():
        return attended
    for part in np.split(np.arange(len(query)), heads):
        scores = keys[present][:, part] @ query[part] / np.sqrt(len(part))
        attended[part] = softmax(scores) @ values[present][:, part]
    return attended


def lfan(
    weights: Weights, features: PerModality, present: PerModality, *, leader: str, dim: int, heads: int, form: str
) -> Fused:
    if form == "released":
        return lfan_released(weights, features, present, leader, dim, heads)
    steps = len(features[leader])
    followers = {m: np.zeros((steps, dim)) for m in features}
    for step in range(steps):
        q, k, v = (
            np.stack([weights[f"{kind}.{m}.weight"] @ x[step] for m, x in features.items()])
            for kind in ("query", "key", "value")
        )
        here = np.array([present[m][step] for m in features])
        for i, m in enumerate(features):
            attended = attention_of_one_query(q[i], k, v, here, heads)
            followers[m][step] = layer_norm(weights, f"norm.{m}", v[i] + attended)
    return np.concatenate([features[leader], *followers.values()], axis=1), {}


def lfan_released(
    weights: Weights, features: PerModality, present: PerModality, leader: str, dim: int, heads: int
) -> Fused:
    """Per step: each head's attention among modalities, from present ones alone, then one row of everything."""
    rows = []
    for step in range(len(features[leader])):
        here = [i for i, m in enumerate(features) if present[m][step]]
        q, k, v = (
            np.stack(
                [weights[f"{kind}.{m}.weight"] @ x[step] + weights[f"{kind}.{m}.bias"] for m, x in features.items()]
            )
            for kind in ("query", "key", "value")
        )
        asking, asked = (q, k) if heads > 1 else (k, q)
        parts = []
        for own in np.split(np.arange(dim), heads):
            for i in range(len(features)):
                part = v[i, own].copy()
                if here:
                    shares = softmax(asked[here][:, own] @ asking[i, own] / np.sqrt(len(own)))
                    part += shares @ v[here][:, own]
                parts.append(part)
        row = np.concatenate(parts)
        if heads > 1:
            row = weights["out.weight"] @ row + weights["out.bias"]
        rows.append(layer_norm(weights, "norm", row))
    return np.concatenate([features[leader], np.stack(rows)], axis=1), {}


def positions(steps: int, d: int) -> ndarray:
    """P [L d]."""
    p = np.zeros((steps, d))
    for s in range(steps):
        for c in range(d):
            p[s, c] = np.sin(s / 10000 ** (c / d)) if c % 2 == 0 else np.cos(s / 10000 ** ((c - 1) / d))
    return p


def crossmodal_layer(
    weights: Weights, name: str, y: ndarray, source: ndarray, source_present: ndarray, heads: int
) -> ndarray:
    """Y [L d_m] after one layer of one pair."""
    from_source = layer_norm(weights, f"{name}.source_norm", source)
    q = (layer_norm(weights, f"{name}.query_norm", y) + positions(*y.shape)) @ weights[f"{name}.query.weight"].T
    k = (from_source + positions(*source.shape)) @ weights[f"{name}.key.weight"].T
    v = from_source @ weights[f"{name}.value.weight"].T
    attended = np.stack([attention_of_one_query(one, k, v, source_present, heads) for one in q])
    y = y + attended @ weights[f"{name}.out.weight"].T
    wide = layer_norm(weights, f"{name}.forward_norm", y) @ weights[f"{name}.widen.weight"].T
    wide = relu(wide + weights[f"{name}.widen.bias"])
    return y + wide @ weights[f"{name}.narrow.weight"].T + weights[f"{name}.narrow.bias"]


def crossmodal(
    weights: Weights,
    features: PerModality,
    present: PerModality,
    *,
    layers: int,
    dim: int,
    heads: int,
    expansion: int,
) -> Fused:
    if len(features) == 1:
        return side_by_side(features), {}
    outputs = []
    for m, x in features.items():
        for n, source in features.items():
            if m == n:
                continue
            y = x
            if present[n].any():
                for layer in range(layers):
                    y = crossmodal_layer(weights, f"pairs.{m}_from_{n}.{layer}", y, source, present[n], heads)
            outputs.append(y)
    return np.concatenate(outputs, axis=1), {}


REFERENCES: dict[str, Callable[..., Fused]] = {
    "audio": audio,
    "video": video,
    "concat": concat,
    "ca": ca,
    "jca": jca,
    "rjca": rjca,
    "dca": dca,
    "iaca": iaca,
    "grjca": grjca,
    "hgrjca": hgrjca_of_one,
    "rhgrjca": hgrjca_of_one,
    "lfan": lfan,
    "tagf": tagf,
    "crossmodal": crossmodal,
}
