"""What a cut run kept of a recording gives the same features as a run that wasn't cut, to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import avgate.faces.tracker as tracker
from avgate.core.types import VideoFrame
from avgate.features.registry import build_backbones
from avgate.features.sides import Kept
from avgate.features.tracks import Extracted, extract_tracks
from avgate.media import Media
from tests.disks import disk

BACKBONES = ("facemesh", "egemaps", "logmel")
COLUMNS = ("time_s", "face", "others", "box", "heard_s", "sounding_s", "end_s")


class Cut(Media):
    """A recording whose reader is killed at 2.4 s, before anything of its third part was kept or looked at whole."""

    def frames(self) -> Iterator[VideoFrame]:
        for frame in super().frames():
            if frame.time_s > 2.4:
                raise KeyboardInterrupt
            yield frame


@pytest.fixture
def clip(clips_dir, any_face_model, monkeypatch):
    """A real recording of 3 s with sound, of which a part is a second."""
    monkeypatch.setattr(tracker, "PART_S", 1.0)
    return clips_dir / "grid_bbaf2n.mpg"


def extract(recording: Media, kept: Kept | None, every: int = 1) -> Extracted:
    return extract_tracks(recording, build_backbones(BACKBONES, 10.0), faces_every=every, kept=kept)


def same(one: Extracted, other: Extracted) -> bool:
    features = all(
        np.array_equal(a.values, b.values, equal_nan=True) and np.array_equal(a.present, b.present)
        for a, b in zip(one.tracks, other.tracks, strict=True)
    )
    columns = (np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in COLUMNS)
    return features and all(columns) and one.notes == other.notes


@pytest.mark.slow
@pytest.mark.parametrize("every", [4, 1])
def test_a_cut_extraction_goes_on_after_the_parts_that_were_kept(every, clip, tmp_path, monkeypatch):
    whole = extract(Media(clip), None, every)
    kept = Kept(tmp_path / "kept", "this")
    with pytest.raises(KeyboardInterrupt):
        extract(Cut(clip), kept, every)
    assert len(kept.read("faces")) == 1
    looked: list[float] = []
    row = tracker.LiveTracker.row
    monkeypatch.setattr(tracker.LiveTracker, "row", lambda self, frame: looked.append(frame.time_s) or row(self, frame))
    assert same(extract(Media(clip), kept, every), whole)
    assert min(looked) == pytest.approx(1.0, abs=0.05)
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_parts_that_are_damaged_or_of_another_origin_arent_used(clip, tmp_path):
    whole = extract(Media(clip), Kept(tmp_path, "this"))
    parts = sorted(tmp_path.glob("faces-*"))
    assert len(parts) == 2
    assert Kept(tmp_path, "that").read("faces") == []
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"!")
    assert len(Kept(tmp_path, "this").read("faces")) == 1
    assert same(extract(Media(clip), Kept(tmp_path, "this")), whole)
    parts[0].unlink()
    assert Kept(tmp_path, "this").read("faces") == []


@pytest.mark.slow
def test_an_extraction_ends_where_there_is_no_room_for_its_parts(clip, tmp_path, capfd):
    with disk(tmp_path / "full", "size=4k") as folder:
        found = extract(Media(clip), Kept(folder / "kept", "this"))
    assert same(found, extract(Media(clip), None))
    assert "if this run is cut, the next one begins earlier" in capfd.readouterr().err
