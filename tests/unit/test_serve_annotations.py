"""Annotations over HTTP: saved, read back in any label format, listed, and gone with their recording."""

from __future__ import annotations

import asyncio
import io
import threading
import zipfile

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.routes import annotations as routes
from avgate.apps.serve.routes.shapes import Refused
from avgate.labels.formats import LABEL_FORMATS, label_format, read_labels
from tests.web_server import HERE, serving

TIMES = np.arange(100) * 0.04
VALUES = np.sin(TIMES)
TABLE = "time_s,valence\n" + "".join(f"{t:.3f},{v:.4f}\n" for t, v in zip(TIMES, VALUES, strict=True))


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "data") as server:
        yield server


def place(job_id, name="anna-valence"):
    return f"/api/jobs/{job_id}/annotations/{name}"


def save(server, job_id, name="anna-valence", table=TABLE):
    headers = {"Content-Type": "text/csv", "Origin": HERE}
    return server.web.put(f"{place(job_id, name)}?format=csv", content=table, headers=headers)


@pytest.mark.parametrize("linked", ["annotation", "folder"])
def test_links_in_place_of_annotations_are_never_followed(server, tmp_path, linked):
    job_id = server.send()
    assert save(server, job_id).status_code == 204
    secret = tmp_path / "secret"
    secret.mkdir()
    file, folder = secret / "anna-valence.csv", server.folder.jobs / job_id / "annotations"
    file.write_text("time_s,valence\n0,0.5\n")
    before = file.read_text()
    (folder / file.name).unlink()
    if linked == "folder":
        folder.rmdir()
        folder.symlink_to(secret)
    else:
        (folder / file.name).symlink_to(file)
    assert server.web.get(place(job_id)).status_code == 404
    assert server.web.delete(place(job_id)).status_code == 404
    assert save(server, job_id).status_code == (204 if linked == "annotation" else 404)
    assert save(server, job_id, "bo").status_code == (204 if linked == "annotation" else 404)
    assert [path.name for path in secret.iterdir()] == [file.name]
    assert file.read_text() == before


def test_what_is_saved_is_read_back_and_listed(server):
    job_id = server.send()
    assert save(server, job_id).status_code == 204
    assert save(server, job_id, "bo-both", "time_s,valence,arousal\r\n0,,-1\r\n0.5,1,\r\n").status_code == 204
    back = server.web.get(f"{place(job_id)}?format=csv")
    assert back.headers["content-type"] == "text/csv; charset=utf-8"
    rows = np.genfromtxt(io.StringIO(back.text), delimiter=",", names=True)
    np.testing.assert_allclose(rows["time_s"], TIMES, atol=1e-9)
    np.testing.assert_allclose(rows["valence"], VALUES, atol=6e-5)
    assert server.web.get(place(job_id, "bo-both")).text == (
        "time_s,valence,arousal\n0.000000,,-1.000000\n0.500000,1.000000,\n"
    )
    listed = server.web.get(f"/api/jobs/{job_id}/annotations").json()
    assert [(each["name"], each["targets"]) for each in listed] == [
        ("anna-valence", ["valence"]),
        ("bo-both", ["valence", "arousal"]),
    ]
    assert listed[0]["size"] == len(back.content)
    assert listed[0]["saved"].endswith("Z")


def test_the_last_one_of_a_name_counts_and_others_stay(server):
    job_id, other = server.send(), server.send()
    for table in (TABLE, "time_s,valence\n1,0.5\n"):
        assert save(server, job_id, table=table).status_code == 204
    assert server.web.get(place(job_id)).text == "time_s,valence\n1.000000,0.500000\n"
    assert server.web.get(f"/api/jobs/{other}/annotations").json() == []
    assert server.web.get(place(other)).status_code == 404


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.name for f in LABEL_FORMATS if f.name not in ("csv", "affwild2")])
def test_an_annotation_comes_in_any_label_format(server, tmp_path, name):
    job_id = server.send()
    save(server, job_id)
    answer = server.web.get(place(job_id), params={"format": name})
    assert answer.status_code == 200, answer.text
    suffix = label_format(name).suffix
    file = tmp_path / f"anna-valence{suffix}"
    if answer.headers["content-type"] == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert file.name in archive.namelist()
            archive.extractall(tmp_path)
    else:
        assert f'filename="{file.name}"' in answer.headers["content-disposition"]
        file.write_bytes(answer.content)
    labels = read_labels(file, target="valence")
    np.testing.assert_allclose(labels.values[:, 0], VALUES, atol=1e-3)


