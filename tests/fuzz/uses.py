"""What users do with their files: for each kind of input, the code behind the command that reads it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np

from avgate.apps.affwild2.submission import check_submission
from avgate.apps.inspect import as_json, corpus_table, inspect
from avgate.apps.labels import agreement_json, agreement_table, labels
from avgate.apps.predict.many import predict
from avgate.apps.report import report
from avgate.core.errors import AvgateError
from avgate.core.files import write_json
from avgate.core.types import FaceTrack, VideoFrame, Waveform
from avgate.corpora import open_corpus
from avgate.evaluation.evaluate import evaluate, scores_table, write_scores
from avgate.faces import FaceTracker
from avgate.features.base import Backbone
from avgate.features.extract import extract
from avgate.features.registry import build_backbones
from avgate.features.steps import features_of
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.labels.formats import read_labels
from avgate.models.overrides import override
from avgate.report.writers.json import read_json
from avgate.training.batches import load_splits
from avgate.training.train import train
from tests.fuzz import seeds
from tests.sounds import babble


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Attributes:
        seed: the folder of the sound input.
        given: its copy, in which one file is damaged.
        hit: the damaged file.
        out: an empty folder for results.
        trained: a sound corpus with features and a trained model.
        random: the choices of the user.
    """

    seed: Path
    given: Path
    hit: Path
    out: Path
    trained: Path
    random: Random

    @property
    def checkpoint(self) -> Path:
        return self.trained / "_run" / "checkpoint.safetensors"

    def happens(self, share: float) -> bool:
        return self.random.random() < share


def _predicted(case: Case, path: Path, face: float = 0.25, drawn: float = 0.12) -> None:
    weights = None if case.happens(face) else case.checkpoint
    predict([path], case.out, checkpoint=weights, report=case.happens(drawn))
    name = path.name if path.is_dir() else path.stem
    trace = read_json(case.out / f"{name}.json")
    assert len(trace), "a trace without rows"
    assert np.isfinite(trace.time_s).all(), "a time that is no number"
    assert (np.diff(trace.time_s) > 0).all(), "times that don't increase"
    for values in trace.targets.values():
        assert (np.isnan(values) | (np.abs(values) <= 1)).all(), "an estimate outside [-1, 1]"
    rows = (case.out / f"{name}.csv").read_text().count("\n") - 1
    assert rows == len(trace), f"{rows} rows for {len(trace)} frames"


def use_video(case: Case) -> None:
    _predicted(case, case.hit)


def use_image(case: Case) -> None:
    _predicted(case, next(case.given.iterdir()), face=0.4)


def use_labels(case: Case) -> None:
    file = case.hit if not case.hit.name.endswith("~") else case.hit.with_name(case.hit.name[:-1])
    video = case.given / "_video.mp4"
    video = video if video.is_file() else None
    files = [file, case.seed / file.name] if case.happens(0.3) else [file]
    suffix = case.random.choice((".csv", ".csv", ".eaf", ".TextGrid", ".annotation", ".txt"))
    out = case.out / f"merged{suffix if suffix != '.txt' or video else '.csv'}"
    found, written = labels(
        files,
        out,
        how=case.random.choice(("mean", "ewe", "raaw")),
        rate=case.random.choice((None, None, 1.0, 10.0, 1000.0)),
        delay=case.random.choice(("0", "0", "0.5")),
        limits=case.random.choice((None, None, None, (-1.0, 1.0), (0.0, 1.0), (-100.0, 100.0))),
        video=video,
        plot=case.out / "plot.png" if case.happens(0.04) else None,
    )
    json.dumps(agreement_json(found), allow_nan=False)
    agreement_table(found)
    assert written
    assert all(file.is_file() for file in written)
    for merged in found.values():
        assert (np.isnan(merged.label) | (np.abs(merged.label) <= 1 + 1e-6)).all(), "a label outside [-1, 1]"
    if suffix == ".csv":
        track = read_labels(out)
        assert (np.diff(track.time_s) > 0).all(), "times that don't increase"


def use_manifest(case: Case) -> None:
    corpus, way = open_corpus("manifest", case.given / "manifest.csv"), case.random.random()
    store = FeatureStore(case.trained / "_features")
    if way < 0.4:
        _inspected(case, "manifest", case.given / "manifest.csv")
    elif way < 0.7:
        load_splits(corpus, store, seeds.recipe())
    elif way < 0.85:
        extract(corpus.clips(), case.out / "features", ("logmel",), 10.0, workers=1)
    else:
        write_scores([evaluate(Estimator(case.checkpoint), corpus, store, "train")], case.out / "scores.json")


def use_corpus(case: Case) -> None:
    _inspected(case, case.seed.name, case.given)


