"""Pretrained checkpoints whose last layers are trained together with the fusion."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.types import SAMPLE_RATE
from avgate.features.face.pixels import InputFormat, normalised
from avgate.features.hub import find_model, load_encoder, preprocessor_of, settings_of


@dataclass(frozen=True)
class FinetuneConfig:
    """A pretrained transformers checkpoint between a modality's raw features and its encoder.

    A model with such a checkpoint can't be exported with torch.export.

    Args:
        source: folder of the checkpoint, or its name on the hub. The recipe's backbone of that modality must be `crops`
            for a model of images, or `waveform` for a model of sound.
        kind: what the checkpoint reads.
        layers: number of its last layers that are trained, at least 1; all others stay frozen.
        piece: number of faces, or of windows of sound, that run at once. Activations are recomputed in the backward
            pass (gradient checkpointing), so memory grows with the piece and not with the batch.
        lr_scale: factor on the recipe's learning rate for these layers.
    """

    tag: ClassVar[str] = "FinetuneConfig"

    source: str
    kind: Literal["images", "sound"] = "images"
    layers: int = 1
    piece: int = 32
    lr_scale: float = 0.1

    def __post_init__(self) -> None:
        if self.layers < 1 or self.piece < 1 or not 0 < self.lr_scale <= 1:
            raise ValueError(f"finetuning needs layers and piece of at least 1, and lr_scale in (0, 1], not {self}")


class Tuned(nn.Module):
    """A pretrained checkpoint with trainable last layers: features [b L d] from raw features [b L n].

    Args:
        config: which checkpoint, and how much of it is trained.
        columns: n, number of raw feature columns.

    Raises:
        ModelFileError: the checkpoint is missing, is of another kind, or has fewer layers than should be trained.
    """

    def __init__(self, config: FinetuneConfig, columns: int):
        super().__init__()
        self.config = config
        folder = find_model(config.source)
        self.backbone = load_encoder(folder, "cpu", half=False)
        blocks = _blocks(self.backbone)
        settings, self._preprocessor = settings_of(folder), preprocessor_of(folder)
        hears = "conv_dim" in settings
        if hears != (config.kind == "sound"):
            what = f"it is a model of {'sound' if hears else 'images'}, not of {config.kind}"
            raise ModelFileError(what, where=config.source, hint="take another, or set the kind and its raw features")
        self.out_dim = int(settings["hidden_size"])
        self._format = InputFormat.of(settings, self._preprocessor, config.source)
        self._side = round((columns / 3) ** 0.5)
        if config.layers > len(blocks):
            what = f"it has {len(blocks)} layers, so {config.layers} can't be trained"
            raise ModelFileError(what, where=config.source, hint="train fewer")
        learning = {id(p) for block in blocks[-config.layers :] for p in block.parameters()}
        for parameter in self.backbone.parameters():
            parameter.requires_grad = id(parameter) in learning

    def train(self, mode: bool = True) -> Tuned:
        """As nn.Module.train, but the checkpoint stays in eval mode, so that its own dropout never applies."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """[b L d] from raw x [b L n] and presence [b L]; 0 where absent.

        Raises:
            UsageError: during torch.export, which can't trace a number of faces that depends on the data.
        """
        if torch.compiler.is_exporting():
            raise UsageError(
                "a model can't be exported together with the checkpoint that was trained with it",
                where=self.config.source,
                hint="export a model on extracted features",
            )
        return self._seen(x, present) if self.config.kind == "images" else self._heard(x, present)

    def _seen(self, x: Tensor, present: Tensor) -> Tensor:
        out = x.new_zeros((*x.shape[:2], self.out_dim))
        if present.any():
            faces = x[present].view(-1, self._side, self._side, 3)
            out[present] = torch.cat([self._piece(self._see, part) for part in faces.split(self.config.piece)])
        return out

    def _see(self, faces: Tensor) -> Tensor:
        return self.backbone(pixel_values=normalised(faces, self._format)).last_hidden_state.mean(1)

    def _heard(self, x: Tensor, present: Tensor) -> Tensor:
        sound = torch.where(present[..., None], x, torch.zeros_like(x))
        return torch.cat([self._piece(self._hear, part) for part in sound.split(self.config.piece)])

    def _hear(self, sound: Tensor) -> Tensor:
        b, steps, n = sound.shape
        samples = sound.reshape(b, steps * n)
        # The checkpoint's convolutions need at least one full frame.
        samples = nn.functional.pad(samples, (0, max(0, SAMPLE_RATE // 20 - steps * n)))
        if self._preprocessor.get("do_normalize", True):
            samples = (samples - samples.mean(1, keepdim=True)) / (
                samples.var(1, correction=0, keepdim=True) + 1e-7
            ).sqrt()
        frames = self.backbone(samples).last_hidden_state.transpose(1, 2)
        return nn.functional.interpolate(frames, steps, mode="linear", align_corners=False).transpose(1, 2)

    def _piece(self, run: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return run(part)
        return checkpoint(run, part, use_reentrant=False)


def _blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer's layers: its longest ModuleList of one type with attention in it."""
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len({type(block) for block in m}) == 1]
    # Models of sound also have a ModuleList of convolutions.
    with_attention = [s for s in stacks if any(re.search("atten|attn", name) for name, _ in s.named_modules())]
    if not with_attention:
        raise ModelFileError("it has no stack of transformer layers", hint="take a transformer, such as a ViT or WavLM")
    return max(with_attention, key=len)
