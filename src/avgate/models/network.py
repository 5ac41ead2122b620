"""Encoders, fusion and head: from features and presence to targets and gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from avgate.models.dropout import Dropout
from avgate.models.encoders import EncoderConfig, TcnConfig, build_encoder
from avgate.models.finetune import FinetuneConfig, Tuned
from avgate.models.fusions import FusionOutput, build_fusion, fusion_class
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.memory import Memory, blank_state, name_places
from avgate.models.spread import Spread


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a model; the widths of its inputs come from the features.

    Args:
        fusion: config of the fusion; its type says which fusion.
        encoders: modality -> encoder config; the default TCN for modalities that aren't named.
        head_dropout: dropout before the last linear layer.
        unimodal_heads: whether training also estimates the targets from each modality alone, by a head per modality.
            These estimates add to the training loss and aren't made in eval mode. If the fusion falls back on single
            modalities, the main head also estimates from each fallback.
        finetune: modality -> pretrained checkpoint whose last layers are trained with the model. The modality's
            features are then raw (images or sound), see FinetuneConfig.
        spread: whether a head of its own also estimates how far each target may be off, see Spread. It changes no
            target.
    """

    tag: ClassVar[str] = "ModelConfig"

    fusion: Any = field(default_factory=HgrjcaConfig)
    encoders: Mapping[str, EncoderConfig] = field(default_factory=dict)
    head_dropout: float = 0.1
    unimodal_heads: bool = False
    # Left out of files where it is empty, so that versions without this setting can still read them.
    finetune: Mapping[str, FinetuneConfig] = field(default_factory=dict, metadata={"omit_empty": True})
    # Files of versions without this setting don't have it, and their models no such head.
    spread: bool = field(default=True, metadata={"omit_empty": True, "missing": False})

    def __post_init__(self) -> None:
        if not 0 <= self.head_dropout < 1:
            raise ValueError(f"head_dropout must be in [0, 1), not {self.head_dropout}")


class ModelOutput(NamedTuple):
    """Output of a model.

    A NamedTuple, because lightning-fabric refuses frozen dataclasses as outputs.

    Attributes:
        targets: [b L k] in [-1, 1].
        gates: the fusion's gates, see FusionOutput.
        unimodal: modality -> [b L k], the estimate of its own head. If the fusion falls back, also `fallback/M`: the
            main head's estimate when only M is relied on. Empty in eval mode and without unimodal heads.
        centre: [b L k], where the labels lie on average; None without a spread head.
        log_variance: [b L k], of the labels about that; None without a spread head.
    """

    targets: Tensor
    gates: dict[str, Tensor]
    unimodal: dict[str, Tensor]
    centre: Tensor | None = None
    log_variance: Tensor | None = None


