"""Make the model cards: what the weights that come with avgate are made of, what they are for, and how right they are.

    python -m tools.model_card

Run by `make weights` and `make real-people`. What it says is read from the shipped checkpoints and from
docs/real-people.json.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avgate.compare.markdown import markdown_table
from avgate.core.files import atomic_write
from avgate.inference.purpose import IS_FOR, IS_NOT_FOR
from avgate.models.checkpoint import SHIPPED, Checkpoint, load_checkpoint
from tools import people, perturb
from tools.ship import measured_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
CARDS = {"default": DOCS / "model-card.md", "live": DOCS / "model-card-live.md"}
"""Name of weights that come with avgate -> their page."""

KINDS = {
    "default": ("default weights", "They are used wherever no checkpoint is given."),
    "live": (
        "weights for live use",
        "`avgate stream` and `avgate live` use them, and other verbs with `--checkpoint live`. Their model sees "
        "nothing of what comes later; what that costs in general is [measured](causality.md).",
    ),
}
"""Name of weights that come with avgate -> what they are called, and what uses them."""

SOURCES: Mapping[str, tuple[str, str]] = {
    "rendered clips": (
        "made by `avgate render`: NASA's public-domain portrait of Eileen Collins, bent and moved by a program, with a "
        "synthetic voice. The program knows valence and arousal of every frame",
        "nothing of anybody else",
    ),
    "still photographs": (
        "one face each, mostly of public figures, with an emotion word given by a crowd: the public repository "
        "[muxspace/facial_expressions](https://github.com/muxspace/facial_expressions). Only the geometry of the faces "
        "was used",
        "Apache-2.0, as stated there; who has the rights in the pictures is unclear. No picture comes with avgate",
    ),
    "EmoDB": (
        "German sentences, spoken by actors who play an emotion (Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, "
        "*A database of German emotional speech*, Interspeech 2005)",
        "CC0. No recording comes with avgate",
    ),
}
"""Source -> what it is, and its licence."""


def source_of(group: str) -> str:
    """The source of a person, by the name that tools/people.py gives to persons."""
    prefixes = {"emodb": "EmoDB", "face-": "still photographs"}
    return next((source for prefix, source in prefixes.items() if group.startswith(prefix)), "rendered clips")


def card(
    checkpoint: Checkpoint, measured: Mapping[str, Any] | None, kind: str = "default", beside: Checkpoint | None = None
) -> str:
    """The page.

    Args:
        checkpoint: the weights.
        measured: what docs/real-people.json holds; None where weights of this recipe weren't measured.
        kind: which weights these are, see KINDS.
        beside: the default weights, whose scores on the same clips are shown beside; None shows none.
    """
    called, used_by = KINDS[kind]
    trained_on = checkpoint.trained_on
    persons = {
        split: [source_of(group) for group in trained_on[f"{split}_groups"]] for split in ("train", "validation")
    }
    used = [source for source in SOURCES if source in persons["train"]]
    parts = [_summary(checkpoint), _made_of(trained_on, persons, used)]
    if used != ["rendered clips"]:
        parts.append(_changed(trained_on.get("emotion_map", "")))
    parts += [_purpose(), _limits(used), _figures(checkpoint, measured, beside), _licences()]
    return "\n".join([f"# Model card of the {called}", "", f"{MADE} {used_by}", "", *parts]).rstrip() + "\n"


MADE = """Made by `python -m tools.model_card` (`make weights`, `make real-people`), from the weights that come with
avgate and what was measured of them."""


def _summary(checkpoint: Checkpoint) -> str:
    recipe, intervals = checkpoint.recipe, checkpoint.intervals
    count = sum(weight.numel() for weight in checkpoint.weights.values())
    if intervals is None:
        sure = "none: they weren't calibrated"
    else:
        width = "their width follows the model's own doubt" if intervals.scaled else "of one width"
        sure = f"calibrated on {intervals.persons} persons whom training hadn't seen; {width}"
    rows = {
        "what they do": [
            f"{' and '.join(checkpoint.targets)} from voice, face, or both, at every moment, from -1 to 1"
        ],
        "model": [f"fusion `{recipe.fusion}`, {count:,} weights, recipe `{recipe.name}`, avgate {checkpoint.avgate}"],
        "what they read": [", ".join(f"`{spec.backbone}`" for spec in checkpoint.features)],
        "intervals": [sure],
    }
    notes = "".join(f"- {note}\n" for note in checkpoint.caveats)
    shown = f"avgate shows with every result:\n\n{notes}" if notes else ""
    return markdown_table("## In short", "", ("",), rows) + f"\n{shown}"


def _made_of(trained_on: Mapping[str, Any], persons: Mapping[str, Sequence[str]], used: Sequence[str]) -> str:
    rows = {
        source: [SOURCES[source][0], *(str(persons[split].count(source)) for split in persons), SOURCES[source][1]]
        for source in used
    }
    head = (
        "## What they are made of\n\n"
        f"{trained_on['train_clips']} clips for training and {trained_on['validation_clips']} for validation, copies "
        "included. Nobody is in both. `make weights` makes them again."
    )
    return markdown_table(head, "source", ("what", "persons, training", "persons, validation", "licence"), rows)


def _changed(emotion_map: str) -> str:
    return f"""## How recordings were changed, and labels made

