"""`avgate reproduce cremad`: all fusions on CREMA-D, and whether their gates follow people's own judgement.

OUT/results.json, ...     what `avgate compare` writes
OUT/reliability.json      per fusion that judges reliability: how it follows people
OUT/reliability.csv       the same clip by clip
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avgate.compare.comparison import compare
from avgate.compare.data import load_data
from avgate.compare.kept import Kept
from avgate.compare.markdown import markdown_table
from avgate.compare.protocol import Protocol, Run, Variant
from avgate.core.errors import CorpusError, UsageError
from avgate.core.files import write_csv, write_json
from avgate.core.gates import Gate
from avgate.core.metrics import bootstrap_groups, pcc
from avgate.core.places import Place
from avgate.core.types import Clip
from avgate.corpora.cremad import FETCH, CremaD, Votes
from avgate.evaluation.examples import Example
from avgate.features.extract import extract
from avgate.features.store import features_beside
from avgate.inference.estimator import Estimator
from avgate.models.recipe import Recipe

JUDGING = ("reliability", "weight")
"""Kinds of gates that say how far each modality is relied on; the first that a model has is taken."""


def reproduce(
    data: Path,
    out: Path,
    recipe: Recipe,
    *,
    fusions: Sequence[str],
    folds: int = 5,
    seeds: int = 1,
    most: int | None = None,
    store: Place | None = None,
    face_model: str | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Extract, compare the fusions, and compare their gates with people's votes; an earlier call is continued.

    Args:
        data: a clone of the authors' repository, with media.
        out: folder for trainings and tables.
        recipe: what is trained, with each of the fusions in place of its own.
        fusions: names.
        folds: of the cross-validation by actor; 0 takes the corpus' own splits.
        seeds: how many training seeds.
        most: how many clips are used, spread evenly over the actors; None is all.
        store: folder of the features; DATA/features unless given.
        face_model: face_landmarker.task, or None for the default one.
        workers: processes; None is one per core.
        accelerator: auto, cpu, cuda, ...

    Returns:
        What `compare` returns, and under "reliability" what reliability.json holds.

    Raises:
        CorpusError: no clip has its media.
    """
    corpus, root = CremaD(data), store or features_beside(data)
    clips = spread(corpus.clips(), most)
    if not clips:
        raise CorpusError("no clip has its media here", where=data, hint=f"fetch them; run there: {FETCH}")
    extract(clips, root, recipe.backbones, recipe.label_rate, face_model=face_model, workers=workers)
    names = () if most is None else tuple(clip.name for clip in clips)
    protocol = Protocol("cremad", data, root, folds, accelerator=accelerator, only=names)
    variants = [Variant(name, recipe.with_fusion(name)) for name in fusions]
    reference = recipe.fusion if recipe.fusion in fusions else fusions[0]
    results = compare(protocol, variants, range(seeds), out, reference=reference, workers=workers)
    rows = _relied_on(protocol, variants, range(seeds), out, corpus)
    found = {name: followed(own) for name, own in rows.items()}
    _write_rows(rows, out / "reliability.csv")
    write_json(out / "reliability.json", found)
    return {**results, "reliability": found}


def spread(clips: Sequence[Clip], most: int | None) -> list[Clip]:
    """At most so many clips, in their order, spread evenly over the groups and drawn at random within each.

    Raises:
        UsageError: `most` isn't above 0.
    """
    if most is None:
        return list(clips)
    if most < 1:
        raise UsageError(f"there must be 1 clip or more, not {most}", where="--clips")
    by_group: dict[str, list[str]] = {}
    for clip in sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).hexdigest()):
        by_group.setdefault(clip.group, []).append(clip.name)
    turns = [(turn, group, name) for group, names in by_group.items() for turn, name in enumerate(names)]
    chosen = {name for _, _, name in sorted(turns)[:most]}
    return [clip for clip in clips if clip.name in chosen]


@dataclass(frozen=True)
class Row:
    """One clip, judged by a model and by people.

    Attributes:
        clip: its name.
        actor: who is in it.
        model: how far the model relied on the voice, less the face, while both were there; mean over time and seeds.
        people: how far people's votes for the voice alone agree with those for both, less those for the face alone.
    """

    clip: str
    actor: str
    model: float
    people: float


