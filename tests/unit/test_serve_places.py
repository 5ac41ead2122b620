"""Room for recordings: as many as may wait, and as many bytes as the disk has, however many ask at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.jobs import Options
from avgate.apps.serve.routes.places import Places
from avgate.apps.serve.routes.shapes import Refused
from avgate.apps.serve.routes.uploads import Uploads, new_id, write_all
from avgate.apps.serve.settings import Settings
from tests.web_server import serving

MB = 1 << 20


class Room:
    """Places over a folder, a queue and a disk that a test sets."""

    def __init__(self, folder):
        self.queued, self.free_mb = 0, 1000.0
        self.uploads = Uploads(folder, 3600)
        store = SimpleNamespace(count=lambda: {"queued": self.queued})
        disk = SimpleNamespace(free_mb=lambda: self.free_mb)
        settings = Settings(max_jobs=5, min_free_mb=100)
        self.places = Places(settings, store, disk, self.uploads)  # type: ignore[arg-type]

    def status(self, length: int = 0) -> int:
        try:
            with self.places.reserved(new_id(), length):
                return 200
        except Refused as refused:
            return refused.status


@pytest.fixture
def room(tmp_path) -> Room:
    return Room(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["announced", "sent"])
def test_of_many_who_ask_at_once_only_so_many_are_taken(room, kind):
    room.queued = 2
    together, done = threading.Barrier(40), threading.Event()

    def ask(_) -> int | str:
        together.wait()
        upload_id = new_id()
        try:
            with room.places.reserved(upload_id, 4):
                if kind == "announced":
                    room.uploads.create("a.mp4", 4, Options(), upload_id)
                else:
                    done.wait(0.5)
                return 200
        except Refused as refused:
            return refused.problem["where"]

    with ThreadPoolExecutor(40) as pool:
        found = [*pool.map(ask, range(40))]
    assert (found.count(200), found.count("max_jobs")) == (3, 37)


def test_a_place_is_given_back_whatever_happens(room):
    for _ in range(20):
        with pytest.raises(OSError, match="line"), room.places.reserved(new_id(), 4):
            raise OSError("the line is cut")
    assert room.status() == 200


def test_bytes_that_were_announced_and_have_not_come_have_their_room(room):
    room.free_mb = 110.0
    upload = room.uploads.create("a.mp4", 6 * MB, Options())
    assert (room.status(4 * MB), room.status(4 * MB + 1)) == (200, 507)
    with room.places.reserved(new_id(), 3 * MB):
        assert (room.status(MB), room.status(MB + 1)) == (200, 507)
    with room.uploads.hold(upload.id) as file:
        write_all(file, bytes(2 * MB))
    room.free_mb -= 2
    assert (room.status(4 * MB), room.status(4 * MB + 1)) == (200, 507)
    room.free_mb = 99.0
    assert room.status() == 507


def test_a_recording_is_no_job_where_others_have_filled_the_list_meanwhile_and_is_one_later(tmp_path):
    with serving(tmp_path / "data", max_jobs=1, database="postgresql://somewhere/jobs") as server:
        place = server.begin(3)
        counts = {"queued": 1}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server.store, "count", lambda: counts)
            answer = server.add(place, 0, b"abc")
        assert (answer.status_code, answer.json()["where"]) == (503, "max_jobs")
        assert server.add(place, 3, b"").headers["avgate-job"]
