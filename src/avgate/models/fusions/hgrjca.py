"""Hierarchically gated recursive joint cross-attention: as published (hgrjca), and avgate's extension (rhgrjca).

Praveen, Alam, Charton: "United we stand, Divided we fall: Handling Weak Complementary Relationships for Audio-Visual
Emotion Recognition in Valence-Arousal Space", CVPR workshops 2025, arXiv 2503.12261.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from avgate.models.fusions.base import Fusion, FusionOutput, joint
from avgate.models.fusions.blocks import Gate
from avgate.models.fusions.joint_attention import (
    CorrelationScale,
    Form,
    JointAttentionConfig,
    JointFeatures,
    joint_attention,
)
from avgate.models.fusions.mixing import TimeMixing
from avgate.models.memory import Memory

_JUDGED = 16
"""Features of the view that reliability is judged from."""


@dataclass(frozen=True)
class HgrjcaConfig:
    """Settings of hgrjca; the defaults are the published ones, or the simplest where the paper leaves a choice open.

    Args:
        iterations: T, number of iterations of joint cross-attention.
        tau: temperature of both gates; a small one is close to a hard choice.
        time_mixing: form of W_j: `window` (one matrix for a fixed window), `relative` (any length), or `decay` (any
            length, and no step sees a later one).
        reach: in steps, see JointAttentionConfig.
        next_input: which features the next iteration reads: the `gated` or the `attended` ones.
        gate_sees: input of the iteration gate: the modality's `attended` features, `both` these and the modality's
            input, or the input and attended features of `all` modalities.
        reliability: how the reliability of each modality is used, see Reliability and Hgrjca: `off` (not judged),
            `scaled` (inputs are scaled by it), or `fallback` (also falls back on reliable modalities).
        one_encoder: whether one encoder per modality serves fusion, reliability and fallback alike. If not, each of
            the three has its own. Without reliability it changes nothing.
        iteration_gate: whether every iteration has a gate; without it, the attended features are its output.
        stage_gate: whether a gate weighs the iterations; without it, the last iteration's output is taken.
        final_relu: whether the output of every iteration passes a ReLU.
        scale: what correlations are divided by, see JointAttentionConfig.
        dropout: on the attended part of the features.
        form: the equations of joint cross-attention, see JointAttentionConfig.
        hidden: k, features of H in the `additive` form.
    """

    tag: ClassVar[str] = "HgrjcaConfig"

    iterations: int = 3
    tau: float = 0.1
    time_mixing: TimeMixing = "window"
    reach: int = 50
    next_input: Literal["gated", "attended"] = "gated"
    gate_sees: Literal["attended", "both", "all"] = "attended"
    reliability: Literal["off", "scaled", "fallback"] = "off"
    # Left out of files where it is off, so that versions without this setting can still read them.
    one_encoder: bool = field(default=False, metadata={"omit_empty": True})
    iteration_gate: bool = True
    stage_gate: bool = True
    final_relu: bool = True
    scale: CorrelationScale = "sqrt_d"
    dropout: float = 0.1
    form: Form = field(default="paper", metadata={"omit_default": True})
    hidden: int = field(default=JointAttentionConfig.hidden, metadata={"omit_default": True})

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.tau <= 0:
            raise ValueError(f"hgrjca needs iterations >= 1 and tau > 0, not {self}")
        _ = self.attention

    @property
    def attention(self) -> JointAttentionConfig:
        """Settings of the joint cross-attention in every iteration."""
        names = [f.name for f in fields(JointAttentionConfig)]
        return JointAttentionConfig(**{name: getattr(self, name) for name in names})


class Reliability(nn.Module):
    """How far each modality can be relied on at a step, judged from all modalities at that step.

        r_m = sigmoid( ReLU( Y U_m + a_m ) v_m + b_m )      [b L 1]     U_m : w x d_m, v_m : d_m x 1

    Y [b L w] is the concatenation of a view of each modality and its presence (0 or 1). r_m starts near 0.88, which is
    sigmoid(2).

    Args:
        dims: modality -> d_m.
        widths: modality -> features of its view.
    """

    def __init__(self, dims: Mapping[str, int], widths: Mapping[str, int]):
        super().__init__()
        width = sum(widths.values()) + len(widths)
        self.judges = nn.ModuleDict()
        for m, dim in dims.items():
            last = nn.Linear(dim, 1)
            nn.init.constant_(last.bias, 2.0)
            self.judges[m] = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), last)

    def forward(self, views: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """r_m [b L 1] of every modality, from the views of all and their presence [b L]."""
        shown = joint({m: torch.cat([views[m], present[m][..., None].to(views[m])], dim=-1) for m in self.judges})
        return {m: torch.sigmoid(judge(shown)) for m, judge in self.judges.items()}


class GatedIteration(nn.Module):
    """One iteration: joint cross-attention, then a gate per step between input and attended features.

    G_m = softmax( X_att,m W_g,m / tau )                    [b L 2]
    X_g,m = ReLU( G_m[0] * X_m + G_m[1] * X_att,m )         [b L d_m]
    """

    def __init__(self, config: HgrjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__()
        self.config, joint_dim = config, sum(dims.values())
        self.attention, self.gate = nn.ModuleDict(), nn.ModuleDict()
        self.joint = JointFeatures(joint_dim, config.form)
        for m, dim in dims.items():
            self.attention[m] = joint_attention(config.attention, dim, joint_dim, window)
            if config.iteration_gate:
                seen = {"attended": dim, "both": 2 * dim, "all": 2 * joint_dim}[config.gate_sees]
                self.gate[m] = Gate(seen, 2, config.tau)

    def forward(
        self, x: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Of each modality: gated output and attended features [b L d_m] and, if there is a gate, G_m[1] [b L 1]."""
        masked, together = self.joint(x, present)
        attended = {m: self.attention[m](x[m], masked[m], present[m], together, memory) for m in x}
        gated, gates = {}, {}
        for m in x:
            gated[m] = attended[m]
            if self.config.iteration_gate:
                gates[m] = self.gate[m](self._seen(m, x, attended))[..., 1:]
                # The two shares sum to 1.
                gated[m] = (gates[m] * (attended[m] - x[m])).add_(x[m])
            if self.config.final_relu:
                gated[m] = torch.relu(gated[m])
        return gated, attended, gates

    def _seen(self, m: str, x: Mapping[str, Tensor], attended: Mapping[str, Tensor]) -> Tensor:
        if self.config.gate_sees == "attended":
            return attended[m]
        if self.config.gate_sees == "both":
            return torch.cat([x[m], attended[m]], dim=-1)
        return torch.cat([joint(x), joint(attended)], dim=-1)