def voice_over_face(votes: dict[Any, Votes]) -> float:
    """How much better the votes for the voice agree with those for both than the votes for the face do, in [-1, 1]."""
    return votes["voice"].overlap(votes["both"]) - votes["face"].overlap(votes["both"])


def followed(rows: Sequence[Row]) -> dict[str, Any]:
    """How a model's reliability follows people's votes.

    Returns:
        Number of clips and actors, rank correlation (Spearman) with its 95 % interval by drawing actors, and both
        sides' mean.
    """
    from scipy.stats import rankdata

    model, people = np.array([row.model for row in rows]), np.array([row.people for row in rows])
    actors = [row.actor for row in rows]

    def correlation(drawn: np.ndarray) -> np.ndarray:
        return np.array([pcc(rankdata(model[drawn]), rankdata(people[drawn]))])

    return {
        "clips": len(rows),
        "actors": len(set(actors)),
        "correlation": float(correlation(np.arange(len(rows)))[0]) if rows else float("nan"),
        "interval": bootstrap_groups(correlation, actors)[:, 0].tolist() if rows else [float("nan")] * 2,
        "model_mean": float(model.mean()) if rows else float("nan"),
        "people_mean": float(people.mean()) if rows else float("nan"),
    }


def reliability_table(found: dict[str, Any]) -> str:
    """The correlations as a Markdown table; "" where no fusion judges reliability."""
    if not found:
        return ""
    rows = {
        name: [
            str(of["clips"]),
            f"{of['correlation']:+.2f} [{of['interval'][0]:+.2f}, {of['interval'][1]:+.2f}]",
            f"{of['model_mean']:+.2f}",
            f"{of['people_mean']:+.2f}",
        ]
        for name, of in found.items()
    }
    head = (
        "Does a model rely on the sense that people rely on? Per held-out clip: reliability of the voice less that of "
        "the face, against how much better people's votes for the voice alone agree with those for both than their "
        "votes for the face alone do. Rank correlation with its 95 % interval (bootstrap over actors), and both means."
    )
    return markdown_table(head, "fusion", ["clips", "correlation", "model", "people"], rows)


def _relied_on(
    protocol: Protocol, variants: Sequence[Variant], seeds: Sequence[int], out: Path, corpus: CremaD
) -> dict[str, list[Row]]:
    """Fusion -> rows of all held-out clips; fusions whose gates say nothing of reliability are left out."""
    data, kept = load_data(protocol, variants[0].recipe), Kept(out)
    found: dict[str, list[Row]] = {}
    for variant in variants:
        for fold, parts in enumerate(data.folds):
            paths = [kept.checkpoint(Run(variant.name, variant.recipe, fold, seed, ())) for seed in seeds]
            models = [Estimator(path) for path in paths]
            for example in data.part(parts.test):
                said = [relied_on(model, example) for model in models]
                if np.isfinite(said).all():
                    people = voice_over_face(corpus.votes[example.clip.name])
                    row = Row(example.clip.name, example.clip.group, float(np.mean(said)), people)
                    found.setdefault(variant.name, []).append(row)
    return found


def relied_on(model: Estimator, example: Example) -> float:
    """How far a model relied on the voice, less the face: mean over the steps with both; NaN where it doesn't say."""
    gates, present = model.estimate(example.features).gates, example.features.present
    kind = next((kind for kind in JUDGING if {Gate(kind, "audio"), Gate(kind, "video")} <= set(gates)), None)
    if kind is None:
        return float("nan")
    both = present["audio"] & present["video"]
    differences = gates[Gate(kind, "audio")][both] - gates[Gate(kind, "video")][both]
    return float(differences.mean()) if len(differences) else float("nan")


def _write_rows(rows: dict[str, list[Row]], path: Path) -> None:
    titles = ("fusion", "clip", "actor", "model_voice_less_face", "people_voice_less_face")
    cells = (
        [name, row.clip, row.actor, f"{row.model:.6f}", f"{row.people:.6f}"]
        for name, own in rows.items()
        for row in own
    )
    write_csv(path, titles, cells)