For training, every voice is also heard {people.CHANNELS} times as a larger or smaller speaker's, through random
channels (microphone, room, noise, telephone, MP3, level), and every photograph also seen mirrored and as
{people.FILMS} films of a drifting, tilting camera. Common emotions are seen less often, so that a neutral face or voice
stays in the middle. `tools/people.py` and `tools/perturb.py` say exactly how. Kept for tests:
{", ".join([*perturb.SOUND, *perturb.PICTURE])}.

Labels of people are emotion words. Each stands for a place in the plane: {emotion_map}.
[The places](open-corpora.md#from-emotion-words-to-valence-and-arousal) come from public transcriptions of that table.
"""


def _purpose() -> str:
    # The gravest one stands out.
    worst, *others = IS_NOT_FOR
    title, colon, rest = worst.partition(":")
    return f"""## What they are for

{_points(IS_FOR)}

## What they are not for

{_points((f"**{title}**{colon}{rest}", *others))}

For any statement about people, train on rated recordings of such people ([how](train.md)), and report how right the
model is on others.
"""


def _points(lines: Sequence[str]) -> str:
    return "\n".join(textwrap.fill(f"- {line}", 120, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def _limits(used: Sequence[str]) -> str:
    said = {
        "rendered clips": "The rendered face and voice follow rules: what moves together there needn't in people.",
        "still photographs": "Photographs show one moment, often a pose, mostly of public figures. A crowd chose the "
        "words, and often erred. What the people felt isn't known.",
        "EmoDB": "The speech is German, and acted: clearer than in life. Training heard no other language.",
    }
    lines = [said[source] for source in used]
    if used != ["rendered clips"]:
        lines += [
            "An emotion word's place in the plane is a convention: scores say how well emotions are told apart, rather "
            "than how well valence and arousal are measured.",
            "Training never saw voice and face of one real person together.",
            "They know the people they were made of: tried on EmoDB or on those photographs, they look better than "
            "they are.",
            "Whether they are equally right for all people couldn't be measured: only sex is known, and only of "
            "EmoDB's speakers. There are no figures by age, skin colour, origin or disability.",
        ]
    return "## Known limits\n\n" + "".join(f"- {line}\n" for line in lines)


def _figures(checkpoint: Checkpoint, measured: Mapping[str, Any] | None, beside: Checkpoint | None) -> str:
    text = "## How right they are\n\n"
    if measured is None and beside is not None:
        text += (
            "On real people who were left out of training, that hasn't been measured; of the "
            "[default weights](model-card.md), which were trained on the same recordings, it has.\n"
        )
    elif measured is None:
        text += "On real people, that hasn't been measured. `make real-people` measures it.\n"
    else:
        text += _told(measured)
        for command in dict.fromkeys(row["command"] for row in measured["rows"]):
            cells = _cells([row for row in measured["rows"] if row["command"] == command])
            columns = ("measured [95 % interval]", "needed", "reached")
            text += "\n" + markdown_table(f"Measured by `{command}`:", "what", columns, cells)
    if "validation" not in checkpoint.scores:
        return text
    by = {"": checkpoint} | ({} if beside is None else {", default weights": beside})
    scores = {who: one.scores["validation"]["smoothed"] for who, one in by.items()}
    names = {"CCC": "ccc", "PCC": "pcc", "RMSE": "rmse"}
    columns = tuple(f"{name}{who}" for who in scores for name in names)
    rows = {
        target: [f"{of[target][name]:.3f}" for of in scores.values() for name in names.values()]
        for target in checkpoint.targets
    }
    head = (
        "On the validation clips (`make weights`). They chose the epoch, so these figures flatter. All sources are "
        "pooled, and the label of a whole clip counts in each of its steps:"
    )
    return text + "\n" + markdown_table(head, "target", columns, rows)


def _told(measured: Mapping[str, Any]) -> str:
    """How many of the bars set beforehand are reached."""
    bars = [row["holds"] for row in measured["rows"] if row["holds"] is not None]
    return (
        f"On real people who were left out of training, {sum(bars)} of {len(bars)} bars that were set beforehand are "
        "reached. [Real people](real-people.md) says how it was measured, and shows other methods beside it.\n"
    )


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    cells = {
        row["what"]: [
            f"{row['measured']:.3f}" + ("" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"),
            "" if row["needed"] is None else f"{row['needed']:.3g}",
            "" if row["holds"] is None else ("yes" if row["holds"] else "**no**"),
        ]
        for row in rows
    }
    if len(cells) < len(rows):
        raise ValueError("two rows of docs/real-people.json with one command have the same name")
    return cells


def _licences() -> str:
    return """## Licences

The weights have avgate's licence, MIT. mediapipe, which finds the face's points, is under Apache-2.0. openSMILE, which
describes the voice, has a licence of its own that restricts commercial use.
"""


def shipped_card(kind: str) -> str:
    """The page of these weights as they come with avgate."""
    checkpoint = load_checkpoint(SHIPPED[kind])
    return card(checkpoint, measured_of(checkpoint), kind, load_checkpoint() if kind == "live" else None)


def main() -> None:
    """Write the pages."""
    for kind, path in CARDS.items():
        with atomic_write(path) as temporary:
            temporary.write_text(shipped_card(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
