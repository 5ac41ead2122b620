"""Sound inputs of every kind, small, for damage to begin from. Nothing here is damaged where its name begins with _.

Every maker writes one folder per seed into a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from avgate.core.types import LabelTrack
from avgate.corpora import open_corpus
from avgate.features.extract import extract
from avgate.features.store import FeatureStore
from avgate.labels.formats import LABEL_FORMATS, write_labels
from avgate.models.overrides import override
from avgate.models.recipe import Recipe
from avgate.models.recipes import recipe_named
from avgate.report.writers.json import JsonWriter
from avgate.training.train import train
from tests.affwild2 import write_affwild2
from tests.clips import greys, make_clip, tone
from tests.deep import write_audio, write_image, write_onnx
from tests.dialogues import write_hazumi
from tests.fuzz.structures import EXACT
from tests.open_corpora import write_cremad, write_emodb
from tests.own_corpus import write_own_corpus
from tests.recordings import write_image as write_picture
from tests.recordings import write_images, write_sound
from tests.sounds import babble
from tests.traces import make_trace
from tests.unit import test_label_formats as formats

Maker = Callable[[Path], None]
EXACT_MEDIA = {"container_options": EXACT}


@cache
def recipe() -> Recipe:
    """A recipe that is trained in a moment, on sound alone."""
    return override(recipe_named("smoke"), "backbones=('logmel',)", "train.epochs=1").with_fusion("audio")


def trained(folder: Path) -> None:
    """A corpus of four clips with labels of four formats, its features, and a model that was trained on them."""
    manifest = write_own_corpus(folder)
    (folder / "videos").rename(folder / "_videos")
    manifest.write_text(manifest.read_text().replace("videos/", "_videos/"))
    corpus = open_corpus("manifest", manifest)
    extract(corpus.clips(), folder / "_features", recipe().backbones, recipe().label_rate, workers=1)
    train(corpus, FeatureStore(folder / "_features"), recipe(), folder / "_run")


def faces(count: int) -> list[np.ndarray]:
    """Pictures of a face that sways a little, 160 x 160."""
    from skimage.data import astronaut
    from skimage.transform import resize

    picture = (resize(astronaut()[:300, 60:360], (160, 160), anti_aliasing=True) * 255).astype(np.uint8)
    return [np.ascontiguousarray(np.roll(picture, round(3 * np.sin(i / 3)), axis=1)) for i in range(count)]


def videos(folder: Path) -> None:
    """One second each, of every container and of codecs with their own ways to count frames."""
    pulses = [np.full((64, 64, 3), 230 if 12 <= i < 14 else 30, np.uint8) for i in range(25)]
    forms = {
        "plain.mp4": {},
        "face.mp4": {"images": faces(12), "rate": 12},
        "fragments.mp4": {"container_options": {**EXACT, "movflags": "frag_keyframe+empty_moov"}},
        "varying.mp4": {"times": [i / 25 + (i % 3) * 0.01 for i in range(25)]},
        "plain.mkv": {},
        "late.mkv": {"sound": [(0.5, tone(0.4)), (2.5, tone(0.4))]},
        "plain.ts": {"video_options": {"g": "8"}},
        "plain.avi": {"codec": "mpeg4", "sound_codec": "ac3"},
        "plain.webm": {"codec": "libvpx", "sound_codec": "libopus", "sound_rate": 48_000},
        "plain.mov": {"codec": "mjpeg", "sound_codec": "pcm_s16le", "prepare": _full_range},
        "plain.mpg": {"codec": "mpeg1video", "sound_codec": "mp2", "video_options": {"g": "9", "bf": "2"}},
        "silent.mp4": {"sound": []},
    }
    for name, changes in forms.items():
        rate = changes.get("sound_rate", 44_100)
        plain = {"images": pulses, "sound": [(0.0, tone(1, rate))], "sound_codec": "aac", **EXACT_MEDIA}
        make_clip(_place(folder, name), **(plain | changes))


def _full_range(stream) -> None:
    stream.pix_fmt = "yuvj420p"


def sounds(folder: Path) -> None:
    """Two seconds of syllables in every format."""
    samples = babble(2)
    for suffix in ("wav", "flac", "mp3", "ogg", "m4a", "mka", "aiff", "aac"):
        write_sound(_place(folder, f"talk.{suffix}"), samples, **EXACT_MEDIA)
    floats = {"sound": [(0.0, samples)], "sound_rate": 16_000, "sound_codec": "pcm_f32le", "layout": "mono"}
    make_clip(_place(folder, "floats.wav"), **floats, **EXACT_MEDIA)


def images(folder: Path) -> None:
    """One picture of a face in every format, and a folder of five with their times."""
    face = faces(1)[0]
    for suffix in ("jpg", "png", "webp", "bmp"):
        write_picture(_place(folder, f"face.{suffix}"), face)
    write_picture(_place(folder, "turned.jpg"), face, orientation=6)
    write_images(folder / "several" / "pictures", faces(5), [0.0, 0.1, 0.2, 0.35, 0.4])


def labels(folder: Path) -> None:
    """The same two targets in every format that avgate writes, and what other programs write."""
    time_s = np.arange(20) / 10
    values = np.round(np.stack([np.sin(time_s), np.cos(time_s)], 1), 3).astype(np.float32)
    track = LabelTrack(time_s, values, ("valence", "arousal"))
    for chosen in LABEL_FORMATS:
        part = LabelTrack(time_s, values[:, :1], ("valence",)) if chosen.single else track
        write_labels(part, _place(folder, f"{chosen.name}{chosen.suffix}"), chosen.name)
    others = {
        "elan.eaf": formats.ELAN,
        "dependent.eaf": _dependent(formats.ELAN),
        "long.TextGrid": formats.PRAAT_LONG,
        "points.TextGrid": formats.PRAAT_SHORT_POINTS,
        "carma.csv": formats.CARMA,
        "carma_first.csv": formats.CARMA_FIRST,
        "darma.csv": formats.DARMA,
        "excel.csv": "Zeit;time_s;valence;arousal\n0:00;0;0.1;-0.2\n0:01;1;0.2;-0.3\n0:02;2;;\n",
        "ends.csv": "start_ms,end_ms,valence,word\n0,500,0.1,ja\n500,1200,0.2,\n1500,1900,-0.5,so\n",
        "tabs.csv": "time\tvalence\n0\t0.5\n0.04\t0.25\n0.08\t-1\n",
    }
    for name, text in others.items():
        _place(folder, name).write_text(text)
    _place(folder, "wide.TextGrid").write_bytes(formats.PRAAT_LONG.encode("utf-16"))
    make_clip(folder / "affwild2.txt" / "_video.mp4", greys(20), rate=10)


def _dependent(eaf: str) -> str:
    """An EAF in which a tier of numbers refers to the annotations of another one."""
    tier = (
        '<TIER LINGUISTIC_TYPE_REF="with" PARENT_REF="valence" TIER_ID="arousal"><ANNOTATION><REF_ANNOTATION '
        'ANNOTATION_ID="a90" ANNOTATION_REF="a1"><ANNOTATION_VALUE>0.5</ANNOTATION_VALUE></REF_ANNOTATION>'
        "</ANNOTATION></TIER>"
    )
    kind = (
        '<LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="with" '
        'TIME_ALIGNABLE="false"/>'
    )
    return eaf.replace("<LINGUISTIC_TYPE ", f"{tier}<LINGUISTIC_TYPE ", 1).replace(
        "</ANNOTATION_DOC", f"{kind}</ANNOTATION_DOC"
    )


def manifests(folder: Path, source: Path) -> None:
    """A corpus of one's own whose list and labels are damaged, its videos and features are not."""
    shutil.copytree(source, folder / "own", ignore=shutil.ignore_patterns("_run"))
    mixed = folder / "mixed"
    (mixed / "_media").mkdir(parents=True)
    write_sound(mixed / "_media" / "talk.wav", babble(1), **EXACT_MEDIA)
    write_picture(mixed / "_media" / "face.png", faces(1)[0])
    write_images(mixed / "_media" / "pictures", faces(2), [0.0, 0.5])
    rows = [
        "clip,video,labels,split,group,limits,source,weight",
        "s1,_media/talk.wav,valence=0.6; arousal=0.3,train,anna,,a,1",
        "s2,_media/face.png,emotion=anger; intensity=0.5,train,cy,,b,2",
        "s3,_media/pictures,valence=3; arousal=5,test,ben,1 7,a,0.5",
        "s4,_media/talk.wav,,train,anna,,,",
    ]
    (mixed / "manifest.csv").write_text("\n".join([*rows, ""]))


