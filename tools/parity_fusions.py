"""Rows of docs/parity.md about the models: the fusions against their equations, and all against released code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from avgate.models.encoders import TcnConfig, build_encoder
from avgate.models.fusions import FUSIONS, Fusion, fusion_named
from avgate.models.losses import ccc_loss
from avgate.models.recipe import choices_of
from tests.golden import released
from tests.golden.reference_fusions import REFERENCES
from tests.golden.test_fusions import MODALITIES, WINDOW, random_batch, random_fusion

Arrays = dict[str, np.ndarray]
Row = tuple[str, str, str, float]

TRIALS = 10
"""Random weights and batches of each comparison."""

EQUATIONS = f"""Each fusion against a second form in NumPy (`tests/golden/reference_fusions.py`), written from the
equations in its docstring and in float64. Settings are the defaults but for what a row names; weights are random. Each
of {TRIALS} batches has four sequences of {WINDOW} steps: every modality is there throughout, with few gaps, with many,
and never. What is compared are fused features and all gates, in units of the largest number that was expected (or
of 1, where all are smaller). Iterations without a tanh in H amplify rounding,
and so do gates, whose temperature is 0.1."""

RELEASED = f"""Against NumPy forms of what the authors released, with the same random weights on both sides, over
{TRIALS} complete sequences or batches in float64. `tests/golden/released.py` has these forms and names each file. Their
code knows no absent steps. Of `ca`, `dca`, `tagf` and `crossmodal`, the released code is another model than ours; the
docstring of each says how it differs. Of `iaca`, `grjca` and `hgrjca`, we know no released code."""


def equations() -> list[Row]:
    """Two rows for every fusion and form: in float64 and in float32."""
    found = []
    for fusion in FUSIONS:
        for form in choices_of(fusion.Config, "form") or ("",):
            settings = {f.name: f.default for f in fields(fusion.Config) if f.name != "dropout"}
            what = f"`{fusion.name}`"
            if form:
                settings["form"], what = form, f"{what}, form `{form}`"
            for dtype in (torch.float64, torch.float32):
                largest = max(against_equations(fusion, settings, seed, dtype) for seed in range(TRIALS))
                kind = str(dtype).removeprefix("torch.")
                found.append((what, "its equations", f"{TRIALS} batches with absences, {kind}", largest))
    return found


def against_equations(fusion: type[Fusion], settings: dict[str, Any], seed: int, dtype: torch.dtype) -> float:
    """The largest difference of a fusion with random weights to its second form, over one batch; see EQUATIONS."""
    rng = np.random.default_rng(seed)
    features, present = random_batch(MODALITIES[0], WINDOW, rng)
    dims = {m: features[m].shape[-1] for m in fusion.modalities(tuple(features))}
    module = random_fusion(fusion, settings, dims, seed)
    shape = next(iter(present.values())).shape
    features |= {name: rng.normal(size=(*shape, d)) for name, d in module.inputs.items() if name not in dims}
    weights = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    with torch.no_grad():
        ours = module.to(dtype)({m: torch.from_numpy(x).to(dtype) for m, x in features.items()}, tensors(present))
    largest = 0.0
    for i in range(shape[0]):
        one = ({m: x[i] for m, x in part.items()} for part in (features, present))
        fused, gates = REFERENCES[fusion.name](weights, *one, **settings)
        for found, expected in [(ours.fused, fused), *((ours.gates[name], gate) for name, gate in gates.items())]:
            if found[i].shape != expected.shape or ours.gates.keys() != gates.keys():
                raise RuntimeError(f"{fusion.name} and its second form differ in shapes or gates")
            difference = np.abs(found[i].double().numpy() - expected).max() / max(1.0, np.abs(expected).max())
            largest = max(largest, float(difference))
    return largest


def as_released() -> list[Row]:
    """A row for everything that the recipes take from released code."""
    found = []
    sequences, windows = f"{TRIALS} complete sequences", f"{TRIALS} batches of 4 windows of 300 steps"
    for what, source, over, compare in (
        ("`jca`, form `additive`", "`models/cam.py` of JointCrossAttentional-AV-Fusion", sequences, jca),
        (
            "`rjca`, form `released`",
            "`models/dense_coattn.py` of Joint-Cross-Attention-for-Audio-Visual-Fusion and of Dynamic-CrossAttention",
            sequences,
            rjca("released"),
        ),
        (
            "`rjca`, form `rjcma`, two iterations",
            "`models/dense_coattn.py` of RJCMA",
            f"{sequences}, three modalities",
            rjca("rjcma", 2),
        ),
        ("`lfan`, form `released`, one head", "`models/model.py` of ABAW3", sequences, lfan(1)),
        ("`lfan`, form `released`, two heads", "`models/transformer.py` of ABAW3", sequences, lfan(2)),
        (
            "TCN, causal, `leaky_relu`, no projection",
            "`models/temporal_convolutional_model.py` of ABAW3",
            sequences,
            tcn,
        ),
        ("`loss.ccc=per_sequence`", "`base/loss_function.py` of ABAW3", windows, loss),
        ("`loss.ccc=per_sequence`", "the same with variances divided by n instead of n - 1", windows, loss_by_n),
    ):
        largest = max(compare(np.random.default_rng(seed)) for seed in range(TRIALS))
        found.append((what, source, over, largest))
    return found


def fused(name: str, parts: Mapping[str, np.ndarray], **settings: Any) -> tuple[np.ndarray, Arrays]:
    """What a fusion with random weights makes of one complete sequence of all parts, and its weights."""
    fusion = fusion_named(name)
    module = random_fusion(fusion, settings, {m: x.shape[1] for m, x in parts.items()}, seed=len(settings))
    here = {m: torch.ones(1, len(x), dtype=torch.bool) for m, x in parts.items()}
    with torch.no_grad():
        out = module({m: torch.from_numpy(x)[None] for m, x in parts.items()}, here).fused[0].numpy()
    return out, {name: value.numpy() for name, value in module.state_dict().items()}


def sequence(rng: np.random.Generator, *modalities: str) -> Arrays:
    """Features [WINDOW d_m] of every modality."""
    return {m: rng.normal(size=(WINDOW, int(rng.integers(2, 9)))) for m in modalities}


def jca(rng: np.random.Generator) -> float:
    """The additive form, with 5 features of H."""
    parts = sequence(rng, "a", "v")
    ours, weights = fused("jca", parts, form="additive", hidden=5)
    theirs = {}
    for m in parts:
        own = {
            name: weights[f"attention.iterations.0.{m}.{name}"].T for name in ("mixing.weight", "w_ca", "w_a", "w_h")
        }
        # Their layer mixes J^T, so its weight is W_j itself.
        theirs |= {f"affine_{m}.weight": own["mixing.weight"].T, f"W_c{m}.weight": own["w_ca"]}
        theirs |= {f"W_{m}.weight": own["w_a"], f"W_h{m}.weight": own["w_h"]}
    return float(np.abs(ours - released.jca(theirs, parts)).max())


def rjca(form: str, iterations: int = 1) -> Callable[[np.random.Generator], float]:
    """A released form of co-attention; that of RJCMA has three modalities."""

    def compare(rng: np.random.Generator) -> float:
        parts = sequence(rng, *(("video", "audio", "text") if form == "rjcma" else ("video", "audio")))
        ours, weights = fused("rjca", parts, form=form, iterations=iterations)
        theirs = {}
        for t in range(iterations):
            for m in parts:
                own = f"attention.iterations.{t}.{m}"
                for layer, weight, bias in (("key", "mixing.weight", "mixing.bias"), ("value", "w_c", "b_c")):
                    theirs[f"{t}.{layer}_{m}.weight"] = weights[f"{own}.{weight}"].T
                    theirs[f"{t}.{layer}_{m}.bias"] = weights[f"{own}.{bias}"]
                theirs[f"{t}.linears_{m}.weight"] = weights[f"{own}.w_h"].T
                theirs[f"{t}.linears_{m}.bias"] = weights[f"{own}.b_h"]
            if form == "released":
                theirs |= {f"{t}.query.{kind}": weights[f"attention.joints.{t}.query.{kind}"] for kind in KINDS}
        other = released.co_attention(theirs, parts, iterations, use_query=form == "released")
        return float(np.abs(ours - other).max())

    return compare


KINDS = ("weight", "bias")


def lfan(heads: int) -> Callable[[np.random.Generator], float]:
    """The released leader-follower network, with so many heads."""

    def compare(rng: np.random.Generator) -> float:
        parts = sequence(rng, "video", "audio", "text")
        ours, weights = fused("lfan", parts, form="released", dim=6, heads=heads, leader="video")
        theirs = {f"{name}.{kind}": weights[f"norm.{kind}"] for name in ("ln", "norm1") for kind in KINDS}
        for m in parts:
            made = {layer: {k: weights[f"{layer}.{m}.{k}"] for k in KINDS} for layer in ("query", "key", "value")}
            for layer, own in made.items():
                theirs |= {f"encoder{layer[0].upper()}_{m}.{kind}": own[kind] for kind in KINDS}
            for kind in KINDS:  # each head's share of queries, keys and values, one after the other
                shares = [np.split(own[kind], heads) for own in made.values()]
                theirs[f"qkv_{m}.{kind}"] = np.concatenate([share[h] for h in range(heads) for share in shares])
        if heads == 1:
            return float(np.abs(ours - released.lfan_with_one_head(theirs, parts)).max())
        theirs |= {f"o_proj.{kind}": weights[f"out.{kind}"] for kind in KINDS}
        return float(np.abs(ours - released.lfan_with_heads(theirs, parts, heads)).max())

    return compare


def tcn(rng: np.random.Generator) -> float:
    """The released encoder, on 40 steps."""
    channels, x = (7, 7, 4), rng.normal(size=(40, 5))
    encoder = build_encoder(5, TcnConfig(channels, causal=True, activation="leaky_relu", projection=False)).double()
    weights = {name: 0.4 * rng.normal(size=value.shape) for name, value in encoder.state_dict().items()}
    encoder.load_state_dict(tensors(weights))
    theirs = dict(_their_tcn(weights, len(channels)))
    with torch.no_grad():
        ours = encoder.eval()(torch.from_numpy(x)[None], torch.ones(1, 40, dtype=torch.bool))[0].numpy()
    return float(np.abs(ours - released.temporal_convolutions(theirs, x, channels, kernel=5)).max())


def _their_tcn(weights: Arrays, blocks: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and value of every weight of their encoder."""
    for i in range(blocks):
        for half, conv in (("first", "conv1"), ("second", "conv2")):
            name = f"blocks.{i}.{half}.conv"
            yield f"{i}.{conv}.weight_g", weights[f"{name}.parametrizations.weight.original0"]
            yield f"{i}.{conv}.weight_v", weights[f"{name}.parametrizations.weight.original1"]
            yield f"{i}.{conv}.bias", weights[f"{name}.bias"]
        if f"blocks.{i}.skip.weight" in weights:
            yield f"{i}.downsample.weight", weights[f"blocks.{i}.skip.weight"][:, :, 0]
            yield f"{i}.downsample.bias", weights[f"blocks.{i}.skip.bias"]


def _labelled(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and estimates of one target in four windows, [4 300] each."""
    gold = np.tanh(rng.normal(size=(4, 1)) + rng.normal(size=(4, 300)))
    return gold, np.tanh(gold + 0.5 * rng.normal(size=gold.shape))


def _ours(gold: np.ndarray, predicted: np.ndarray) -> float:
    return float(ccc_loss(*(torch.from_numpy(x)[..., None] for x in (predicted, gold)), spans="per_sequence"))


def loss(rng: np.random.Generator) -> float:
    """As released: variances are divided by n - 1, the covariance by n."""
    gold, predicted = _labelled(rng)
    return abs(_ours(gold, predicted) - released.ccc_loss(gold, predicted))


def loss_by_n(rng: np.random.Generator) -> float:
    """As released, but all divided by n."""
    gold, predicted = _labelled(rng)
    return abs(_ours(gold, predicted) - released.ccc_loss(gold, predicted, ddof=0))


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same as tensors."""
    return {name: torch.from_numpy(x) for name, x in arrays.items()}
