"""Recordings through the server's own workers: the bytes of `avgate predict`, and nothing that they should not do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avgate.cli import main
from tests.clips import make_clip, tone
from tests.e2e.test_serve_crew import busy, kill, running, serve
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


@pytest.mark.parametrize("name", ["../../../tmp/x.wav", "-rf.wav", "a\0b.wav", "\u5f20 <b>.wav", "x" * 400, ""])
def test_hostile_names_stay_in_their_folder(site: Site, sound: Path, name: str):
    before = sorted(site.folder.root.parent.iterdir())
    job = site.send(sound.read_bytes(), name, report=False)
    ended = site.until(job)
    assert ended.state == "done", ended
    assert len(ended.results) == 2
    assert all(site.folder.result(job.id, result) for result in ended.results)
    assert sorted(site.folder.root.parent.iterdir()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no recording at all",
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    ],
)
def test_files_that_name_other_files_are_refused(site: Site, content: bytes):
    ended = site.until(site.send(content, "a.mp4"))
    assert ended.state == "failed"
    assert ended.attempt == 1
    assert str(site.folder.root) not in ended.error + ended.hint
    assert "server's fault" not in ended.error


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
