"""A user's terminal shows avgate's own messages, and no log line of the libraries below."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from skimage.data import astronaut

from avgate.inference.estimator import Estimator
from tests.clips import make_clip, tone

# Each starts a process of its own.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("any_face_model")]


def test_predict_says_only_what_avgate_says(tmp_path):
    face = astronaut()[:300, 60:400]
    clip = make_clip(tmp_path / "smile.mp4", [face] * 50, sound=[(0.0, tone(2.0))])
    command = [sys.executable, "-m", "avgate", "predict", str(clip), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "smile.csv").is_file()
    said = " ".join(done.stderr.split())
    notes = re.escape(" ".join(Estimator().notes))
    assert re.fullmatch(rf"smile\.mp4: 50 frames -> \S+ {notes}", said), done.stderr


@pytest.mark.long
def test_a_video_that_fails_midway_ends_the_process_with_the_error_alone():
    script = """
from skimage.data import astronaut
from avgate.core.types import VideoFrame
from avgate.faces import FaceTracker

def frames():
    yield VideoFrame(0.0, astronaut())
    raise OSError("the camera is gone")

try:
    list(FaceTracker().track(frames()))
except OSError as error:
    raise SystemExit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "the camera is gone"
    assert done.returncode == 1
