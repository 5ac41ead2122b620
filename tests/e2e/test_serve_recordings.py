"""Recordings through the server's own workers: the bytes of `avgate predict`, and nothing that they should not do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avgate.apps.serve.names import safe_name
from avgate.cli import main
from tests.clips import make_clip, tone
from tests.e2e.test_serve_crew import busy, kill, running, serve
from tests.hostile import CONTENTS, NAMES, content
from tests.serving import Site

pytestmark = pytest.mark.slow  # starts processes that load models


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, any_face_model: None) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("server") / "data", work=None, max_duration_s=60)
    with made.crew:
        yield made
        made.crew.stop(0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    return make_clip(path, sound=[(0.0, tone(3.0))], sound_codec="pcm_s16le")


def predicted(clip: Path, out: Path, *more: str) -> bytes:
    main(["predict", str(clip), "--out", str(out), *more])
    return (out / f"{clip.stem}.csv").read_bytes()


@pytest.mark.long
def test_results_are_those_of_predict_to_the_byte(site: Site, clips_dir: Path, sound: Path, tmp_path: Path):
    clip, other = clips_dir / "grid_lbax4n.mpg", sound
    video = site.send(clip.read_bytes(), clip.name, report=False, formats=("elan",))
    heard = site.send(other.read_bytes(), other.name)
    assert site.until(video).results == tuple(f"{clip.stem}{end}" for end in (".csv", ".eaf", ".json"))
    assert site.until(heard).results == tuple(f"{other.stem}{end}" for end in (".csv", ".html", ".json", ".png"))
    for job, path, more in ((video, clip, ["--no-report"]), (heard, other, [])):
        assert site.text(job, f"{path.stem}.csv").encode() == predicted(path, tmp_path, *more)
        assert site.text(job, f"{path.stem}.json").encode() == (tmp_path / f"{path.stem}.json").read_bytes()
        assert site.parts(job) == ["input", "results"]
    factor = site.crew.figures.factor
    assert factor is not None
    assert factor > 0


@pytest.mark.long
def test_a_recording_whose_worker_is_killed_ends_with_the_same_bytes(site: Site, sound: Path, tmp_path: Path):
    job = site.send(sound.read_bytes(), sound.name, report=False)
    site.until(job, running)
    os.kill(busy(site), signal.SIGKILL)
    ended = site.until(job)
    assert (ended.state, ended.attempt) == ("done", 2)
    assert site.text(job, "tone.csv").encode() == predicted(sound, tmp_path / "out", "--no-report")


def test_a_recording_longer_than_it_may_be_names_the_setting(site: Site, tmp_path: Path):
    long = make_clip(tmp_path / "long.wav", sound=[(0.0, tone(61.0))], sound_codec="pcm_s16le")
    ended = site.until(site.send(long.read_bytes(), "long.wav"))
    assert ended.state == "failed"
    assert "60 s (the setting max_duration_s)" in ended.error


def test_hostile_names_stay_in_their_folder(site: Site, tmp_path: Path):
    sound = make_clip(tmp_path / "short.wav", sound=[(0.0, tone(0.5))], sound_codec="pcm_s16le").read_bytes()
    before = sorted(site.folder.root.parent.iterdir())
    # All that is left of names on the disk are plain letters, some or many of them, and an ending.
    kinds = {(Path(safe_name(name)).suffix, len(safe_name(name)) > 50): name for name in NAMES}
    jobs = {name: site.send(sound, name, report=False) for name in kinds.values()}
    for name, job in jobs.items():
        ended = site.until(job)
        assert ended.state == "done", (name, ended)
        assert len(ended.results) == 2
        assert all(site.folder.result(job.id, result) for result in ended.results)
        assert site.parts(job) == ["input", "results"]
    assert sorted(site.folder.root.parent.iterdir()) == before


def test_what_is_no_recording_and_files_that_name_other_files_are_refused(site: Site, sound: Path):
    jobs = {kind: site.send(content(kind, sound), "a.mp4") for kind in CONTENTS}
    for kind, job in jobs.items():
        ended = site.until(job)
        assert (ended.state, ended.attempt, ended.results) == ("failed", 1, ()), (kind, ended)
        assert str(site.folder.root) not in ended.error + ended.hint
        assert str(sound.parent) not in ended.error + ended.hint
        assert "server's fault" not in ended.error
        assert site.parts(job) == ["input"]


def test_a_link_in_place_of_a_recording_is_not_read(site: Site, sound: Path):
    job = site.keep(sound.read_bytes(), sound.name)
    place = site.folder.recording(job.id)
    assert place is not None
    place.unlink()
    place.symlink_to(sound)
    site.queue(job)
    assert site.until(job).error == "its file is gone"


@pytest.mark.parametrize("moment", range(int(os.environ.get("SERVE_KILLS", "1"))))
def test_a_server_killed_at_work_ends_its_recordings_later_with_the_same_bytes(
    tmp_path: Path, sound: Path, any_face_model: None, moment: int
):
    site = Site(tmp_path / "data", work=None)
    jobs = [site.send(sound.read_bytes(), sound.name, report=False) for _ in range(2)]
    process = serve(site.folder.root)
    site.until(jobs[moment % 2], running)
    time.sleep(0.1 * (moment % 7))
    kill(process)
    process = serve(site.folder.root)
    try:
        expected = predicted(sound, tmp_path / "out", "--no-report")
        for job in jobs:
            assert site.until(job).state == "done"
            assert site.text(job, "tone.csv").encode() == expected
            assert site.parts(job) == ["input", "results"]
    finally:
        kill(process)
