"""Options that several verbs share, each with its one help text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from avgate.core.errors import UsageError
from avgate.core.places import Address, Place, place, refuse_address

# These names are copies, and a test compares them with the real ones: importing those takes seconds, and help doesn't.
CORPORA = "rendered, hazumi, affwild2, cremad, emodb, ravdess, manifest (your own recordings)"
FUSIONS = "audio, video, concat, ca, jca, rjca, dca, iaca, grjca, hgrjca, rhgrjca, lfan, tagf, crossmodal"
RECIPES = (
    "demo, demo-absence, demo-finetune, people, people-live, hazumi, hazumi-absence, cremad, "
    "affwild2-hgrjca, affwild2-jca, affwild2-rjca, affwild2-grjca, affwild2-lfan, affwild2-rhgrjca, affwild2-released, "
    "smoke"
)


def default(words: str, help: str | None = None, metavar: str | None = None) -> Any:
    """An option whose help gives its default in these words, where the value itself (None, ()) says nothing."""
    return arg(help=help, metavar=metavar, help_behavior_hint=f"(default: {words})")


@dataclass(frozen=True)
class Within:
    """Numbers that an option takes, both ends included; NaN is in no range.

    Args:
        low: lowest.
        high: highest.
        such_as: an example for the error's hint.
        percent: whether somebody may give a share in percent, and be told how to write it.
    """

    low: float
    high: float
    such_as: float | None = None
    percent: bool = False

    def refuse(self, option: str, value: float) -> None:
        """UsageError where a value isn't in the range."""
        if self.low <= value <= self.high:
            return
        hint = f"give {self.low:.10g} to {self.high:.10g}"
        if self.percent and self.low <= value / 100 <= self.high:
            hint += f"; {value:g} % is {value / 100:g}"
        elif self.such_as is not None:
            hint += f", such as {self.such_as:g}"
        raise UsageError(f"{value:.10g} is out of range", where=option, hint=hint)


def within_ranges(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, which refuses numbers that are out of their options' ranges before it does anything.

    It refuses addresses, too, where an option takes paths alone; AnyPlace takes both.
    """
    hints = get_type_hints(verb, include_extras=True)
    ranges = {
        name: part for name, hint in hints.items() for part in getattr(hint, "__metadata__", ()) if type(part) is Within
    }

    @functools.wraps(verb)
    def checked(**given: Any) -> None:
        for name, value in given.items():
            option = f"--{name.replace('_', '-')}"
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Path):
                    refuse_address(one, option)
                if name in ranges and isinstance(one, int | float):
                    ranges[name].refuse(option, one)
        verb(**given)

    checked.__annotations__, checked.__signature__ = hints, inspect.signature(verb)  # type: ignore[attr-defined]  # tyro reads it
    return checked


AnyPlace = Annotated[
    Place,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda given: place(given[0]),
        is_instance=lambda value: isinstance(value, Path | Address),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A path, or an address such as s3://bucket/folder (docs/stores.md)."""

Corpus = Annotated[str, arg(help=f"Kind of corpus: {CORPORA}.", metavar="KIND")]
Data = Annotated[Path, arg(help="Folder of the corpus; for a manifest, its CSV file or the folder of manifest.csv.")]
Store = Annotated[
    AnyPlace | None,
    default("the folder features in the corpus' folder", "Folder of the extracted features, or its address: s3://..."),
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
Devices = Annotated[
    int | Literal["auto"],
    arg(
        help="Processes on each machine, each with a GPU of its own or on the CPU; auto: one per GPU.", metavar="N|auto"
    ),
    Within(1, 1024),
]
Nodes = Annotated[
    int, arg(help="Machines that train together, each with as many --devices.", metavar="N"), Within(1, 1024)
]
Strategy = Annotated[
    Literal["auto", "ddp"],
    arg(
        help="How processes share the work. With ddp, each has the whole model; auto takes it where there are several."
    ),
]
Workers = Annotated[
    int | None,
    default("one per core", "Processes at the same time.", "N"),
    arg(aliases=("--jobs",)),
    Within(1, 1024),
]
EngineName = Annotated[
    Literal["local", "ray"],
    arg(
        help="What does the work: processes of this machine, or Ray, here or on a cluster: pip install 'avgate[scale]'."
    ),
]
ClusterAddress = Annotated[
    str | None,
    default("Ray is started on this machine", "Ray cluster to join: HOST:PORT, ray://HOST:PORT, or auto.", "HOST:PORT"),
]
SEED = Within(0, 2**32 - 1)
SEEDS = Within(1, 1000, such_as=3)
FOLDS = Within(0, 1000, such_as=5)
Level = Annotated[
    float,
    arg(help="Share of the true values that the intervals are made to hold, from 0.5 to 0.99."),
    Within(0.5, 0.99, such_as=0.9, percent=True),
]
FaceModel = Annotated[
    Path | None, default("the face mesh in mediapipe, or $AVGATE_FACE_MODEL", "Path of face_landmarker.task.")
]
FacesEvery = Annotated[
    int,
    arg(
        help="Measure the face in every N-th frame, and interpolate between: faster (docs/benchmarks.md).", metavar="N"
    ),
    Within(1, 25, such_as=3),
]
Checkpoints = Annotated[
    tuple[AnyPlace, ...],
    Positional,
    arg(
        help="Trained models: folders of runs, or checkpoint.safetensors files; or their addresses: s3://...",
        metavar="CHECKPOINT...",
        help_behavior_hint="(one or more)",
    ),
]
