"""The rendered corpus: same in, same out; labels that face and voice show; a folder that heals and complains well."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from avgate.core.errors import CorpusError, UsageError
from avgate.core.types import SAMPLE_RATE, Clip, VideoFrame
from avgate.corpora.rendered import Difficulty, RenderConfig, Rendered, render
from avgate.corpora.rendered.acting import SIGNS, Temperament, act
from avgate.corpora.rendered.face import FaceRenderer
from avgate.corpora.rendered.looks import draw_look
from avgate.corpora.rendered.portrait import Portrait, load_portrait
from avgate.corpora.rendered.trajectory import KINDS, Mark, draw_trajectory, plan_marks, slow_noise
from avgate.corpora.rendered.units import Expression, Units
from avgate.corpora.rendered.voice import Speaker, voice
from avgate.faces import FaceTracker
from avgate.media import Media

NUISANCES = ("face_shared", "face_each", "face_rest", "voice_shared", "voice_each", "voice_rest", "gain_spread")
CALM = Difficulty(
    **dict.fromkeys((*NUISANCES, "loudness_spread_db", "camera_noise", "flicker", "speech_jaw"), 0.0),
    background_db=-60,
    background_spread_db=0,
)
"""Nothing but valence and arousal."""

TINY = RenderConfig(identities=3, clips_per_identity=1, seconds=2.56, size=128, time_constant_s=0.5)
MARKED = replace(TINY, difficulty=Difficulty(stretch_min_s=0.4, stretch_max_s=0.8, both_share=0.5))


pytestmark = pytest.mark.usefixtures("any_face_model")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """OpenCV's threads wait for each other on busy machines."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Rendered:
    return Rendered(render(tmp_path_factory.mktemp("rendered"), MARKED, workers=1).parent)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return load_portrait(192)


def images(clip: Clip) -> np.ndarray:
    return np.stack([frame.image for frame in Media(clip.video).frames()])


def filmed(portrait: Portrait, path: np.ndarray, marks: list[Mark], config: RenderConfig) -> np.ndarray:
    """Frames of one person who feels `path` [n 2]."""
    person = Temperament(np.ones(len(SIGNS)), np.zeros(len(SIGNS)), blinks=0.0)
    expression, pose = act(np.random.default_rng(1), config, person, path, marks, np.zeros(len(path)))
    face = FaceRenderer(config, Units(portrait), draw_look(np.random.default_rng(2), portrait))
    return np.stack(list(face.frames(np.random.default_rng(3), expression, 0.2 * pose, marks)))


def meshes(frames: np.ndarray) -> np.ndarray:
    """Face meshes float32 [n 478 3], NaN where no face is found."""
    tracks = FaceTracker().track(VideoFrame(i / 25, frame) for i, frame in enumerate(frames))
    return np.concatenate([track.mesh for track in tracks])


def spoken(path: np.ndarray, marks: list[Mark], config: RenderConfig) -> np.ndarray:
    """Samples of one person who feels `path` [n 2]."""
    speaker = Speaker.draw(np.random.default_rng(4), config)
    return voice(np.random.default_rng(5), config, speaker, path, marks)[0].samples