def _inspected(case: Case, name: str, root: Path) -> None:
    corpus = open_corpus(name, root)
    reports = inspect(corpus)
    corpus_table(corpus, reports)
    write_json(case.out / "found.json", as_json(corpus, reports))


def use_checkpoint(case: Case) -> None:
    if case.seed.name == "run":
        shutil.copytree(case.given, case.out / "run")
        train(_corpus(case), FeatureStore(case.trained / "_features"), seeds.recipe(), case.out / "run")
        return
    if case.seed.name == "default" or case.happens(0.3):
        predict([_sound(case)], case.out, checkpoint=case.hit, report=False)
        return
    store = FeatureStore(case.trained / "_features")
    result = evaluate(Estimator(case.hit), _corpus(case), store, "train")
    scores_table([result])
    write_scores([result], case.out / "scores.json")


def _corpus(case: Case):
    return open_corpus("manifest", case.trained / "manifest.csv")


def _sound(case: Case) -> Path:
    return case.trained / "_videos" / "clip0.mp4"


def use_features(case: Case) -> None:
    store, way = FeatureStore(case.given / "features"), case.random.random()
    if way < 0.3:
        write_scores([evaluate(Estimator(case.checkpoint), _corpus(case), store, "train")], case.out / "scores.json")
    elif way < 0.6:
        load_splits(_corpus(case), store, seeds.recipe())
    elif way < 0.8:
        shutil.copytree(store.root, case.out / "features")
        extract(_corpus(case).clips(), case.out / "features", ("logmel",), 10.0, workers=1)
    else:
        given = case.hit if case.hit.suffix == ".safetensors" else next(case.given.glob("*/*/*.safetensors"))
        labels([case.trained / "labels" / "clip0.csv"], case.out / "merged.csv", delay="ccc", features=[given],
               longest_s=0.2)  # fmt: skip


def use_trace(case: Case) -> None:
    report(case.hit, case.out / f"report{case.random.choice(('.html', '.html', '.html', '.png', '.pdf'))}")


def use_onnx(case: Case) -> None:
    hears = case.seed.name.startswith("sound")
    settings = case.random.choice(("", "&layout=last", "&layout=first", "&outputs=states", "&outputs=scores,states"))
    of = f"onnx_audio:{case.hit}?window_s=1&hop_s=0.5" if hears else f"onnx_image:{case.hit}?batch=4"
    _extracted(build_backbones([of + settings], 10.0)[0])


def use_transformers(case: Case) -> None:
    hears = case.seed.name.startswith("audio")
    folder = case.given / "model"
    _extracted(build_backbones([f"hf_audio:{folder}?chunk_s=1" if hears else f"hf_image:{folder}"], 10.0)[0])


def _extracted(backbone: Backbone) -> None:
    track = features_of(backbone, [Waveform(babble(1.5), 0.0) if backbone.modality == "audio" else _face()], 1.5)
    assert np.isfinite(track.values[track.present]).all(), "a present feature that is no number"
    assert track.values.shape == (15, len(track.columns))


@cache
def _face() -> FaceTrack:
    frames = [VideoFrame(i / 10, image) for i, image in enumerate(seeds.faces(6))]
    (track,) = FaceTracker(crops=True).track(frames, block=len(frames))
    return track


def use_settings(case: Case) -> None:
    lines = case.hit.read_bytes().decode("utf-8", "surrogateescape").splitlines()
    for line in lines:
        with contextlib.suppress(AvgateError):
            override(seeds.recipe(), line) if case.seed.name == "set" else build_backbones([line], 10.0)


def use_submission(case: Case) -> None:
    check_submission(case.given / "submission.csv", case.given / "sample.csv")


class Kind(NamedTuple):
    """A kind of input: how many of 100 are of it, what writes its seeds, and what reads them."""

    share: float
    make: Callable[..., None]
    use: Callable[[Case], None]
    needs_trained: bool = False


KINDS: dict[str, Kind] = {
    "videos": Kind(24, seeds.videos, use_video),
    "sounds": Kind(10, seeds.sounds, use_video),
    "images": Kind(7, seeds.images, use_image),
    "labels": Kind(22, seeds.labels, use_labels),
    "manifests": Kind(7, seeds.manifests, use_manifest, True),
    "corpora": Kind(3, seeds.corpora, use_corpus),
    "checkpoints": Kind(8, seeds.checkpoints, use_checkpoint, True),
    "features": Kind(5, seeds.features, use_features, True),
    "traces": Kind(5, seeds.traces, use_trace),
    "onnx": Kind(3, seeds.onnx, use_onnx),
    "transformers": Kind(3, seeds.transformers, use_transformers),
    "settings": Kind(2, seeds.settings, use_settings),
    "submissions": Kind(1, seeds.submissions, use_submission),
}
"""All kinds. A case's kind follows from its number."""
