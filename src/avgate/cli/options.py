"""Options that several verbs share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

# These names are copies, and a test compares them with the real ones: importing those takes seconds, and help doesn't.
CORPORA = "rendered, hazumi, affwild2, cremad, emodb, ravdess, manifest (your own recordings)"
FUSIONS = "audio, video, concat, ca, jca, rjca, dca, iaca, grjca, hgrjca, rhgrjca, lfan, tagf, crossmodal"
RECIPES = (
    "demo, demo-absence, demo-finetune, people, hazumi, hazumi-absence, cremad, "
    "affwild2-hgrjca, affwild2-jca, affwild2-rjca, affwild2-grjca, affwild2-lfan, affwild2-rhgrjca, affwild2-released, "
    "smoke"
)


def default(words: str, help: str | None = None, metavar: str | None = None) -> Any:
    """An option whose help gives its default in these words, where the value itself (None, ()) says nothing."""
    return arg(help=help, metavar=metavar, help_behavior_hint=f"(default: {words})")


Corpus = Annotated[str, arg(help=f"Kind of corpus: {CORPORA}.", metavar="KIND")]
Data = Annotated[Path, arg(help="Folder of the corpus; for a manifest, its CSV file or the folder of manifest.csv.")]
Store = Annotated[
    Path | None, default("the folder features in the corpus' folder", "Folder of the extracted features.")
]
Recipe = Annotated[str, arg(help=f"Recipe: {RECIPES}.", metavar="NAME")]
Fusion = Annotated[str | None, default("the recipe's", f"Fusion: {FUSIONS}.", "NAME")]
Set = Annotated[
    tuple[str, ...],
    default(
        "none",
        "Settings of the recipe to change, such as train.epochs=5 model.fusion.tau=0.5 'smooth_s=(0,1)'.",
        "PATH=VALUE...",
    ),
]
Accelerator = Annotated[str, arg(help="Where the model runs: auto, cpu, cuda, mps.", metavar="NAME")]
Precision = Annotated[
    Literal["32-true", "16-mixed", "bf16-mixed", "64-true"], arg(help="Floating-point precision of the training.")
]
Workers = Annotated[int | None, default("one per core", "Processes at the same time.", "N")]
FaceModel = Annotated[
    Path | None, default("the face mesh in mediapipe, or $AVGATE_FACE_MODEL", "Path of face_landmarker.task.")
]
Checkpoints = Annotated[
    tuple[Path, ...],
    Positional,
    arg(
        help="Trained models: folders of runs, or checkpoint.safetensors files.",
        metavar="CHECKPOINT...",
        help_behavior_hint="(one or more)",
    ),
]
