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


def sigmoid(x: ndarray) -> ndarray:
    return (1 + np.tanh(x / 2)) / 2  # unlike 1 / (1 + exp(-x)), without overflow


def mixing_matrix(weight: ndarray, steps: int, time_mixing: str, reach: int) -> ndarray:
    """W_j [L L]; row s is the step of X_m, column t the step of J."""
    if time_mixing == "window":
        return weight[:steps, :steps]
    matrix = np.zeros((steps, steps))
    for s in range(steps):
        for t in range(steps):
            matrix[s, t] = weight[min(max(s - t, -reach), reach) + reach]
    return matrix


def joint_features(
    weights: Mapping[str, ndarray],
    name: str,
    features: Mapping[str, ndarray],
    present: Mapping[str, ndarray],
    form: str,
) -> ndarray:
    """J [L d] of one sequence, one step after the other; its parameters are those whose names begin with `name`."""
    steps = []
    for step in range(len(next(iter(present.values())))):
        row = np.concatenate([x[step] * float(present[m][step]) for m, x in features.items()])
        if form == "released":
            row = weights[f"{name}.query.weight"] @ row + weights[f"{name}.query.bias"]
            row = row * float(any(present[m][step] for m in features))
        steps.append(row)
    return np.stack(steps)


def joint_cross_attention(
    weights: Mapping[str, ndarray],
    name: str,
    joint_name: str,
    modality: str,
    features: Mapping[str, ndarray],
    present: Mapping[str, ndarray],
    *,
    time_mixing: str,
    reach: int,
    scale: str,
    form: str,
    hidden: int,
) -> ndarray:
    """X_att [L d_m] of one modality, on one sequence.

    Its parameters are those whose names begin with `name`; those of J begin with `joint_name`.
    """
    x = features[modality]
    # A step contributes to a correlation only where its modality is present.
    known = x * present[modality][:, None]
    joint = joint_features(weights, joint_name, features, present, form)  # J [L d]
    steps, d = joint.shape
    own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    if time_mixing == "decay":
        correlations = decaying_correlations(own, x, present[modality], joint, scale)
        return np.stack([attended_step(own, x[t], correlations[t], form) for t in range(steps)])
    mixing = mixing_matrix(own["mixing.weight"], steps, time_mixing, reach)
    if form in ("paper", "additive"):
        argument = np.einsum("si,st,tk->ik", known, mixing, joint) / np.sqrt(d)
    else:
        key = np.zeros((x.shape[1], steps))
        for t in range(steps):
            bias = own["mixing.bias"][t if time_mixing == "window" else 0]
            key[:, t] = [known[:, i] @ mixing[:, t] + bias for i in range(len(key))]
        argument = key @ joint / np.sqrt(d)
    if scale == "sqrt_d_and_steps":
        argument = argument / np.sqrt(max(present[modality].sum(), 1))
    c = np.tanh(argument)  # [d_m d]
    if form == "additive":
        h = np.zeros((x.shape[1], hidden))
        for i in range(len(h)):
            for k in range(hidden):
                h[i, k] = max(c[i] @ own["w_ca"][:, k] + known[:, i] @ own["w_a"][:steps, k], 0)
        return x + (h @ own["w_h"][:, :steps]).T
    return np.stack([attended_step(own, x[step], c, form) for step in range(steps)])


def decaying_correlations(
    own: Mapping[str, ndarray], x: ndarray, present: ndarray, joint: ndarray, scale: str
) -> list[ndarray]:
    """C(t) [d_m d] of every step: R and n decay by lambda at every step, and grow where the modality is present."""
    decay, bias = sigmoid(own["mixing.logit"]), own.get("mixing.bias", np.zeros(1))
    d = joint.shape[1]
    r, n, found = np.zeros((x.shape[1], d)), 0.0, []
    for step in range(len(x)):
        r, n = decay * r, decay * n
        if present[step]:
            r, n = r + np.outer(x[step] + bias, joint[step]), n + 1
        divisor = (n if scale == "sqrt_d" else np.sqrt(n)) * np.sqrt(d)
        found.append(np.tanh(r / divisor) if n else r)
    return found