@pytest.mark.slow
def test_formats_with_a_file_for_each_target_come_as_a_zip(server):
    job_id = server.send()
    save(server, job_id, table="time_s,valence,arousal\n0,0,1\n0.04,0,1\n")
    answer = server.web.get(place(job_id), params={"format": "muse"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["anna-valence.arousal.csv", "anna-valence.valence.csv"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("", "first line"),
        ("\0\xff", "first line"),
        ("time_s\n0\n", "first line"),
        ("time_s,=1+1\n0,0\n", "first line"),
        ("seconds,valence\n0,0\n", "first line"),
        ("time_s,valence", "no labels"),
        ("time_s,valence\n0,\n", "no value"),
        ("time_s,valence\n0,1.5\n", "not in [-1, 1]"),
        ("time_s,valence\n0,inf\n1,0\n", "isn't a number"),
        ("time_s,valence\n0,x\n1,0\n", "isn't a number"),
        ("time_s,valence\n0,0\n0,0\n", "must increase"),
        ("time_s,valence\nnan,0\n", "must increase"),
        ("time_s,valence\n-1,0\n", "isn't within"),
        ("time_s,valence\n0,0\n15000,0\n", "isn't within"),
        ("time_s,valence\n0,0,0\n", "3 cells"),
        ("time_s,valence\n0,\xff\n", "number"),
        ("time_s,valence,valence\n0,0,0\n", "twice"),
        ("time_s,valence,until_s\n0,0,1\n", "target's name"),
        ("time_s,valence,frame\n0,0,1\n", "target's name"),
        ("time_s" + ",a" * 9 + "\n0" + ",0" * 9, "at most 8"),
        ("time_s,valence\n" + "\n" * 1_000_001, "at most 500,000 rows"),
        ("time_s,valence\n" + "0" * (1 << 24), "at most 16 MB"),
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_no_annotation_is_refused_and_the_last_one_stays(server, table, what):
    job_id = server.send()
    save(server, job_id)
    before = server.left()
    answer = save(server, job_id, table=table)
    assert answer.status_code in (413, 422)
    assert what in answer.json()["error"]
    assert set(answer.json()) == {"error", "hint", "where"}
    assert str(server.folder.root) not in answer.text
    assert server.left() == before
    assert server.web.get(place(job_id)).text.count("\n") == 101


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.b", "%2e%2e", "%2e%2e%2fx", "a%00", "a b", "x" * 81, "%C3%BC"])
def test_names_that_are_no_file_names_are_refused(server, name):
    job_id = server.send()
    before = server.left()
    for answer in (save(server, job_id, name), server.web.get(place(job_id, name))):
        assert answer.status_code in (404, 405, 422), answer.text
        assert answer.json()["error"]
    assert server.left() == before


@pytest.mark.parametrize(("method", "query"), [("GET", "format=doc"), ("PUT", "format=elan")])
def test_formats_that_there_are_not_are_refused(server, method, query):
    job_id = server.send()
    save(server, job_id)
    answer = server.web.request(method, f"{place(job_id)}?{query}", content=TABLE)
    assert (answer.status_code, answer.json()["where"]) == (422, "format")
    assert "csv" in answer.json()["hint"]


def test_there_is_none_of_a_recording_that_there_is_not(server):
    for answer in (save(server, "0" * 32), server.web.get(place("0" * 32)), save(server, "..")):
        assert answer.status_code == 404
    assert server.left() == []


def test_they_go_with_their_recording_and_one_by_one(server):
    job_id = server.send()
    for name in ("a", "b"):
        save(server, job_id, name)
    assert server.web.delete(place(job_id, "a")).status_code == 204
    assert server.web.delete(place(job_id, "a")).status_code == 404
    assert [each["name"] for each in server.web.get(f"/api/jobs/{job_id}/annotations").json()] == ["b"]
    server.crew.do()
    assert server.web.get(place(job_id, "b")).status_code == 200
    server.web.delete(f"/api/jobs/{job_id}")
    assert server.left() == []


def test_one_that_is_saved_while_its_recording_is_deleted_leaves_nothing(server, monkeypatch):
    job_id = server.send()
    read = routes._read

    def slowly(*args):
        labels = read(*args)
        thread = threading.Thread(target=server.web.delete, args=(f"/api/jobs/{job_id}",))
        thread.start()
        thread.join()
        return labels

    monkeypatch.setattr(routes, "_read", slowly)
    assert save(server, job_id).status_code == 404
    assert server.left() == []
    assert not list(server.folder.jobs.iterdir())


def test_one_that_is_not_there_is_answered_with_those_that_are(server):
    job_id = server.send()
    assert server.web.get(place(job_id, "anna")).json()["hint"] == "the recording has none yet"
    for name in ("anna-valence", "ben-valence"):
        save(server, job_id, name)
    problem = server.web.get(place(job_id, "anna")).json()
    assert (problem["error"], problem["hint"]) == (
        "there is no annotation 'anna'",
        "there are: anna-valence, ben-valence",
    )


def test_a_recording_has_only_so_many(server, monkeypatch):
    monkeypatch.setattr(routes, "MOST_NAMES", 1)
    job_id = server.send()
    assert save(server, job_id, "a").status_code == 204
    assert save(server, job_id, "b").status_code == 409
    assert save(server, job_id, "a").status_code == 204


def test_they_have_only_so_many_bytes_together(server, monkeypatch):
    monkeypatch.setattr(routes, "MOST_KEPT", 3 * len(TABLE))
    job_id = server.send()
    assert [save(server, job_id, name).status_code for name in ("a", "b", "c", "a")] == [204, 204, 413, 204]
    answer = save(server, job_id, "c")
    assert "together" in answer.json()["error"]


def test_very_many_rows_come_as_csv_alone(server, monkeypatch):
    job_id = server.send()
    save(server, job_id)
    for most, status in ((100, 200), (99, 413)):
        monkeypatch.setattr(routes, "MOST_CONVERTED", most)
        answer = server.web.get(place(job_id), params={"format": "elan"})
        assert answer.status_code == status
    assert "99 rows" in answer.json()["error"]
    assert server.web.get(place(job_id)).text.count("\n") == 101


def test_only_so_many_are_converted_at_once_and_others_later(server, monkeypatch):
    job_id = server.send()
    save(server, job_id)
    convert, within = routes._converted, []

    def converted(*given):
        if len(within) < routes.MOST_AT_ONCE:
            at = len(within)
            within.append(None)
            within[at] = server.web.get(place(job_id), params={"format": "elan"})
        return convert(*given)

    monkeypatch.setattr(routes, "_converted", converted)
    assert server.web.get(place(job_id), params={"format": "elan"}).status_code == 200
    refused = within[-1]
    assert (refused.status_code, refused.json()["where"]) == (503, "format")
    assert int(refused.headers["retry-after"]) > 0
    assert server.web.get(place(job_id), params={"format": "elan"}).status_code == 200


@pytest.mark.slow
def test_one_that_comes_in_pieces_for_ever_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(routes, "LONGEST_S", 0.3)

    class Sender:
        async def stream(self):
            while True:
                await asyncio.sleep(0.01)
                yield b"0"

    with pytest.raises(Refused, match=r"longer than 0\.3 s") as caught:
        asyncio.run(routes._body(Sender()))
    assert caught.value.status == 408
