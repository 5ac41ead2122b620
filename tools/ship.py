"""Make a trained checkpoint the weights that come with avgate, with what users must know of them.

    python -m tools.ship work/weights/run/checkpoint.safetensors

Those of a causal model become the weights for live use, all others the default ones. Run by `make weights`. What was
measured on real people is taken from docs/real-people.json (`make real-people`), and is said of weights of the same
recipe alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from avgate.models.checkpoint import DEFAULT_WEIGHTS, LIVE_WEIGHTS, Checkpoint, load_checkpoint
from avgate.models.recipe import to_plain

MEASURED = Path(__file__).resolve().parents[1] / "docs" / "real-people.json"

UNMEASURED = (
    "{name}: trained on rendered clips, photographs and acted speech, and not on spontaneous behaviour. They "
    "are not for decisions about a person."
)


def measured_of(checkpoint: Checkpoint, file: Path = MEASURED) -> Mapping[str, Any] | None:
    """What was measured on real people with models of the checkpoint's recipe; None where nothing was."""
    if not file.is_file():
        return None
    measured = json.loads(file.read_text(encoding="utf-8"))
    return measured if measured["recipe"] == to_plain(checkpoint.recipe) else None


def labelled(checkpoint: Checkpoint, measured: Mapping[str, Any] | None) -> Checkpoint:
    """The checkpoint with the note that users see, and with what was measured among its scores."""
    scores = {name: values for name, values in checkpoint.scores.items() if name != "people"}
    if measured is None:
        name = "Weights for live use" if is_live(checkpoint) else "Default weights"
        return replace(checkpoint, notes=(UNMEASURED.format(name=name),), scores=scores)
    scores["people"] = {row["what"]: row["measured"] for row in measured["rows"]}
    return replace(checkpoint, notes=(measured["about"],), scores=scores)


def is_live(checkpoint: Checkpoint) -> bool:
    """Whether these are weights for live use: no step sees a later one."""
    return checkpoint.build().causal


def main() -> None:
    """Write the weights that come with avgate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    checkpoint = load_checkpoint(parser.parse_args().checkpoint)
    shipped = LIVE_WEIGHTS if is_live(checkpoint) else DEFAULT_WEIGHTS
    labelled(checkpoint, measured_of(checkpoint)).save(shipped)


if __name__ == "__main__":
    main()