def attended_step(own: Mapping[str, ndarray], x: ndarray, c: ndarray, form: str) -> ndarray:
    """X_att [d_m] of one step x [d_m] with C [d_m d]."""
    if form == "paper":
        return x + relu(x @ own["w_c"] @ c) @ own["w_h"]
    h = relu(np.tanh((x @ own["w_c"] + own["b_c"]) @ c))  # [d]
    return x + relu(h @ own["w_h"] + own["b_h"])


def reliabilities(
    weights: Mapping[str, ndarray],
    features: Mapping[str, ndarray],
    present: Mapping[str, ndarray],
    one_encoder: bool,
) -> dict[str, ndarray]:
    """r_m = sigmoid( ReLU( Y U_m + a_m ) v_m + b_m ) of every modality, [L 1], one step after the other.

    Y is, modality after modality, what stands in `judged/m` (with one encoder: in m itself) and whether m is present.
    torch keeps the rest as `judges.m.0.weight` (U_m transposed), `0.bias`, `2.weight` (v_m transposed) and `2.bias`.
    """
    found = {}
    for m, here in present.items():
        u, a, v, b = (
            weights[f"reliability.judges.{m}.{name}"] for name in ("0.weight", "0.bias", "2.weight", "2.bias")
        )
        found[m] = np.zeros((len(here), 1))
        for step in range(len(here)):
            views = {o: features[o if one_encoder else f"judged/{o}"][step] for o in present}
            shown = np.concatenate([[*view, float(present[o][step])] for o, view in views.items()])
            found[m][step] = sigmoid(v @ relu(u @ shown + a) + b)
    return found


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
    reliability: str,
    one_encoder: bool,
    iteration_gate: bool,
    stage_gate: bool,
    final_relu: bool,
    scale: str,
    form: str,
    hidden: int,
) -> tuple[ndarray, dict[str, ndarray]]:
    """Hierarchical gated recursive joint cross-attention, one sequence after the other.

    Args:
        weights: the module's parameters under their state_dict names.
        features: modality -> [b L d_m], absent steps already replaced by the absence vector; with reliability also
            "judged/m" -> [b L 16], with a fallback "alone/m" -> [b L d_m], unless there is one encoder; what isn't
            asked for isn't read.
        present: modality -> bool [b L].
        iterations ... hidden: as in HgrjcaConfig.

    Returns:
        fused [b L sum d_m], thrice as wide with a fallback (twice with one encoder), and the gates there are:
        "attended/m" and "iteration/m", each [b L T], and "reliability/m" [b L 1].
    """
    options = {
        "iterations": iterations,
        "tau": tau,
        "next_input": next_input,
        "gate_sees": gate_sees,
        "reliability": reliability,
        "one_encoder": one_encoder,
        "iteration_gate": iteration_gate,
        "stage_gate": stage_gate,
        "final_relu": final_relu,
        "attention": {
            "time_mixing": time_mixing,
            "reach": reach,
            "scale": scale,
            "form": form,
            "hidden": hidden,
        },
    }
    sequences = [
        _hgrjca_of_one(
            weights, {m: x[i] for m, x in features.items()}, {m: p[i] for m, p in present.items()}, **options
        )
        for i in range(len(next(iter(features.values()))))
    ]
    fused = np.stack([one for one, _ in sequences])
    return fused, {name: np.stack([gates[name] for _, gates in sequences]) for name in sequences[0][1]}