class Hgrjca(Fusion):
    """T gated iterations, then a stage gate per modality over their outputs.

    S_m = softmax( concat_t(X_g,m^(t)) W_s,m / tau )        [b L T]
    Z_m = sum_t S_m[t] * X_g,m^(t)                          [b L d_m]

    The output is the concatenation of all Z_m, [b L d]. With reliability `scaled` or `fallback`, the input is r_m X_m
    instead of X_m, see Reliability. With `fallback`, the output is

        concat( rho Z_1, ..., rho Z_M, (1 - rho) r_1 A_1, ..., (1 - rho) r_M A_M )      [b L 3d]

    where rho is the product of all r_m, and A_m [b L 2 d_m] the concatenation of X_m (not scaled) and a second view of
    modality m. So if one modality is unreliable, the features of the others reach the head without fusion. That second
    view and the one that reliability is judged from have encoders of their own, because three tasks need different
    features: fusing a modality, using it alone, and recognising that it is unreliable. With `one_encoder`, X_m serves
    all three, A_m is X_m, and the output is [b L 2d].
    """

    name = "hgrjca"
    Config = HgrjcaConfig

    def __init__(self, config: HgrjcaConfig, dims: Mapping[str, int], window: int | None):
        super().__init__(config, dims, window)
        self.causal = config.time_mixing == "decay"
        self.falls_back = config.reliability == "fallback"
        if config.reliability != "off" and not config.one_encoder:
            self.views = {"judged": _JUDGED} | ({"alone": None} if self.falls_back else {})
        untouched = 0 if not self.falls_back else 1 if config.one_encoder else 2
        self.out_dim = sum(dims.values()) * (1 + untouched)
        widths = {m: _JUDGED if "judged" in self.views else dim for m, dim in dims.items()}
        self.reliability = Reliability(dims, widths) if config.reliability != "off" else None
        self.iterations = nn.ModuleList(GatedIteration(config, dims, window) for _ in range(config.iterations))
        choosing = dims if config.stage_gate else {}
        self.stage_gate = nn.ModuleDict(
            {m: Gate(config.iterations * dim, config.iterations, config.tau) for m, dim in choosing.items()}
        )

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> FusionOutput:
        """See Fusion.forward; gates, where set: `attended/M` and `iteration/M` [b L T], `reliability/M` [b L 1]."""
        x = {m: features[m] for m in self.dims}
        relied: dict[str, Tensor] = {}
        if self.reliability is not None:
            relied = self.reliability(self._view("judged", features), present)
            x = {m: x[m] * relied[m] for m in x}
        gates = {f"reliability/{m}": share for m, share in relied.items()}
        outputs: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        shares: dict[str, list[Tensor]] = {m: [] for m in self.dims}
        for iteration in self.iterations:
            gated, attended, gate = iteration(x, present, memory)
            for m in self.dims:
                outputs[m].append(gated[m])
            for m in gate:
                shares[m].append(gate[m])
            x = gated if self.config.next_input == "gated" else attended
        gates |= {f"attended/{m}": torch.cat(share, dim=-1) for m, share in shares.items() if share}
        fused = {m: out[-1] for m, out in outputs.items()}
        for m, choose in self.stage_gate.items():
            gates[f"iteration/{m}"] = choose(*outputs[m])
            first, *others = zip(outputs[m], gates[f"iteration/{m}"].split(1, -1), strict=True)
            fused[m] = first[0] * first[1]
            for stage, share in others:
                fused[m] = (stage * share).add_(fused[m])
        if not self.falls_back:
            return FusionOutput(joint(fused), gates)
        rho = torch.stack(list(relied.values())).prod(0)
        untouched = joint({m: relied[m] * x for m, x in self._untouched(features).items()})
        return FusionOutput(torch.cat([rho * joint(fused), (1 - rho) * untouched], dim=-1), gates)

    def alone(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See Fusion.alone: the output if r_m is 1 for that modality and 0 for the others."""
        if not self.falls_back:
            return super().alone(features)
        untouched = self._untouched(features)
        no_gated = torch.zeros_like(joint({m: features[m] for m in self.dims}))
        nothing = {m: torch.zeros_like(x) for m, x in untouched.items()}
        return {m: torch.cat([no_gated, joint({**nothing, m: untouched[m]})], dim=-1) for m in self.dims}

    def _untouched(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if "alone" not in self.views:
            return {m: features[m] for m in self.dims}
        return {m: torch.cat([features[m], own], dim=-1) for m, own in self._view("alone", features).items()}

    def _view(self, name: str, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: features[f"{name}/{m}" if name in self.views else m] for m in self.dims}


@dataclass(frozen=True)
class RhgrjcaConfig(HgrjcaConfig):
    """Settings of rhgrjca: those of hgrjca with other defaults."""

    tag: ClassVar[str] = "RhgrjcaConfig"

    final_relu: bool = False
    reliability: Literal["off", "scaled", "fallback"] = "fallback"


class Rhgrjca(Hgrjca):
    """avgate's extension: hgrjca that falls back on reliable modalities, without the ReLU after its gates."""

    name = "rhgrjca"
    Config = RhgrjcaConfig
