"""The modalities and their presence masks: what each is called, and how it is drawn. A third modality is a row here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from avgate.core.errors import UsageError


@dataclass(frozen=True)
class Modality:
    """What one modality is called.

    Attributes:
        name: in features, recipes and checkpoints.
        plain: what people call it; its gates are named by it.
        presence: name of its presence mask in a trace. Sound that is there need not be a voice.
    """

    name: str
    plain: str
    presence: str


@dataclass(frozen=True)
class Mask:
    """How one presence mask, and whatever else is of the same source, is shown.

    Attributes:
        name: in a trace; its column in files is NAME_present.
        label: what a strip of it is called.
        says: what the mask says.
        absent: the state where it is False.
        present: the state where it is True.
        share: what the share of frames with it is called.
        colours: strong and pale, on white.
        dark_colours: strong and pale, on a dark page.
    """

    name: str
    label: str
    says: str
    absent: str
    present: str
    share: str
    colours: tuple[str, str]
    dark_colours: tuple[str, str]


_GREY, _GREY_ON_DARK = ("#4d5966", "#e6e9ec"), ("#aab6c3", "#2d3238")

MODALITIES: tuple[Modality, ...] = (
    Modality("audio", "voice", "audio"),
    Modality("video", "face", "face"),
    Modality("text", "text", "text"),
)

MASKS: tuple[Mask, ...] = (
    Mask(
        "face",
        "face",
        "whether the face was found",
        "not found",
        "in view",
        "face in view",
        ("#74369f", "#efe4f6"),
        ("#cda5f7", "#342a40"),
    ),
    Mask(
        "voice",
        "voice",
        "whether someone spoke",
        "silent",
        "speaking",
        "someone speaking",
        ("#0c6f67", "#dcefec"),
        ("#4fd3c3", "#1d3735"),
    ),
    Mask("audio", "sound", "whether there is sound at all", "none", "present", "sound", _GREY, _GREY_ON_DARK),
    Mask(
        "text",
        "text",
        "whether there are words",
        "none",
        "present",
        "words",
        ("#8a5a00", "#f4ead8"),
        ("#e3b566", "#3a2f1c"),
    ),
)
"""In the order in which they are shown and written."""


def refuse_modality(name: str) -> None:
    """Refuse a name under which gates and masks of two modalities would be one: UsageError."""
    if any(m.name == name for m in MODALITIES):
        return
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UsageError(f"'{name}' can't be a modality", hint="use letters, digits and _, such as body_pose")
    if name in {m.plain for m in MODALITIES} | {mask.name for mask in MASKS}:
        raise UsageError(f"'{name}' can't be a modality: another one is called so", hint="give it another name")


def modality_named(name: str) -> Modality:
    """The modality of that name; one that isn't in the table is called by its own name everywhere."""
    return next((m for m in MODALITIES if m.name == name), Modality(name, name, name))


def mask_named(name: str) -> Mask:
    """The mask of that name; one that isn't in the table is grey and called by its own name."""
    usual = Mask(name, name, name, "no", "yes", name, _GREY, _GREY_ON_DARK)
    return next((mask for mask in MASKS if mask.name == name), usual)


def in_order(names: list[str]) -> list[str]:
    """Names of masks in the table's order; those that aren't in it follow."""
    order = [mask.name for mask in MASKS]
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))
