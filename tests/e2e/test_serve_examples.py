"""The command lines of docs/serve.md, as they stand there, against a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from tests.web_server import process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None or shutil.which("sh") is None, reason="curl is not installed"),
]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text()
LINES = re.findall(r"^((?:\w+ .*\| )?curl .*/api/.*)$", PAGE, re.M)
RECORDING = b"not really a recording" * 1000


RUN: set[str] = set()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server."""
    folder = tmp_path_factory.mktemp("server")
    with process(folder / "data", folder / "log") as (address, _):
        yield address


@pytest.fixture
def ask(server, tmp_path):
    """Runs the line of the page that a pattern is found in, with other words in it; what the server said."""
    (tmp_path / "interview.mp4").write_bytes(RECORDING)

    def run(holds: str, **instead: str) -> str:
        (line,) = (line for line in LINES if re.search(holds, line))
        RUN.add(line)
        line = line.replace("http://127.0.0.1:8042", server)
        for word, other in instead.items():
            line = re.sub(rf"\b{word}\b", other, line)
        command = ["sh", "-c", line.replace("curl", "curl --silent --show-error --fail", 1)]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    return run


def test_a_recording_is_sent_followed_fetched_listed_and_deleted(ask, tmp_path):
    job = re.findall(r'"id": ?"(\w+)"', ask("POST -T interview.mp4"))[0]
    assert re.findall(r'"state": ?"(\w+)"', ask("/events", ID=job))[-1] == "done"
    assert '"done"' in ask("^curl http.*/api/jobs/ID$", ID=job)
    ask("/results/", ID=job, interview="a")
    assert (tmp_path / "a.csv").read_text().startswith(job)
    assert job in ask("limit=20")
    ask("/cancel", ID=job)
    ask("-X DELETE", ID=job)
    assert job not in ask("limit=20")


def test_an_annotation_is_fetched_for_elan(ask, server, tmp_path):
    job = re.findall(r'"id": ?"(\w+)"', ask("POST -T interview.mp4"))[0]
    place, table = f"{server}/api/jobs/{job}/annotations/anna-valence", b"time_s,valence\n0,0.1\n0.5,0.2\n"
    with urllib.request.urlopen(urllib.request.Request(place, table, method="PUT"), timeout=30):
        ask("/annotations/", ID=job)
    (saved,) = (path for path in tmp_path.iterdir() if path.name.startswith("anna-valence"))
    assert saved.name == "anna-valence.eaf"
    assert "ANNOTATION_DOCUMENT" in saved.read_text()


def test_limits_are_told(ask):
    assert '"max_upload_mb"' in ask("/api/limits")


def test_an_upload_goes_on_where_it_was(ask):
    upload = re.findall(r"(?im)^location: /api/uploads/(\w+)", ask("Upload-Length:"))[0]
    assert re.findall(r"(?im)^upload-offset: (\d+)", ask("curl -I", UPLOAD=upload)) == ["0"]
    said = ask("-X PATCH", UPLOAD=upload)
    assert re.findall(r"(?im)^avgate-job: (\w+)", said) == [upload]
    assert f'"size":{len(RECORDING)}' in ask("limit=20").replace(" ", "")


def test_no_line_was_left_out():
    assert [line for line in LINES if RUN and line not in RUN] == []  # alone, it has nothing to compare
