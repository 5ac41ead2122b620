"""Extraction and rendering in several processes give what one gives, and tell of a process that is killed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from avgate.core import processes
from avgate.core.errors import AvgateError, WorkerError
from avgate.core.types import Clip
from avgate.corpora.rendered import write
from avgate.corpora.rendered.config import RenderConfig
from avgate.features import extract
from avgate.features.store import FeatureStore
from tests.clips import greys, make_clip, tone


def killed(*_, **__):
    """What a pool tells of work whose process is gone."""
    raise BrokenProcessPool


class Later(ThreadPoolExecutor):
    """A pool that loses a process while it works."""

    def __init__(self, workers, *_):
        super().__init__(workers)


class AtOnce(Later):
    """A pool that has lost a process before all work is handed in."""

    submit = killed


pools = pytest.mark.parametrize("pool", [Later, AtOnce])


@pytest.mark.slow
def test_two_workers_extract_what_one_does_and_tell_of_the_clip_that_fails(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in "ab":
        make_clip(tmp_path / "videos" / f"{name}.mp4", greys(20), sound=[(0.0, tone(1))])
    (tmp_path / "videos" / "c.mp4").write_bytes(b"no video")
    clips = [Clip(name, tmp_path / "videos" / f"{name}.mp4", "train", name) for name in "abc"]
    found = {}
    for workers in (1, 2):
        with pytest.raises(AvgateError, match=r"1 of 3 clips could not be extracted:\n  c: "):
            extract.extract(clips, tmp_path / str(workers), ("logmel",), 10.0, workers=workers)
        files = sorted((tmp_path / str(workers)).rglob("*.*"))
        found[workers] = {path.relative_to(tmp_path / str(workers)): path.read_bytes() for path in files}
    assert found[1] == found[2]
    assert {path.name for path in found[1]} == {"a.safetensors", "b.safetensors", "manifest.csv"}


@pytest.mark.slow
def test_extracting_again_names_what_was_damaged_and_makes_it_anew(tmp_path, capsys):
    names, store = ("a", "b", "c", "d"), FeatureStore(tmp_path / "store")
    for i, name in enumerate(names):
        make_clip(tmp_path / f"{name}.mp4", greys(20), sound=[(0.0, tone(1 + i / 10))])
    clips = [Clip(name, tmp_path / f"{name}.mp4", "train", name) for name in names]

    def again():
        capsys.readouterr()
        return extract.extract(clips, store.root, ("logmel",), 10.0, workers=1), capsys.readouterr().err

    assert again() == (4, "")
    a, b, c, _ = files = sorted(store.root.rglob("*.safetensors"))
    whole = [file.read_bytes() for file in files]
    flipped = bytearray(whole[0])
    flipped[-5] ^= 4
    a.write_bytes(flipped)
    b.write_bytes(whole[1][:-1])
    c.write_bytes(whole[0])
    done, told = again()

    assert done == 3
    assert [file.read_bytes() for file in files] == whole
    assert [line.partition(": ")[0] for line in told.splitlines()] == [str(a), str(b), str(c)]
    assert all(line.endswith("; it is extracted again") for line in told.splitlines())
    assert "features of another clip: 'a'" in told.splitlines()[2]
    assert again() == (0, "")


@pytest.mark.slow
@pools
def test_an_extraction_tells_of_it(tmp_path, monkeypatch, pool):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(extract, "_extract_clip", killed)
    (tmp_path / "c.mp4").write_bytes(b"a video")
    clips = [Clip(name, tmp_path / "c.mp4", "train", "somebody") for name in "ab"]
    with pytest.raises(WorkerError):
        extract.extract(clips, tmp_path / "store", ("logmel",), 10.0, workers=2)


@pytest.mark.slow
@pools
def test_rendering_tells_of_it(tmp_path, monkeypatch, pool):
    monkeypatch.setattr(processes, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(write, "_record", killed)
    with pytest.raises(WorkerError):
        write._render_all(tmp_path, RenderConfig(), [(0, 0)], workers=2, report=lambda take: None)
