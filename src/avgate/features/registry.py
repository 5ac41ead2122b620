"""Feature extractors. A new one is a file here and a line in BACKBONES; the contract tests then cover it."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from avgate.core.errors import UsageError, choose
from avgate.features.audio.egemaps import Egemaps, EgemapsConfig
from avgate.features.audio.hf import HfAudio, HfAudioConfig
from avgate.features.audio.logmel import Logmel, LogmelConfig
from avgate.features.audio.onnx import OnnxAudio, OnnxAudioConfig
from avgate.features.audio.waveform import WaveformBackbone, WaveformConfig
from avgate.features.base import Backbone, kind_of
from avgate.features.face.blendshapes import Blendshapes, BlendshapesConfig
from avgate.features.face.crops import Crops, CropsConfig
from avgate.features.face.hf import HfImage, HfImageConfig
from avgate.features.face.mesh import Facemesh, FacemeshConfig
from avgate.features.face.onnx import OnnxImage, OnnxImageConfig


class Kind(NamedTuple):
    """A kind of backbone: its class, and the class of its settings, which has `source` if it needs weights."""

    make: Any
    config: type


BACKBONES: dict[str, Kind] = {
    "egemaps": Kind(Egemaps, EgemapsConfig),
    "logmel": Kind(Logmel, LogmelConfig),
    "facemesh": Kind(Facemesh, FacemeshConfig),
    "blendshapes": Kind(Blendshapes, BlendshapesConfig),
    "waveform": Kind(WaveformBackbone, WaveformConfig),
    "crops": Kind(Crops, CropsConfig),
    "hf_audio": Kind(HfAudio, HfAudioConfig),
    "hf_image": Kind(HfImage, HfImageConfig),
    "onnx_audio": Kind(OnnxAudio, OnnxAudioConfig),
    "onnx_image": Kind(OnnxImage, OnnxImageConfig),
}
"""Kind -> what makes it. A name is KIND, KIND:SOURCE, or either followed by ?SETTING=VALUE&SETTING=VALUE."""


RAW = {"sound": "waveform", "images": "crops"}
"""What a backbone is a model of -> the kind that gives what it takes, for one that is trained with the fusion."""


def modality_of(name: str) -> str:
    """What a backbone of this name reads; empty for one that there isn't, such as features that a corpus brings."""
    kind = BACKBONES.get(kind_of(name))
    return "" if kind is None else kind.make.modality


def build_backbones(names: Sequence[str], rate: float) -> tuple[Backbone, ...]:
    """The backbones of these names at one label rate.

    Raises:
        UsageError: a kind or a setting that there isn't, a value that doesn't fit, or a source that is missing.
        ModelFileError: weights that are missing or aren't what they should be.
    """
    return tuple(_build(name, rate) for name in names)


def _build(name: str, rate: float) -> Backbone:
    kind = choose("backbone", kind_of(name), BACKBONES)
    head, _, query = name.partition("?")
    source = head.partition(":")[2]
    known = {field.name for field in fields(kind.config)} - {"rate", "source"}
    settings: dict[str, Any] = {"rate": rate}
    for part in filter(None, query.split("&")):
        key, equals, text = part.partition("=")
        if not equals or key not in known:
            hint = f"its settings are {', '.join(sorted(known))}, as in {kind_of(name)}?{min(known)}=..."
            raise UsageError(f"there is no setting '{part}'", where=name, hint=hint)
        settings[key] = _value(unquote(text))
    takes_source = any(field.name == "source" for field in fields(kind.config))
    if takes_source != bool(source):
        what = "it doesn't say which model" if takes_source else f"it takes no model such as '{source}'"
        hint = f"write {kind_of(name)}:MODEL, a path" + (" or a name on the hub" if "hf" in name else "")
        raise UsageError(what, where=name, hint=hint if takes_source else f"write {kind_of(name)}")
    if source:
        settings["source"] = source
    hints = get_type_hints(kind.config)
    for key in known & settings.keys():
        settings[key] = _fitting(settings[key], hints[key], f"{name}, {key}")
    return kind.make(kind.config(**settings), name)


def _fitting(value: Any, hint: Any, where: str) -> Any:
    """A setting in the type that it must have; a single value stands for a tuple of one."""
    if get_origin(hint) is tuple:
        items = value if isinstance(value, tuple) else (value,)
        return tuple(_fitting(item, get_args(hint)[0], where) for item in items)
    if get_origin(hint) is Literal:
        return choose("choice", str(value), {choice: choice for choice in get_args(hint)})
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        raise UsageError(f"'{value}' is not {kinds[hint]}", where=where, hint=f"give {kinds[hint]}")
    return value


def _value(text: str) -> Any:
    """A number, True or False, several of these between commas, or text as it stands."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return tuple(map(_value, text.split(","))) if "," in text else text
