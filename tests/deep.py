"""Tiny random checkpoints of each family of deep backbones, written to disk for the real loading code."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avgate.models.recipe import Recipe


def _saved(model: Any, folder: Path, preprocessor: dict[str, Any]) -> Path:
    from transformers.utils import logging

    torch.manual_seed(0)
    logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def write_audio(folder: Path, family: str = "wav2vec2", depth: int = 2, **settings: Any) -> Path:
    """wav2vec2, hubert, wavlm or "audeering" (wav2vec 2.0 with the emotion head that has no class in transformers)."""
    import transformers as t

    shape = {
        "hidden_size": 16,
        "num_hidden_layers": depth,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    torch.manual_seed(0)
    names = {"hubert": "Hubert", "wavlm": "WavLM"}
    if family in ("audeering",):
        shape |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    name = names.get(family, "Wav2Vec2")
    model = getattr(t, f"{name}Model")(getattr(t, f"{name}Config")(**shape, **settings))
    return _saved(model, folder, {"do_normalize": True, "sampling_rate": 16000})


IMAGE_FAMILIES = ("vit", "dinov2", "swin", "convnext", "resnet", "clip")


def write_image(folder: Path, family: str = "vit") -> Path:
    """One of IMAGE_FAMILIES, for pictures of 32 x 32."""
    import transformers as t

    torch.manual_seed(0)
    tokens = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    tokens |= {"image_size": 32, "patch_size": 8}
    stages = {"hidden_sizes": [8, 16], "depths": [1, 1]}
    if family == "vit":
        model = t.ViTModel(t.ViTConfig(**tokens))
    elif family == "dinov2":
        model = t.Dinov2Model(t.Dinov2Config(**tokens))
    elif family == "swin":
        swin = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}
        model = t.SwinModel(t.SwinConfig(**swin, window_size=4))
    elif family == "convnext":
        model = t.ConvNextModel(t.ConvNextConfig(**stages, num_stages=2, image_size=32))
    elif family == "resnet":
        model = t.ResNetModel(t.ResNetConfig(**stages, embedding_size=8, layer_type="basic"))
    else:
        text = {**tokens, "vocab_size": 20, "max_position_embeddings": 8}
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=tokens, projection_dim=8))
    looks = {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}
    return _saved(model, folder, looks)


class _SeesPictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 5, stride=4)
        self.head = nn.Linear(6, 4)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = self.conv(pixels).relu()
        return self.head(maps.mean((2, 3))), maps


class _HearsSound(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 400, stride=160)
        self.head = nn.Linear(6, 3)

    def forward(self, signal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self.conv(signal[:, None]).tanh().transpose(1, 2)
        return self.head(frames.mean(1)), frames


def write_onnx(path: Path, hears: bool, batch: int | None = None) -> Path:
    """A file that sees pictures [n 3 32 32] or hears sound [n samples]; its second output has maps or frames."""
    torch.manual_seed(0)
    model: nn.Module = _HearsSound() if hears else _SeesPictures()
    example = torch.randn(batch or 2, 16000) if hears else torch.randn(batch or 2, 3, 32, 32)
    name = "signal" if hears else "pixels"
    axes = {name: {0: "n", **({1: "samples"} if hears else {})}, "scores": {0: "n"}, "states": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs a further package
        torch.onnx.export(
            model.eval(),
            (example,),
            str(path),
            input_names=[name],
            output_names=["scores", "states"],
            dynamic_axes=None if batch else axes,
            dynamo=False,
        )
    return path


@cache
def sources(root: Path) -> dict[str, str]:
    """Kind of backbone -> a name of one that can be built, for all kinds that need weights."""
    return {
        "hf_audio": f"hf_audio:{write_audio(root / 'hf_audio')}?chunk_s=2",
        "hf_image": f"hf_image:{write_image(root / 'hf_image')}",
        "onnx_audio": f"onnx_audio:{write_onnx(root / 'sound.onnx', True)}?window_s=1&hop_s=0.1",
        "onnx_image": f"onnx_image:{write_onnx(root / 'pictures.onnx', False)}",
    }


def with_tiny_weights(recipe: Recipe, root: Path) -> Recipe:
    """The recipe with a tiny checkpoint in place of each that it trains along, for the real ones have to be fetched."""
    tuned = {m: replace(c, source=str(write_image(root / "tuned"))) for m, c in recipe.model.finetune.items()}
    return replace(recipe, model=replace(recipe.model, finetune=tuned)) if tuned else recipe
