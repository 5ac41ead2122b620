"""List the recordings that the default weights are made of, and make copies of them as training and tests need them.

    python -m tools.people --out work/people --rendered work/weights/clips

Run by `make weights`; needs ../shared/data, of which nothing is copied into the project. Three lists for
`--corpus manifest` are written: OUT/all.csv with every recording and copy, OUT/originals.csv with the recordings alone,
and OUT/manifest.csv with what the default weights are trained and validated on. Sources: `rendered` clips, with a face
and a voice; `voice`, EmoDB's recordings; `still`, photographs; `film`, the same photographs as a drifting camera sees
them. Extra columns say which emotion a recording shows, which tenth (`part`) its person fell into, and what kind of
copy it is.
"""

from __future__ import annotations

import argparse
import csv
import wave
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from avgate.core.console import progress
from avgate.core.files import atomic_write
from avgate.core.types import SAMPLE_RATE
from avgate.corpora.emodb import EMOTIONS, EmoDB
from avgate.corpora.rendered import Rendered
from avgate.media import Media
from tools import perturb

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PARTS = 10
"""Persons and speakers fall into so many parts; cross-validation leaves two of them out at a time."""

CHANNELS = 5
"""Random channels that training hears each recording through, beside the recording itself."""

FILMS = 2
"""Films that training sees of each photograph."""

VALIDATION = {"voice": (8, 9), "still": (9,)}
"""Parts of the people that the default weights are validated on."""

COLUMNS = ("clip", "video", "labels", "split", "group", "source", "weight", "emotion", "part", "copy")

RENDERED = 2
"""How often training sees a rendered clip in an epoch: about a fourth of it are clips with a face and a voice."""

# The words are unevenly spread in both collections, and a model that knows nothing else would call everybody by the
# commonest. These shares of an epoch keep a neutral face or voice in the middle.
SHARES: dict[str, dict[str, float]] = {
    "voice": {"neutral": 32, "happiness": 24, "anger": 12, "fear": 10, "sadness": 9, "disgust": 7, "boredom": 6},
    "still": {"neutral": 28, "happiness": 22, "surprise": 14, "anger": 12, "sadness": 10, "disgust": 10, "fear": 4},
}

Row = dict[str, object]


def voices(folder: Path, out: Path) -> Iterator[Row]:
    """EmoDB's recordings, and copies of them: through random channels for training, through each tested one."""
    corpus = EmoDB(folder)
    clips = corpus.clips()
    emotions = {clip.name: EMOTIONS[clip.name[5]] for clip in clips}
    weight, part = weights(emotions, SHARES["voice"]), spread(clip.group for clip in clips)
    for i, clip in enumerate(clips):
        about: Row = {"source": "voice", "group": f"emodb{clip.group}", "emotion": emotions[clip.name]}
        about |= {"part": part[clip.group], "labels": f"emotion={emotions[clip.name]}"}
        often = weight[clip.name] / 2
        yield about | {"clip": clip.name, "video": clip.video.resolve(), "weight": often, "copy": ""}
        samples = np.concatenate([piece.samples for piece in Media(clip.video).sound()]).astype(np.float64)
        for k in range(CHANNELS):
            file = _wav(out / f"{clip.name}-channel{k}.wav", perturb.channel(samples, np.random.default_rng((i, k))))
            yield about | {"clip": file.stem, "video": file, "weight": often / CHANNELS, "copy": "training"}
        for kind, change in perturb.SOUND.items():
            file = _wav(out / f"{clip.name}-{word(kind)}.wav", change(samples, np.random.default_rng(i)))
            yield about | {"clip": file.stem, "video": file, "weight": 1, "copy": kind}