def pitch(samples: np.ndarray) -> float:
    """Median pitch in Hz, by autocorrelation of the louder 50 ms pieces."""
    pieces = samples[: len(samples) // 800 * 800].reshape(-1, 800)
    pieces = pieces[pieces.std(1) > np.median(pieces.std(1))]
    found = []
    for piece in pieces:
        likeness = np.correlate(piece, piece, "full")[799:]
        lag = 40 + int(np.argmax(likeness[40:220]))
        if likeness[lag] > 0.5 * likeness[0]:
            found.append(SAMPLE_RATE / lag)
    return float(np.median(found))


def marks_file(corpus: Rendered, clip: Clip) -> Path:
    return corpus.root / "marks" / f"{clip.name}.csv"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_same_seed_gives_the_same_labels_and_frames_in_one_process_or_two(corpus, tmp_path, workers):
    again = Rendered(render(tmp_path, MARKED, workers=workers).parent)
    for before, after in zip(corpus.clips(), again.clips(), strict=True):
        assert before.labels.read_bytes() == after.labels.read_bytes()
        assert marks_file(corpus, before).read_bytes() == marks_file(again, after).read_bytes()
        np.testing.assert_array_equal(images(before), images(after))


@pytest.mark.slow
def test_another_seed_gives_other_labels_and_frames(corpus, tmp_path):
    other = Rendered(render(tmp_path, replace(MARKED, seed=1), workers=1).parent)
    assert corpus.clips()[0].labels.read_bytes() != other.clips()[0].labels.read_bytes()
    assert np.abs(images(corpus.clips()[0]).astype(int) - images(other.clips()[0])).mean() > 5


def test_labels_lie_in_range_with_one_row_per_frame_at_the_frames_own_times(corpus):
    for clip in corpus.clips():
        labels = corpus.labels(clip)
        frame_s = [frame.time_s for frame in Media(clip.video).frames()]
        assert labels.targets == corpus.targets == ("valence", "arousal")
        np.testing.assert_allclose(labels.time_s, frame_s, atol=1e-4)
        assert labels.values.shape == (64, 2)
        assert np.abs(labels.values).max() <= 1
        assert (np.ptp(labels.values, axis=0) > 0.3).all()


def test_the_sound_lasts_as_long_as_the_frames(corpus):
    pieces = list(Media(corpus.clips()[0].video).sound())
    assert abs(pieces[0].start_s) < 0.05
    assert pieces[-1].end_s == pytest.approx(MARKED.seconds, abs=0.1)


def test_marks_lie_inside_the_clip_and_take_their_share(corpus):
    for clip in corpus.clips():
        marks = corpus.marks(clip)
        assert all(0 <= m.start_s < m.end_s <= MARKED.seconds and m.kind in KINDS[m.modality] for m in marks)
        time_s = np.arange(0, MARKED.seconds, 0.001)
        covered = np.any([(m.start_s <= time_s) & (time_s < m.end_s) for m in marks], axis=0).mean()
        assert covered == pytest.approx(MARKED.difficulty.marked_share, abs=0.01)


def test_the_default_marks_last_two_to_six_seconds_in_both_modalities():
    config = RenderConfig()
    plans = [plan_marks(np.random.default_rng(i), config) for i in range(20)]
    marks = [mark for plan in plans for mark in plan]
    alone = [mark for plan in plans for mark in plan if not any(m.end_s == mark.end_s and m is not mark for m in plan)]
    assert all(2 <= mark.end_s - mark.start_s <= 6 for mark in alone)
    assert {mark.kind for mark in marks} == {kind for kinds in KINDS.values() for kind in kinds}
    seconds = {m: sum(mark.end_s - mark.start_s for mark in marks if mark.modality == m) for m in KINDS}
    assert 0.6 < seconds["audio"] / seconds["video"] < 1.6


def test_splits_share_no_group_and_none_is_empty(corpus):
    groups = {split: {c.group for c in corpus.clips() if c.split == split} for split in ("train", "validation", "test")}
    assert all(groups.values())
    assert len(set.union(*groups.values())) == sum(map(len, groups.values())) == 3
    splits = [RenderConfig().split(i) for i in range(RenderConfig().identities)]
    assert [splits.count(s) for s in ("train", "validation", "test")] == [8, 2, 4]


def test_a_slow_process_has_unit_variance_and_the_memory_it_was_asked_for():
    noise = slow_noise(np.random.default_rng(0), 20_000, 8, rate=25, time_constant_s=2.0, smooth_s=0.01)
    assert noise.var() == pytest.approx(1, abs=0.1)
    lag = 50  # two seconds, one time constant
    assert np.mean(noise[lag:] * noise[:-lag]) / noise.var() == pytest.approx(np.exp(-1), abs=0.06)


def test_every_trajectory_of_default_length_spans_the_plane():
    for seed in range(10):
        trajectory = draw_trajectory(np.random.default_rng(seed), RenderConfig())
        assert np.abs(trajectory).max() < 1
        assert (trajectory.min(0) < -0.6).all()
        assert (trajectory.max(0) > 0.6).all()


@pytest.mark.slow
def test_the_face_mesh_is_found_in_most_unmarked_frames(corpus):
    for clip in corpus.clips():
        time_s, marks = corpus.labels(clip).time_s, corpus.marks(clip)
        open_view = ~np.any(
            [(m.start_s <= time_s) & (time_s < m.end_s) for m in marks if m.modality == "video"], axis=0
        )
        assert np.isfinite(meshes(images(clip)[open_view])[:, 0, 0]).mean() > 0.9


@pytest.mark.slow
def test_a_smile_rises_with_valence_and_falls_where_the_face_contradicts_it(portrait):
    config = RenderConfig(size=192, difficulty=CALM)
    path = np.column_stack([np.repeat([-0.8, 0.8, 0.8], 10), np.zeros(30)])
    mesh = meshes(filmed(portrait, path, [Mark(20 / 25, 34 / 25, "video", "contradicting")], config))
    eyes = np.linalg.norm(mesh[:, 33, :2] - mesh[:, 263, :2], axis=1)
    wide = np.linalg.norm(mesh[:, 61, :2] - mesh[:, 291, :2], axis=1) / eyes
    corners_up = (mesh[:, 14, 1] - mesh[:, [61, 291], 1].mean(1)) / eyes
    sad, happy, false = (np.s_[start + 5 : start + 10] for start in (0, 10, 20))
    assert wide[happy].mean() > 1.05 * wide[sad].mean()
    assert corners_up[happy].mean() > corners_up[sad].mean() + 0.03
    assert corners_up[false].mean() < corners_up[happy].mean() - 0.03


@pytest.mark.slow
def test_a_frozen_picture_stands_still_and_an_occluded_one_hides_the_face(portrait):
    config = RenderConfig(size=192)
    marks = [Mark(0.4, 1.0, "video", "frozen"), Mark(1.2, 2.4, "video", "occluded")]
    frames = filmed(portrait, draw_trajectory(np.random.default_rng(0), replace(config, seconds=2.56)), marks, config)
    moving = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3)) > 0
    assert not moving[10:24].any()
    assert moving[:8].all()
    assert moving[26:].all()
    assert np.abs(frames[45].astype(int) - frames[5])[60:150, 60:130].mean() > 25