def corpora(folder: Path) -> None:
    """Corpora of the field in their own layouts."""
    write_affwild2(folder / "affwild2")
    write_hazumi(folder / "hazumi")
    write_emodb(folder / "emodb")
    write_cremad(folder / "cremad", ("1001", "1002", "1003"))


def checkpoints(folder: Path, source: Path) -> None:
    """A small trained model, and the weights that come with avgate."""
    from avgate.models.checkpoint import DEFAULT_WEIGHTS

    shutil.copy(source / "_run" / "checkpoint.safetensors", _place(folder, "small/checkpoint.safetensors"))
    shutil.copy(DEFAULT_WEIGHTS, _place(folder, "default/checkpoint.safetensors"))
    shutil.copytree(source / "_run", folder / "run")


def features(folder: Path, source: Path) -> None:
    """A store of features."""
    shutil.copytree(source / "_features", folder / "store" / "features")


def traces(folder: Path) -> None:
    """What `avgate predict` writes."""
    for name, trace in {"gates": make_trace(60), "plain": make_trace(8, 2.0, gates=False)}.items():
        JsonWriter().write(trace, _place(folder, f"{name}.json"))


def onnx(folder: Path) -> None:
    """Models that see and hear."""
    for name, hears, batch in (("sound", True, None), ("pictures", False, None), ("fours", False, 4)):
        write_onnx(_place(folder, f"{name}.onnx"), hears, batch)