def faces(folder: Path, out: Path) -> Iterator[Row]:
    """The photographs, their mirror images and films of them for training, and copies changed in each tested way."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = {path.name: path.resolve() for path in folder.rglob("*.jpg")}
    weight = weights({row["image"]: row["emotion"] for row in rows}, SHARES["still"])
    part = spread(row["person"] for row in rows)
    for i, row in enumerate(rows):
        path = files[row["image"]]
        name, often = path.stem, weight[row["image"]]
        about: Row = {"source": "still", "group": f"face-{row['person']}", "emotion": row["emotion"]}
        about |= {"part": part[row["person"]], "labels": f"emotion={row['emotion']}"}
        yield about | {"clip": name, "video": path, "weight": often / 2, "copy": ""}
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        file = _picture(out / f"{name}-mirrored.png", mirrored)
        yield about | {"clip": file.stem, "video": file, "weight": often / 2, "copy": "training"}
        for kind, change in perturb.PICTURE.items():
            file = _picture(out / f"{name}-{word(kind)}.png", change(image))
            yield about | {"clip": file.stem, "video": file, "weight": 1, "copy": kind}
        for k in range(FILMS):
            random = np.random.default_rng((i, k))
            film = _film(out / f"{name}-film{k}", perturb.wandering(image, int(random.integers(5, 40)), random))
            about_film: Row = {"clip": film.name, "video": film, "weight": often / FILMS, "copy": "training"}
            yield about | about_film | {"source": "film"}


def rendered(folder: Path) -> Iterator[Row]:
    """The rendered clips, in their own splits."""
    for clip in Rendered(folder).clips():
        assert clip.labels is not None
        row: Row = {"clip": clip.name, "video": clip.video.resolve(), "labels": clip.labels.resolve()}
        yield row | {
            "split": clip.split,
            "group": clip.group,
            "source": "rendered",
            "weight": RENDERED,
            "part": "",
            "copy": "",
        }


def spread(people: Iterable[str]) -> dict[str, int]:
    """Person -> part, at random but the same every time."""
    names = sorted(set(people))
    order = np.random.default_rng(len(names)).permutation(len(names))
    return {names[i]: int(place % PARTS) for place, i in enumerate(order)}


def weights(emotions: Mapping[str, str], shares: Mapping[str, float]) -> dict[str, float]:
    """Recording -> how often training sees it: emotions have these shares, and the mean is 1."""
    count = Counter(emotions.values())
    whole = sum(shares[emotion] for emotion in count)
    return {name: shares[e] / whole * len(emotions) / count[e] for name, e in emotions.items()}


def main() -> None:
    """Write the copies and the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rendered", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with emodb and stills")
    args = parser.parse_args()
    copies = args.out / "copies"
    copies.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with progress() as bar:
        task = bar.add_task("Making copies", total=None)
        for row in chain(
            rendered(args.rendered), voices(args.data / "emodb", copies), faces(args.data / "stills", copies)
        ):
            rows.append({"emotion": "", "split": "train"} | row)
            bar.advance(task)
    _write(args.out / "all.csv", rows)
    _write(args.out / "originals.csv", [row for row in rows if not row["copy"]])
    _write(args.out / "manifest.csv", [row | {"split": split} for row in rows if (split := of_weights(row))])


def of_weights(row: Row) -> str:
    """The split that a recording has for the default weights; nothing where they don't use it."""
    if row["source"] == "rendered":
        return str(row["split"])
    if row["part"] in VALIDATION["voice" if row["source"] == "voice" else "still"]:
        return "" if row["copy"] else "validation"
    return "train" if row["copy"] in ("", "training") else ""


def _write(path: Path, rows: Iterable[Row]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def word(kind: str) -> str:
    """A kind of copy in the names of its clips."""
    return kind.replace(" ", "-").lower()


def _wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1 - 2**-15) * 2**15).astype("<i2").tobytes())
    return path.resolve()


def _picture(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path.resolve()


def _film(folder: Path, images: list[Image.Image]) -> Path:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(images):
        image.save(folder / f"{i:03d}.jpg", quality=90)
    times = "".join(f"{i:03d}.jpg,{i / 10:g}\n" for i in range(len(images)))
    (folder / "times.csv").write_text(f"file,time_s\n{times}", encoding="utf-8")
    return folder.resolve()


if __name__ == "__main__":
    main()