@pytest.mark.slow
def test_expressions_between_keys_move_the_picture_little_by_little(portrait):
    units = Units(portrait)
    steps = np.linspace(0, 1, 41)
    rest = np.zeros((41, 6))
    opening = units.weights(Expression(np.zeros(41), steps, np.ones(41), rest))
    closing = units.weights(Expression(np.zeros(41), np.zeros(41), steps, rest))
    for weights in (opening, closing):
        moved = np.tensordot(weights, units.fields, 1)
        assert np.abs(np.diff(moved, axis=0)).max() < 0.02 * portrait.size


def test_the_voice_is_louder_and_higher_at_high_arousal():
    config = RenderConfig(seconds=4, difficulty=CALM)
    calm, excited = (spoken(np.tile([0.0, arousal], (100, 1)), [], config) for arousal in (-0.8, 0.8))
    assert excited.std() > 2 * calm.std()
    assert pitch(excited) > 1.15 * pitch(calm)


def test_valence_moves_the_formants_of_the_voice():
    config = RenderConfig(seconds=4, difficulty=replace(CALM, voice_valence=1.0))

    def brightness(valence: float) -> float:
        samples = spoken(np.tile([valence, 0.0], (100, 1)), [], config)
        power = np.abs(np.fft.rfft(samples)) ** 2
        frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        speech = (frequency > 200) & (frequency < 4000)
        return float((power * frequency)[speech].sum() / power[speech].sum())

    assert brightness(0.9) > 1.05 * brightness(-0.9)


def test_the_voice_is_missing_drowned_or_neutral_where_marked():
    config = RenderConfig(seconds=4, difficulty=CALM)
    path = np.tile([0.0, 0.9], (100, 1))
    plain = spoken(path, [], config)
    inside, before = np.s_[int(1.5 * SAMPLE_RATE) : 3 * SAMPLE_RATE], np.s_[:SAMPLE_RATE]
    for kind, expected in (("silent", 0.05), ("drowned", 1.1)):
        marked = spoken(path, [Mark(1.2, 3.3, "audio", kind)], config)
        np.testing.assert_allclose(marked[before].std(), plain[before].std(), rtol=0.2)
        louder = marked[inside].std() / plain[inside].std()
        assert louder < expected if kind == "silent" else louder > expected
    neutral = spoken(path, [Mark(0.0, 4.0, "audio", "neutral")], config)
    assert neutral[inside].std() < 0.7 * plain[inside].std()