class Model(nn.Module):
    """One audio-visual regression model.

    Args:
        config: its architecture.
        dims: modality -> number of feature columns, in a fixed order.
        targets: number of values per step.
        window: steps per window, for fusions that have weights per step; None for all others.

    Attributes:
        causal: whether no step sees a later one: encoders and fusion are causal. Sequences can then come in parts.
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
        self._dims = {m: dims[m] for m in self.modalities}
        self.fusion = build_fusion(config.fusion, {m: encoders[m].dim for m in self.modalities}, window)
        self.view_encoders = nn.ModuleDict(
            {
                f"{view}/{m}": build_encoder(widths[m], encoders[m].with_dim(dim) if dim else encoders[m])
                for view, dim in self.fusion.views.items()
                for m in self.modalities
            }
        )
        self.dropout = Dropout(config.head_dropout)
        self.head = nn.Linear(self.fusion.out_dim, targets)
        alone = self.modalities if config.unimodal_heads else ()
        self.unimodal = nn.ModuleDict({m: nn.Linear(encoders[m].dim, targets) for m in alone})
        # Last, so that all other initial weights are those of a model without it.
        self.spread = Spread(self.fusion.out_dim, len(self.modalities), targets) if config.spread else None
        self.causal = self.fusion.causal and not tuned and all(encoders[m].causal for m in self.modalities)
        name_places(self)

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> ModelOutput:
        """Estimate the targets of a batch, all sequences at once.

        In eval mode:

        - What stands in the features of an absent step changes no bit of the output.
        - Absent steps at the end of a sequence (padding) and the other sequences of the batch change its output by
          rounding alone: with the default weights, targets by less than 1e-6 and gates by less than 1e-5. Weights with
          large correlations amplify rounding more. `exact` is for callers that need the same bits.
        - Steps behind a sequence's last present step are NaN. All steps up to it have a value; where no modality is
          present at such a step, the value depends on the neighbouring steps alone.

        In eval mode the model can be exported with `torch.export.export`, unless a pretrained checkpoint was trained
        with it (see FinetuneConfig). The batch size can be dynamic. Behind TCN encoders the length can be, too: up to
        `window` for fusions with `window` time mixing, any for all others. Behind LSTM and GRU encoders the length is
        fixed; pad shorter sequences.

        Args:
            features: modality -> [b L d], standardised; what stands in absent steps is never read.
            present: modality -> bool [b L].

        Raises:
            ValueError: a modality is missing, shapes disagree, there is no step, or presence isn't bool.
        """
        features, present = self._checked(features, present)
        out = self._run(features, present)
        return out if self.training else _without_end(out, present)

    def exact(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> ModelOutput:
        """As forward in eval mode, but padding and the other sequences of the batch change no bit of the output.

        Runs each sequence by itself, cut off behind its last present step, and is slower. Can't be exported.

        Args:
            features: as for forward.
            present: as for forward.

        Raises:
            ValueError: as for forward.
        """
        features, present = self._checked(features, present)
        steps = next(iter(present.values())).shape[1]
        lengths = _up_to_end(present).sum(1).tolist()
        rows = [
            self._run(
                {m: x[i : i + 1, :length] for m, x in features.items()},
                {m: p[i : i + 1, :length] for m, p in present.items()},
            )
            for i, length in enumerate(lengths)
        ]

        def whole(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat([nn.functional.pad(x, (0, 0, 0, steps - x.shape[1]), value=torch.nan) for x in parts])

        gates = {name: whole([row.gates[name] for row in rows]) for name in rows[0].gates}
        centres = [row.centre for row in rows if row.centre is not None]
        spreads = [row.log_variance for row in rows if row.log_variance is not None]
        both = (whole(centres), whole(spreads)) if spreads else (None, None)
        return ModelOutput(whole([row.targets for row in rows]), gates, {}, *both)

    def blank_state(self, batch: int = 1) -> dict[str, Tensor]:
        """What a causal model remembers before the first step of a sequence: name -> [b ...], all 0."""
        return blank_state(self, batch) if self.causal else {}

    def advance(
        self, state: Mapping[str, Tensor], features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], ModelOutput]:
        """Go on with sequences that come in parts, in eval mode; of causal models only.

        The parts together give what `forward` gives of the whole, up to rounding; but every step has a value, where
        nothing is present too.

        Args:
            state: `blank_state`, or what the part before returned; it isn't changed.
            features: as for forward, the next L steps.
            present: as for forward.

        Returns:
            The state after these steps, and their output.

        Raises:
            ValueError: the model isn't causal, or as for forward.
        """
        if not self.causal:
            raise ValueError("this model sees later steps, too: sequences can't come in parts")
        memory = Memory(state)
        out = self._run(*self._checked(features, present), memory)
        return memory.after, out

    def _checked(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The modalities that the model reads; ValueError where they aren't what forward asks for."""
        missing = [m for m in self.modalities if m not in features or m not in present]
        if missing:
            raise ValueError(f"the model also reads {' and '.join(missing)}: give its features and its presence")
        read, here = {m: features[m] for m in self.modalities}, {m: present[m] for m in self.modalities}
        if torch.compiler.is_compiling():  # an exported model has the shapes that it was exported with
            return read, here
        wanted = next(iter(here.values())).shape
        for m in self.modalities:
            if here[m].dtype != torch.bool:
                raise ValueError(f"presence of {m} must be bool, not {here[m].dtype}")
            if here[m].shape != wanted or here[m].dim() != 2 or not here[m].shape[1]:
                raise ValueError(f"presence of {m} must be [b L], alike for all and with L of 1 or more")
            if read[m].shape != (*wanted, self._dims[m]) or not read[m].dtype.is_floating_point:
                raise ValueError(
                    f"features of {m} must be numbers [b L d] = {[*wanted, self._dims[m]]}, "
                    f"not {read[m].dtype} {list(read[m].shape)}"
                )
        return read, here

    def encode(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> dict[str, Tensor]:
        """X_m [b L d_m] for every modality: encoded where present, the learned absence vector where not.

        Also `VIEW/M` for every further view that the fusion reads; these are zero where M is absent.
        """
        encoded, views = {}, {}
        before = () if memory is None else (memory,)
        for m in self.modalities:
            here = present[m].unsqueeze(-1)
            masked = torch.where(here, features[m], 0.0)
            if m in self.tuned:
                masked = self.tuned[m](masked, present[m])
            known = self.encoders[m](masked, present[m], *before)
            encoded[m] = (~here).to(known) * self.absence[m] + known  # which is 0 in absent steps
            for name in (f"{view}/{m}" for view in self.fusion.views):
                views[name] = self.view_encoders[name](masked, present[m], *before)
        return encoded | views

    def _run(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], memory: Memory | None = None
    ) -> ModelOutput:
        encoded = self.encode(features, present, memory)
        out: FusionOutput = self.fusion(encoded, present, *(() if memory is None else (memory,)))
        alone = self._alone(encoded) if self.training and self.unimodal else {}
        targets = self._targets(self.head, out.fused)
        spread = (None, None) if self.spread is None else self.spread(out.fused, targets, out.gates, present)
        return ModelOutput(targets, out.gates, alone, *spread)

    def _alone(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        said = {m: self._targets(head, encoded[m]) for m, head in self.unimodal.items()}
        fused = self.fusion.alone(encoded) if self.fusion.falls_back else {}
        return said | {f"fallback/{m}": self._targets(self.head, x) for m, x in fused.items()}

    def _targets(self, head: nn.Module, features: Tensor) -> Tensor:
        return torch.tanh(head(self.dropout(features)))


def _up_to_end(present: Mapping[str, Tensor]) -> Tensor:
    """Which steps are not behind a sequence's last present one, bool [b L]; the first step always counts."""
    anything = torch.stack(list(present.values())).any(0)
    later = anything.flip(1).cumsum(1).flip(1) > 0
    return later | (torch.arange(anything.shape[1], device=anything.device) == 0)


def _without_end(out: ModelOutput, present: Mapping[str, Tensor]) -> ModelOutput:
    """The output with NaN behind each sequence's last present step."""
    known = _up_to_end(present)[..., None]

    def cut(x: Tensor) -> Tensor:
        return torch.where(known, x, torch.nan)

    gates = {name: cut(gate) for name, gate in out.gates.items()}
    spread = [None if x is None else cut(x) for x in (out.centre, out.log_variance)]
    return ModelOutput(cut(out.targets), gates, out.unimodal, *spread)
