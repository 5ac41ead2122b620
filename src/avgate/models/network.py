"""Encoders, fusion and head: from features and presence to targets and gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from avgate.models.encoders import EncoderConfig, TcnConfig, build_encoder
from avgate.models.finetune import FinetuneConfig, Tuned
from avgate.models.fusions import FusionOutput, build_fusion, fusion_class
from avgate.models.fusions.hgrjca import HgrjcaConfig


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model, all but what the features decide.

    Args:
        fusion: config of the fusion; its type chooses which.
        encoders: modality -> encoder config; modalities that aren't named take the default TCN.
        head_dropout: before the last linear layer.
        unimodal_heads: whether every modality has a head of its own besides, so that training can ask each encoder to
            be of use alone; what they say has no part in the estimate. A fusion that falls back is then also asked for
            what it makes of each modality alone, by the model's own head.
        finetune: modality -> checkpoint whose last layers learn too; the modality's features are then raw ones, see
            tuning.py.
    """

    tag: ClassVar[str] = "ModelConfig"

    fusion: Any = field(default_factory=HgrjcaConfig)
    encoders: Mapping[str, EncoderConfig] = field(default_factory=dict)
    head_dropout: float = 0.1
    unimodal_heads: bool = False
    # Not written where it is empty, so that versions from before it can read what doesn't use it.
    finetune: Mapping[str, FinetuneConfig] = field(default_factory=dict, metadata={"omit_empty": True})

    def __post_init__(self):
        if not 0 <= self.head_dropout < 1:
            raise ValueError(f"head_dropout must be in [0, 1), not {self.head_dropout}")


class ModelOutput(NamedTuple):
    """What a model gives back.

    A tuple, because lightning-fabric walks through what a model returns and refuses frozen dataclasses.

    Attributes:
        targets: [b L k] in [-1, 1].
        gates: the fusion's, see FusionOutput.
        unimodal: modality -> [b L k], what its own head says; if the fusion falls back, also `fallback/M`, what the
            model says where M alone is relied on. In training only, and only with unimodal heads.
    """

    targets: Tensor
    gates: dict[str, Tensor]
    unimodal: dict[str, Tensor]


class Model(nn.Module):
    """One audio-visual regression model.

    Args:
        config: its shape.
        dims: modality -> number of feature columns, in a fixed order.
        targets: how many values per step.
        window: steps per window, for fusions with weights per step.
    """

    def __init__(self, config: ModelConfig, dims: Mapping[str, int], targets: int, window: int | None):
        super().__init__()
        self.config = config
        fusion = fusion_class(config.fusion)
        self.modalities = fusion.modalities(tuple(dims))
        encoders = {m: config.encoders.get(m, TcnConfig()) for m in self.modalities}
        tuned = {m: Tuned(config.finetune[m], dims[m]) for m in self.modalities if m in config.finetune}
        self.tuned = nn.ModuleDict(tuned)
        widths = {m: tuned[m].out_dim if m in tuned else dims[m] for m in self.modalities}
        self.encoders = nn.ModuleDict({m: build_encoder(widths[m], encoders[m]) for m in self.modalities})
        self.absence = nn.ParameterDict({m: nn.Parameter(0.02 * torch.randn(encoders[m].dim)) for m in self.modalities})
        self.fusion = build_fusion(config.fusion, {m: encoders[m].dim for m in self.modalities}, window)
        self.view_encoders = nn.ModuleDict(
            {
                f"{view}/{m}": build_encoder(widths[m], encoders[m].with_dim(dim) if dim else encoders[m])
                for view, dim in self.fusion.views.items()
                for m in self.modalities
            }
        )
        self.dropout = nn.Dropout(config.head_dropout)
        self.head = nn.Linear(self.fusion.out_dim, targets)
        alone = self.modalities if config.unimodal_heads else ()
        self.unimodal = nn.ModuleDict({m: nn.Linear(encoders[m].dim, targets) for m in alone})

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> ModelOutput:
        """Estimate the targets of a batch.

        In eval mode every sequence runs alone and without the absent steps at its end, so that neither padding nor its
        neighbours in the batch can change a bit of the result; steps behind its end are NaN. Steps before it always
        have a value; where no modality is present there, it rests on the neighbours alone (inference leaves such
        steps unknown).

        Args:
            features: modality -> [b L d], standardised; what stands in absent steps is never read.
            present: modality -> bool [b L].
        """
        features = {m: features[m] for m in self.modalities}
        present = {m: present[m] for m in self.modalities}
        if self.training:
            return self._run(features, present)
        anything = torch.stack(list(present.values())).any(0)
        rows = []
        for i, here in enumerate(anything):
            length = int(here.nonzero().max()) + 1 if here.any() else 1
            one = self._run(
                {m: x[i : i + 1, :length] for m, x in features.items()},
                {m: p[i : i + 1, :length] for m, p in present.items()},
            )
            tail = (0, 0, 0, anything.shape[1] - length)
            rows.append(
                ModelOutput(
                    nn.functional.pad(one.targets, tail, value=torch.nan),
                    {name: nn.functional.pad(gate, tail, value=torch.nan) for name, gate in one.gates.items()},
                    {},
                )
            )
        return ModelOutput(
            torch.cat([r.targets for r in rows]),
            {name: torch.cat([r.gates[name] for r in rows]) for name in rows[0].gates},
            {},
        )

    def encode(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """X_m [b L d_m] for every modality: encoded where present, the learned absence vector where not.

        Further views of them, as `VIEW/M`, are zero where M is absent.
        """
        encoded, views = {}, {}
        for m in self.modalities:
            here = present[m][..., None]
            masked = torch.where(here, features[m], torch.zeros_like(features[m]))
            if m in self.tuned:
                masked = self.tuned[m](masked, present[m])
            encoded[m] = torch.where(here, self.encoders[m](masked, present[m]), self.absence[m])
            for name in (f"{view}/{m}" for view in self.fusion.views):
                views[name] = self.view_encoders[name](masked, present[m])
        return encoded | views

    def _run(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> ModelOutput:
        encoded = self.encode(features, present)
        out: FusionOutput = self.fusion(encoded, present)
        alone = self._alone(encoded) if self.training and self.unimodal else {}
        return ModelOutput(self._targets(self.head, out.fused), out.gates, alone)

    def _alone(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        said = {m: self._targets(head, encoded[m]) for m, head in self.unimodal.items()}
        fused = self.fusion.alone(encoded) if self.fusion.falls_back else {}
        return said | {f"fallback/{m}": self._targets(self.head, x) for m, x in fused.items()}

    def _targets(self, head: nn.Module, features: Tensor) -> Tensor:
        return torch.tanh(head(self.dropout(features)))