@pytest.mark.slow  # a missing file is rendered again in the fast tests
def test_rendering_goes_on_where_it_was_interrupted(tmp_path):
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path, TINY, workers=1, on_clip=interrupt)
    assert [p.name for p in (tmp_path / "clips").iterdir()] == ["person00_clip0.mp4"]
    with pytest.raises(CorpusError, match="avgate render"):
        Rendered(tmp_path)
    first = tmp_path / "clips" / "person00_clip0.mp4"
    written = first.stat().st_mtime_ns
    seen: list[str] = []
    render(tmp_path, TINY, workers=1, on_clip=seen.append)
    assert first.stat().st_mtime_ns == written
    assert sorted(seen) == ["person00_clip0", "person01_clip0", "person02_clip0"]
    assert not list(tmp_path.rglob(".avgate-*"))
    assert len(Rendered(tmp_path).clips()) == 3


def test_a_missing_file_is_rendered_again(corpus, tmp_path):
    root = shutil.copytree(corpus.root, tmp_path / "copy")
    lost = root / "labels" / "person01_clip0.csv"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(CorpusError, match="labels"):
        Rendered(root)
    render(root, MARKED, workers=1)
    assert lost.read_bytes() == content


def test_a_folder_of_another_config_is_refused_and_says_what_differs(corpus):
    with pytest.raises(UsageError, match=r"config\.difficulty\.flicker is 0\.01 there, 0\.5 here"):
        render(corpus.root, replace(MARKED, difficulty=replace(MARKED.difficulty, flicker=0.5)), workers=1)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="isn't empty"):
        render(tmp_path, TINY, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong", [{"identities": 2}, {"size": 100}, {"seconds": 0.1}, {"train_share": 0.9}, {"crf": 60}, {"seed": -1}]
)
def test_a_config_that_cannot_be_rendered_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RenderConfig(**wrong)


def test_a_missing_corpus_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(CorpusError, match=r"no such folder[\s\S]*avgate render"):
        Rendered(tmp_path / "nowhere")


def read_first(root: Path) -> None:
    """Read all there is of the first clip."""
    corpus = Rendered(root)
    corpus.labels(corpus.clips()[0])
    corpus.marks(corpus.clips()[0])


def change(path: Path, row: int, column: str, value: str) -> None:
    """Set one cell of a CSV file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(
    ("file", "row", "column", "value", "message"),
    [
        ("manifest.csv", 0, "split", "dev", "one of the splits"),
        ("manifest.csv", 0, "group", "person01", "person01.*train and the validation"),
        ("manifest.csv", 1, "clip", "person00_clip0", "listed twice"),
        ("manifest.csv", 1, "video", "clips/gone.mp4", "no file of video"),
        ("labels/person00_clip0.csv", 3, "valence", "1.5", r"\[-1, 1\]"),
        ("labels/person00_clip0.csv", 3, "arousal", "high", "line 5, column arousal"),
        ("labels/person00_clip0.csv", 3, "time_s", "0.04", "increase"),
        ("marks/person00_clip0.csv", 0, "end_s", "0.0", "end after its start"),
        ("marks/person00_clip0.csv", 0, "modality", "smell", "'audio' or 'video'"),
    ],
)
def test_what_is_wrong_in_a_corpus_is_named_with_its_file(corpus, tmp_path, file, row, column, value, message):
    root = shutil.copytree(corpus.root, tmp_path / "copy")
    change(root / file, row, column, value)
    with pytest.raises(CorpusError, match=message) as error:
        read_first(root)
    assert Path(file).name in str(error.value) or column == "video"


def test_missing_columns_are_named(corpus, tmp_path):
    root = shutil.copytree(corpus.root, tmp_path / "copy")
    (root / "manifest.csv").write_text("clip,video\n")
    with pytest.raises(CorpusError, match="labels, marks, split, group"):
        Rendered(root)