def _hgrjca_of_one(
    weights,
    features,
    present,
    *,
    iterations,
    tau,
    next_input,
    gate_sees,
    reliability,
    one_encoder,
    iteration_gate,
    stage_gate,
    final_relu,
    attention,
):
    current, gates = {m: features[m] for m in present}, {}
    if reliability != "off":
        for m, share in reliabilities(weights, features, present, one_encoder).items():
            current[m] = share * features[m]
            gates[f"reliability/{m}"] = share
    outputs: dict[str, list[ndarray]] = {m: [] for m in present}
    for t in range(iterations):
        one = f"iterations.{t}"
        attended = {
            m: joint_cross_attention(weights, f"{one}.attention.{m}", f"{one}.joint", m, current, present, **attention)
            for m in current
        }
        following = {}
        for m, x in current.items():
            chosen = attended[m]
            if iteration_gate:
                seen = {
                    "attended": [attended[m]],
                    "both": [x, attended[m]],
                    "all": [*current.values(), *attended.values()],
                }[gate_sees]
                gate = softmax(np.concatenate(seen, axis=1) @ weights[f"iterations.{t}.gate.{m}.w"] / tau)  # [L 2]
                chosen = gate[:, 0:1] * x + gate[:, 1:2] * attended[m]  # 0: untouched, 1: attended
                gates.setdefault(f"attended/{m}", np.zeros((len(x), iterations)))[:, t] = gate[:, 1]
            outputs[m].append(relu(chosen) if final_relu else chosen)
            following[m] = outputs[m][-1] if next_input == "gated" else attended[m]
        current = following

    parts = []
    for m in present:
        stage = np.zeros((len(features[m]), iterations))
        stage[:, -1] = 1  # without a gate, the last iteration's output
        if stage_gate:
            stage = softmax(np.concatenate(outputs[m], axis=1) @ weights[f"stage_gate.{m}.w"] / tau)  # [L T]
            gates[f"iteration/{m}"] = stage
        parts.append(sum(stage[:, t : t + 1] * outputs[m][t] for t in range(iterations)))
    if reliability == "fallback":
        relied = {m: gates[f"reliability/{m}"][:, 0] for m in present}
        names = {m: (m,) if one_encoder else (m, f"alone/{m}") for m in present}
        untouched = {m: np.zeros((len(parts[0]), len(names[m]) * features[m].shape[1])) for m in present}
        for step in range(len(parts[0])):
            rho = np.prod([share[step] for share in relied.values()])
            for i, m in enumerate(present):
                parts[i][step] *= rho
                shown = np.concatenate([features[name][step] for name in names[m]])
                untouched[m][step] = (1 - rho) * relied[m][step] * shown
        parts = [*parts, *untouched.values()]
    return np.concatenate(parts, axis=1), gates


def hgrjca_alone(features: Mapping[str, ndarray], modalities: Sequence[str], modality: str) -> ndarray:
    """What hgrjca with a fallback fuses where r is 1 for one of several modalities and 0 for all others.

    Then rho is 0: of the gated third nothing is left, of the rest that modality's features and its own view, as they
    came.
    """
    gated = [np.zeros(features[m].shape) for m in modalities]
    untouched = [float(m == modality) * features[name] for m in modalities for name in (m, f"alone/{m}")]
    return np.concatenate([*gated, *untouched], axis=-1)


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


def tcn(
    weights: Mapping[str, ndarray],
    x: ndarray,
    present: ndarray,
    channels: Sequence[int],
    causal: bool,
    slope: float = 0.0,
    projection: bool = True,
) -> ndarray:
    """Linear layer and residual blocks of two dilated convolutions, on one sequence.

    Args:
        weights: the module's parameters under their state_dict names.
        x: [L in].
        present: bool [L]; absent steps count as zero at every layer.
        channels: of each block; block i has dilation 2^i.
        causal: see convolve_over_time.
        slope: of the activation below zero; 0 for a ReLU.
        projection: whether the linear layer is there.

    Returns:
        [L channels[-1]].
    """

    def activation(z: ndarray) -> ndarray:
        return np.where(z > 0, z, slope * z)

    here = present[:, None].astype(float)
    hidden = x * here
    if projection:
        hidden = (x @ weights["project.weight"].T + weights["project.bias"]) * here
    for i in range(len(channels)):
        inner = hidden
        for half in ("first", "second"):
            name = f"blocks.{i}.{half}.conv"
            inner = activation(
                convolve_over_time(inner, weight_normalised(weights, name), weights[f"{name}.bias"], 2**i, causal)
                * here
            )
        skip = f"blocks.{i}.skip"
        residual = hidden
        if f"{skip}.weight" in weights:
            residual = hidden @ weights[f"{skip}.weight"][:, :, 0].T + weights[f"{skip}.bias"]
        hidden = activation(inner + residual) * here
    return hidden
