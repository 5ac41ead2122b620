"""Real recordings: every one gives a trace with its own frames, on its own clock."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from avgate import Predictor
from avgate.media import Media

pytestmark = pytest.mark.slow  # rendered clips go the same way in the fast tests

GRID = tuple(f"grid_{name}.mpg" for name in ("bbaf2n", "lbax4n", "lrwp9a", "pwij3p", "swiz3n"))
CLIPS = (*GRID, "face_noface.mov", "obama_speech.mp4")


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    """The tiny trained model."""
    return Predictor(checkpoint)


def container_times(video: Path) -> list[float]:
    """Timestamps of all decoded frames, straight from the decoder; MPEG program streams count from their start."""
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        times = [float(frame.pts * stream.time_base) for frame in container.decode(stream)]
    return [t - times[0] for t in times] if video.suffix == ".mpg" else times


@pytest.mark.parametrize("name", [*(pytest.param(c, marks=pytest.mark.slow) for c in CLIPS[:-1]), CLIPS[-1]])
def test_every_clip_has_a_row_per_frame_with_the_containers_timestamps(name, clips_dir, predictor):
    trace = predictor(clips_dir / name)
    assert trace.time_s == pytest.approx(container_times(clips_dir / name), abs=1e-6)
    assert all(len(values) == len(trace) for values in (*trace.targets.values(), *trace.present.values()))
    known = np.isfinite(trace.targets["valence"])
    evidence = trace.present["audio"] | trace.present["face"]
    assert known[evidence].mean() > 0.95
    if name.startswith("grid"):
        assert known.all()
        assert trace.present["face"].all()


def test_face_and_sound_of_a_clip_that_lacks_both_in_places_are_told_from_their_absence(clips_dir, predictor):
    """Its music lasts 4.0 s and begins at 2.43 s, as the file's edit list says; test_media_sound.py reads the list."""
    video = clips_dir / "face_noface.mov"
    trace = predictor(video)
    assert 0.35 <= trace.present["face"].mean() <= 0.50
    start = min(piece.start_s for piece in Media(video).sound())
    end = max(piece.end_s for piece in Media(video).sound())
    assert end - start == pytest.approx(3.97, abs=0.1)
    heard = trace.time_s[trace.present["audio"]]
    assert heard.min() == pytest.approx(start, abs=0.12)
    assert heard.max() <= end + 0.1
    assert trace.present["face"][trace.time_s < start - 0.1].all()
    assert np.isfinite(trace.targets["arousal"]).all()  # the face until the music begins, then the music
