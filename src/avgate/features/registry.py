"""The table of all backbones. A new one is a file and a line in BACKBONES; the contract tests then cover it."""

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
    """A kind of backbone: its class and its config class, which has a field `source` if it needs weights."""

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
"""Kind -> classes. A backbone's name is KIND or KIND:SOURCE, either with ?SETTING=VALUE&SETTING=VALUE behind it."""


RAW = {"sound": "waveform", "images": "crops"}
"""Input of a network that is trained together with the fusion -> kind of backbone that gives it."""


def modality_of(name: str) -> str:
    """Modality of the backbone of this name; empty for unknown names, such as those of a corpus' own features."""
    kind = BACKBONES.get(kind_of(name))
    return "" if kind is None else kind.make.modality


def build_backbones(names: Sequence[str], rate: float) -> tuple[Backbone, ...]:
    """Make the backbones of these names, with features at the label rate.

    Raises:
        UsageError: a kind or setting is unknown or given twice, a value has the wrong type, or the source is missing.
        ModelFileError: the weights are missing or can't be used.
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
            hint = "it has no settings"
            if known:
                hint = f"its settings are {', '.join(sorted(known))}, as in {kind_of(name)}?{min(known)}=..."
            raise UsageError(f"unknown setting '{part}'", where=name, hint=hint)
        if key in settings:
            raise UsageError(f"the setting '{key}' is given twice", where=name, hint="give it once")
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
    backbone: Backbone = kind.make(kind.config(**settings), name)
    return backbone


def _fitting(value: Any, hint: Any, where: str) -> Any:
    """The value of a setting in the type that the config asks for; a single value also makes a tuple of one."""
    if get_origin(hint) is tuple:
        items = value if isinstance(value, tuple) else (value,)
        return tuple(_fitting(item, get_args(hint)[0], where) for item in items)
    if get_origin(hint) is Literal:
        return choose("choice", str(value), {choice: choice for choice in get_args(hint)})
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise UsageError(f"'{value}' is not {kinds[hint]}", where=where, hint=f"give {kinds[hint]}")
    return value


def _value(text: str) -> Any:
    """Parse a setting: a number, true or false, several of them between commas, or else text."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return tuple(map(_value, text.split(","))) if "," in text else text
