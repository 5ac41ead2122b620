"""`avgate submit` and `avgate check-submission`: Aff-Wild2's test results in the challenge's format.

A submission has the rows of the official sample file in its order, `image_location,valence,arousal`, the location being
VIDEO/00001.jpg for the first frame.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.console import progress
from avgate.core.errors import CorpusError, FeatureError, UsageError
from avgate.core.files import atomic_write
from avgate.core.tables import read_rows
from avgate.core.text import as_cell, number, quoted
from avgate.core.types import Clip
from avgate.corpora.affwild2 import AffWild2
from avgate.corpora.base import Corpus
from avgate.evaluation.examples import Reader
from avgate.features.store import FeatureStore
from avgate.inference.ensemble import ccc_centred
from avgate.inference.estimator import Estimator
from avgate.media import Media

TITLES = ["image_location", *AffWild2.targets]
_SAMPLE_HINT = f"give the challenge's own sample file; its first line is {','.join(TITLES)}"
_AGAIN = "write it again with avgate submit"


@dataclass(frozen=True)
class Frame:
    """A row that is asked for: `location` as it stands in the sample, video, and number of the frame from 0 on."""

    location: str
    video: str
    number: int


def read_sample(path: Path) -> list[Frame]:
    """The rows that the challenge asks for, in its order; CorpusError where the file is another one."""
    text = read_rows(path, ",")
    if text.rows[0][0] != TITLES[0]:
        raise CorpusError(f"the first line must begin with {TITLES[0]}", where=path, hint=_SAMPLE_HINT)
    frames = []
    for row, line in zip(text.rows[1:], text.lines[1:], strict=True):
        found = re.fullmatch(r"(.+)/([0-9]{1,9})\.[A-Za-z]+", row[0])
        if found is None or int(found[2]) < 1:
            what = f"line {line}: '{quoted(row[0])}' is no VIDEO/NUMBER.jpg"
            raise CorpusError(what, where=path, hint=_SAMPLE_HINT)
        if as_cell(row[0]) != row[0]:
            # A submission must repeat it to the letter.
            what = f"line {line}: '{quoted(row[0])}' would be run as a formula by spreadsheets"
            raise CorpusError(what, where=path, hint=_SAMPLE_HINT)
        frames.append(Frame(row[0], found[1], int(found[2]) - 1))
    if not frames:
        raise CorpusError("it asks for no frame", where=path, hint=_SAMPLE_HINT)
    location, times = Counter(frame.location for frame in frames).most_common(1)[0]
    if times > 1:
        raise CorpusError(f"'{quoted(location)}' is asked for {times} times", where=path, hint=_SAMPLE_HINT)
    return frames


def submit(
    estimators: Sequence[Estimator], corpus: Corpus, store: FeatureStore, sample: Path, out: Path
) -> dict[str, int]:
    """Estimate every frame that the sample asks for, and write the submission.

    Several models are joined by CCC centring. Frames without an estimate are interpolated, and held at the ends.

    Returns:
        Video -> how many of its rows were interpolated.

    Raises:
        CorpusError: a video isn't there, or has fewer frames than are asked for and none to hold.
        FeatureError: features are missing, or nothing is known of a video.
        UsageError: a model has other targets.
    """
    for estimator in estimators:
        if set(AffWild2.targets) - set(estimator.targets):
            what = f"a model of {', '.join(estimator.targets)} can't be submitted"
            raise UsageError(what, hint=f"train it for {', '.join(AffWild2.targets)}")
    frames = read_sample(sample)
    clips = {clip.name: clip for clip in corpus.clips()}
    asked: dict[str, list[int]] = {}
    for frame in frames:
        asked.setdefault(frame.video, []).append(frame.number)
    missing = [video for video in asked if video not in clips]
    if missing:
        what = f"{len(missing)} videos of the sample can't be used, such as {quoted(missing[0])}"
        raise CorpusError(what, where=sample, hint="avgate inspect --corpus affwild2 says what is missing of them")
    models = [(estimator, Reader(corpus, store, estimator.recipe)) for estimator in estimators]
    estimates, filled = {}, {}
    with progress() as bar:
        for video, numbers in bar.track(asked.items(), description="Estimating"):
            values = estimate_frames(models, clips[video])
            estimates[video], filled[video] = interpolated(values, np.array(numbers), video)
    write_submission(frames, estimates, out)
    check_submission(out, sample)
    return {video: count for video, count in filled.items() if count}


def estimate_frames(models: Sequence[tuple[Estimator, Reader]], clip: Clip) -> np.ndarray:
    """Valence and arousal at the times of all frames of a clip, joined, float64 [n 2]; NaN where unknown."""
    time_s = Media(clip.video).frame_times()
    found = np.stack([_at(estimator, reader, clip, time_s) for estimator, reader in models])  # [models n targets]
    return np.stack([ccc_centred(found[..., k]) for k in range(found.shape[-1])], axis=1)


def _at(estimator: Estimator, reader: Reader, clip: Clip, time_s: np.ndarray) -> np.ndarray:
    """Valence and arousal that one model estimates at these times, float64 [n 2]; NaN where unknown."""
    features, specs = reader.read(clip)
    estimator.check(specs, where=reader.store.root)
    trace = estimator.trace(features, time_s)
    return np.stack([trace.targets[target] for target in AffWild2.targets], axis=1)


def interpolated(values: np.ndarray, asked: np.ndarray, video: str) -> tuple[np.ndarray, int]:
    """Values at the frames that are asked for, float64 [m 2], and how many of them had to be interpolated.

    Unknown frames lie on the line between their known neighbours; before the first, after the last and beyond the
    video's end the nearest one holds.

    Raises:
        FeatureError: nothing is known of the video.
    """
    known = np.flatnonzero(~np.isnan(values).any(1))
    if not len(known):
        hint = "extract its features; a video with neither face nor sound can't be estimated"
        raise FeatureError("no frame of it has an estimate", where=video, hint=hint)
    columns = [np.interp(asked, known, column[known]) for column in values.T]
    return np.stack(columns, 1), int((~np.isin(asked, known)).sum())


def write_submission(frames: Sequence[Frame], estimates: Mapping[str, np.ndarray], out: Path) -> None:
    """Write the rows in their order; `estimates` has those of each video in the order in which they are asked for."""
    at = {video: iter(values.tolist()) for video, values in estimates.items()}
    rows = [(frame.location, *next(at[frame.video])) for frame in frames]
    with atomic_write(out) as temporary:
        lines = [f"{location},{valence:.6f},{arousal:.6f}" for location, valence, arousal in rows]
        temporary.write_text("\n".join([",".join(TITLES), *lines, ""]), "utf-8")


def check_submission(path: Path, sample: Path) -> int:
    """Refuse a submission that isn't what the sample asks for, with the name of the first row that is wrong.

    Returns:
        How many rows it has.

    Raises:
        CorpusError: a row is missing, doubled, unknown or in another place, or holds no two numbers in [-1, 1], in the
            digits 0 to 9.
    """
    asked = [frame.location for frame in read_sample(sample)]
    rows = read_rows(path, ",").rows
    if rows[0] != TITLES:
        raise CorpusError(f"the first line must be {','.join(TITLES)}", where=path, hint=_AGAIN)
    found = [row[0] for row in rows[1:]]
    _check_rows(found, asked, path)
    for row in rows[1:]:
        numbers = [number(cell) for cell in row[1:]]
        if len(numbers) != 2 or not all(x is not None and -1 <= x <= 1 for x in numbers):
            cells = quoted(",".join(row[1:]))
            what = f"the row '{quoted(row[0])}' must hold two numbers in [-1, 1], not '{cells}'"
            raise CorpusError(what, where=path, hint=_AGAIN)
    return len(found)


def _check_rows(found: Sequence[str], asked: Sequence[str], path: Path) -> None:
    counts, wanted_rows = Counter(found), set(asked)
    twice = [name for name, count in counts.items() if count > 1]
    problems = {
        "the row '{}' is there more than once": twice,
        "the row '{}' is not asked for": [name for name in found if name not in wanted_rows],
        "the row '{}' is missing": [name for name in asked if name not in counts],
    }
    for what, names in problems.items():
        if names:
            more = f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
            raise CorpusError(what.format(quoted(names[0])) + more, where=path, hint=_AGAIN)
    for i, (name, wanted) in enumerate(zip(found, asked, strict=True), 1):
        if name != wanted:
            what = f"the row '{quoted(name)}' stands at place {i}, where '{quoted(wanted)}' is asked for"
            raise CorpusError(what, where=path, hint=_AGAIN)