def transformers(folder: Path) -> None:
    """Checkpoints of the transformers library."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # it has a word on tokens, which nobody reads here
    for family in ("wav2vec2", "wavlm"):
        write_audio(folder / f"audio-{family}" / "model", family)
    for family in ("vit", "convnext", "clip"):
        write_image(folder / f"image-{family}" / "model", family)


def settings(folder: Path) -> None:
    """What users write after --set, and names of backbones."""
    lines = [
        "train.epochs=5", "window_s=4.0", "backbones=('egemaps?level=false', 'facemesh')", "smooth_s=(0.0, 0.5)",
        "train.corrupt.probability=0.5", "model.fusion.dropout=0.2", "label_rate=10.0", "hop_s=2.0", "train.seed=3",
    ]  # fmt: skip
    _place(folder, "set/lines.txt").write_text("\n".join(lines))
    names = ["egemaps?level=false", "logmel", "facemesh", "blendshapes", "waveform", "crops", "hf_audio:/x?layers=1,-1"]
    _place(folder, "backbones/lines.txt").write_text("\n".join([*names, "onnx_image:/x.onnx?outputs=a,b&batch=2"]))


def submissions(folder: Path) -> None:
    """A submission to Aff-Wild2's challenge, with the sample that says its rows."""
    rows = [f"video{v}/{i + 1:05d}.jpg" for v in range(2) for i in range(20)]
    for name, values in (("sample.csv", "-5,-5"), ("submission.csv", "0.25,-0.5")):
        lines = ["image_location,valence,arousal", *(f"{row},{values}" for row in rows)]
        _place(folder, f"pair/{name}").write_text("\n".join([*lines, ""]))


def _place(folder: Path, name: str) -> Path:
    """FOLDER/NAME/NAME, where a name without a folder of its own gets one called like it."""
    place = folder / name if "/" in name else folder / name / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
