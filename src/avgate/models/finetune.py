"""Backbones that are trained with the fusion: the last layers learn, the rest stays as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avgate.core.errors import ModelFileError
from avgate.core.types import SAMPLE_RATE
from avgate.features.face.pixels import Look, normalised
from avgate.features.hub import find_model, load_encoder, settings_of, wishes_of


@dataclass(frozen=True)
class FinetuneConfig:
    """A transformers checkpoint that a modality's raw features go through before their encoder.

    Args:
        source: folder of the checkpoint, or its name on the hub. The recipe's backbone of that modality must be `crops`
            for a model of images, or `waveform` for a model of sound.
        kind: what it is a model of.
        layers: how many of its last layers learn, at least 1.
        piece: faces, or windows of sound, that run at once. What is needed to train them is computed again on the way
            back (gradient checkpointing), so that memory grows with one piece, not with the batch.
        lr_scale: by what the recipe's learning rate is multiplied for these layers.
    """

    tag: ClassVar[str] = "FinetuneConfig"

    source: str
    kind: Literal["images", "sound"] = "images"
    layers: int = 1
    piece: int = 32
    lr_scale: float = 0.1

    def __post_init__(self):
        if self.layers < 1 or self.piece < 1 or not 0 < self.lr_scale <= 1:
            raise ValueError(f"finetuning needs layers and piece of at least 1, and lr_scale in (0, 1], not {self}")


class Tuned(nn.Module):
    """Features [b L d] of raw features [b L n], through a checkpoint of which the last layers learn.

    Args:
        config: which checkpoint, and how far it is trained.
        columns: n, columns of the raw features.

    Raises:
        ModelFileError: the checkpoint is missing, or has fewer layers.
    """

    def __init__(self, config: FinetuneConfig, columns: int):
        super().__init__()
        self.config = config
        folder = find_model(config.source)
        self.backbone = load_encoder(folder, "cpu", half=False)
        blocks = _blocks(self.backbone)
        settings, self._wishes = settings_of(folder), wishes_of(folder)
        hears = "conv_dim" in settings
        if hears != (config.kind == "sound"):
            what = f"it is a model of {'sound' if hears else 'images'}, not of {config.kind}"
            raise ModelFileError(what, where=config.source, hint="take another, or set the kind and its raw features")
        self.out_dim = int(settings["hidden_size"])
        self._look = Look.of(settings, self._wishes, config.source)
        self._side = round((columns / 3) ** 0.5)
        if config.layers > len(blocks):
            what = f"it has {len(blocks)} layers, so {config.layers} can't be trained"
            raise ModelFileError(what, where=config.source, hint="train fewer")
        learning = {id(p) for block in blocks[-config.layers :] for p in block.parameters()}
        for parameter in self.backbone.parameters():
            parameter.requires_grad = id(parameter) in learning

    def train(self, mode: bool = True) -> Tuned:
        """The checkpoint's own dropout stays off: what is frozen must not change from one pass to the next."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """[b L d] from raw x [b L n] and presence [b L]; 0 where absent."""
        return self._seen(x, present) if self.config.kind == "images" else self._heard(x, present)

    def _seen(self, x: Tensor, present: Tensor) -> Tensor:
        out = x.new_zeros((*x.shape[:2], self.out_dim))
        if present.any():
            faces = x[present].view(-1, self._side, self._side, 3)
            out[present] = torch.cat([self._piece(self._see, part) for part in faces.split(self.config.piece)])
        return out

    def _see(self, faces: Tensor) -> Tensor:
        return self.backbone(pixel_values=normalised(faces, self._look)).last_hidden_state.mean(1)

    def _heard(self, x: Tensor, present: Tensor) -> Tensor:
        sound = torch.where(present[..., None], x, torch.zeros_like(x))
        return torch.cat([self._piece(self._hear, part) for part in sound.split(self.config.piece)])

    def _hear(self, sound: Tensor) -> Tensor:
        b, steps, n = sound.shape
        samples = sound.reshape(b, steps * n)
        # A window must be long enough for one frame of the convolutions.
        samples = nn.functional.pad(samples, (0, max(0, SAMPLE_RATE // 20 - steps * n)))
        if self._wishes.get("do_normalize", True):
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
    """The model's stack of layers: its longest list of modules of one kind."""
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len({type(block) for block in m}) == 1]
    # Convolutions that take in sound are a list too; the transformer's layers are those with attention in them.
    with_attention = [s for s in stacks if any(re.search("atten|attn", name) for name, _ in s.named_modules())]
    if not with_attention:
        raise ModelFileError("it has no stack of transformer layers", hint="take a transformer, such as a ViT or WavLM")
    return max(with_attention, key=len)
