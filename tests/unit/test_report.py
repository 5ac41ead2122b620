from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avgate.apps.report import report
from avgate.core.errors import MediaError, OutputError, UsageError
from avgate.core.gates import Gate
from avgate.core.types import Trace
from avgate.features.store import source_fingerprint
from avgate.report import html as report_module
from avgate.report.html import write_report
from avgate.report.writers.json import JsonWriter
from tests.traces import make_trace

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert('2')">&amp; $data ${js} $$.mp4"""


class Page(HTMLParser):
    """What a browser would find in a page: tags, the texts of some, and the scripts."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = False
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append((tag, ""))
        self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            tag, text = self.texts[-1]
            self.texts[-1] = (tag, text + data)

    def having(self, **wanted: str) -> list[str]:
        """The texts right after the tags with these attributes."""
        found = zip(self.tags, self.texts, strict=True)
        return [text for (_, attrs), (_, text) in found if wanted.items() <= attrs.items()]

    def all(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def summary(self) -> dict[str, str]:
        pairs = [*zip(self.all("dt"), self.all("dd"), strict=True)]
        return {name: value.strip() for name, value in reversed(pairs)}  # the first ones: others follow further down


def write_video(path: Path, codec: str = "libx264") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8))))
        container.mux(stream.encode(None))


def test_numbers_at_the_top_are_those_of_the_trace(tmp_path: Path):
    trace = make_trace(400, 25)
    write_report(trace, tmp_path / "r.html")
    summary = Page(tmp_path / "r.html").summary()
    assert summary["duration"] == "0:16.0"
    assert summary["frames"] == "400"
    assert summary["face in view"] == f"{100 * sum(trace.present['face']) / 400:.1f} %"
    assert summary["someone speaking"] == f"{100 * sum(trace.present['voice']) / 400:.1f} %"
    assert summary["sound"] == "100.0 %"
    for name in ("valence", "arousal"):
        known = [value for value in trace.targets[name] if value == value]
        assert summary[f"mean {name}"] == f"{sum(known) / len(known):+.2f}".replace("-", "−")
    assert summary["without an estimate"] == f"{100 * 30 / 400:.1f} %"


def test_a_report_without_a_video_is_small(tmp_path: Path):
    write_report(make_trace(25), tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 100_000


def test_every_frame_is_in_the_page_and_unknown_is_null(tmp_path: Path):
    trace = make_trace(400)
    write_report(trace, tmp_path / "r.html")
    (text,) = Page(tmp_path / "r.html").having(id="trace")
    data = json.loads(text)
    np.testing.assert_allclose(data["time"], trace.time_s, atol=1e-6)
    for curve in data["curves"]:
        values = np.array(curve["values"], np.float64)
        np.testing.assert_allclose(values, trace.targets[curve["name"]], atol=5.1e-5)
        for kind in ("raw", "low", "high"):
            wanted = getattr(trace, kind)[curve["name"]]
            np.testing.assert_allclose(np.array(curve[kind], np.float64), wanted, atol=5.1e-5)
    attended = data["panels"][1]["rows"][0]["values"]
    np.testing.assert_allclose(np.array(attended, np.float64), trace.gates[Gate("attended", "audio")], atol=5.1e-5)


def test_the_band_is_called_what_it_is_and_is_left_out_where_there_is_none(tmp_path: Path):
    for level, words in ((0.9, "90 % interval"), (0.955, "95.5 % interval")):
        write_report(replace(make_trace(50), level=level), tmp_path / "r.html")
        assert f"The band is the {words}" in (tmp_path / "r.html").read_text()
    write_report(replace(make_trace(50), low={}, high={}, level=None), tmp_path / "r.html")
    assert "The band is" not in (tmp_path / "r.html").read_text()
    (text,) = Page(tmp_path / "r.html").having(id="trace")
    assert [curve["low"] for curve in json.loads(text)["curves"]] == [None, None]


def test_the_followed_face_is_in_the_page_where_there_is_a_picture(tmp_path: Path):
    trace = replace(make_trace(2), face_box=np.array([[0.1, 0.2, 0.4, 0.6], [np.nan] * 4]))
    picture = np.zeros((48, 64, 3), np.uint8)
    for still, boxes in ((picture, [[100, 200, 300, 400], None]), (None, None)):
        write_report(trace, tmp_path / "r.html", still=still)
        assert json.loads(Page(tmp_path / "r.html").having(id="trace")[0])["boxes"] == boxes


def test_rows_of_several_iterations_are_parted_by_modality(tmp_path: Path):
    write_report(make_trace(20), tmp_path / "r.html")
    panels = json.loads(Page(tmp_path / "r.html").having(id="trace")[0])["panels"]
    assert [[row["place"] for row in panel["rows"]] for panel in panels] == [
        [0, 1, 2],
        [0, 1],
        [0, 1, 2, 3.5, 4.5, 5.5],
    ]


def test_notes_stand_at_the_top_and_beside_the_player(tmp_path: Path):
    write_report(make_trace(20), tmp_path / "with.html")
    write_report(replace(make_trace(20), notes=()), tmp_path / "without.html")
    page, bare = Page(tmp_path / "with.html"), Page(tmp_path / "without.html")
    assert any(text.startswith("Demonstration weights") for text in page.all("div"))
    assert page.having(href="#notes") == ["!"]
    assert bare.having(href="#notes") == bare.having(id="notes") == []


def test_nothing_in_a_trace_becomes_a_tag_or_a_script(tmp_path: Path):
    plain, trace = make_trace(20), make_trace(20, source=HOSTILE)
    hostile = Trace(
        trace.time_s,
        {HOSTILE: trace.time_s * 0, **trace.targets},
        {HOSTILE: trace.time_s > 0, **trace.present},
        {Gate(HOSTILE): trace.time_s * 0, Gate("attended", HOSTILE): trace.time_s * 0, **trace.gates},
        {},
        HOSTILE,
        (HOSTILE,),
        {HOSTILE: {HOSTILE: [HOSTILE]}},
    )
    write_report(plain, tmp_path / "plain.html")
    write_report(hostile, tmp_path / "hostile.html")
    page = Page(tmp_path / "hostile.html")
    assert page.all("h1") == [HOSTILE]
    assert page.all("title") == [f"{HOSTILE}: valence and arousal"]
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(tmp_path / "plain.html").tags}
    assert len(page.all("script")) == 3
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert json.loads(page.having(id="trace")[0])["curves"][0]["name"] == HOSTILE


def test_a_name_that_is_no_unicode_is_shown(tmp_path: Path):
    write_report(make_trace(5, source="a\udcffb.mp4"), tmp_path / "r.html")
    assert Page(tmp_path / "r.html").all("h1")[0].startswith("a")


def test_only_its_own_scripts_may_run_and_nothing_may_be_loaded(tmp_path: Path):
    write_video(tmp_path / "v.mp4")
    write_report(make_trace(10), tmp_path / "r.html", video=tmp_path / "v.mp4")
    page = Page(tmp_path / "r.html")
    rules = dict(rule.split(None, 1) for rule in page.tags[3][1]["content"].split("; "))
    assert rules["default-src"] == "'none'"
    running = [
        text for (tag, attrs), (_, text) in zip(page.tags, page.texts, strict=True) if tag == "script" and not attrs
    ]
    assert len(running) == 2
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert rules["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    addresses = [attrs[key] for _, attrs in page.tags for key in ("src", "href") if key in attrs]
    assert all(address.startswith(("#", "data:,")) for address in addresses)


def test_the_video_is_in_the_page_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_module, "PART_BYTES", 300)
    write_video(tmp_path / "v.mp4")
    write_report(make_trace(10), tmp_path / "r.html", video=tmp_path / "v.mp4")
    page = Page(tmp_path / "r.html")
    parts = page.having(**{"class": "video-part"})
    assert len(parts) > 2
    assert b"".join(map(base64.b64decode, parts)) == (tmp_path / "v.mp4").read_bytes()
    (size,) = [attrs for tag, attrs in page.tags if tag == "video"]
    assert (size["width"], size["height"]) == ("64", "48")


@pytest.mark.slow
def test_a_large_video_is_never_in_memory_as_a_whole(tmp_path: Path):
    write_video(tmp_path / "v.mp4")
    padding = 40_000_000
    with (tmp_path / "v.mp4").open("ab") as file:
        file.write((padding + 8).to_bytes(4, "big") + b"free" + bytes(padding))
    peaks = []
    for video in (None, tmp_path / "v.mp4"):
        tracemalloc.start()
        write_report(make_trace(10), tmp_path / "r.html", video=video)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "r.html").stat().st_size > padding * 4 / 3
    assert peaks[1] - peaks[0] < 15_000_000


@pytest.mark.parametrize(
    ("change", "planes", "plots"),
    [
        ({}, 1, 4),
        ({"gates": {}}, 1, 2),
        ({"targets": {"joy": np.zeros(9)}, "raw": {}}, 0, 4),
        ({"targets": {"valence": np.full(9, np.nan), "arousal": np.full(9, np.nan)}}, 1, 4),
    ],
    ids=["default", "no gates", "another target", "all unknown"],
)
def test_there_are_panels_for_what_there_is(change: dict, planes: int, plots: int, tmp_path: Path):
    write_report(replace(make_trace(9), **change), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert len(page.having(id="plane")) == planes
    assert len(page.having(**{"class": "plot"})) == plots


def test_a_still_image_has_its_picture_and_numbers_instead_of_curves(tmp_path: Path):
    write_report(make_trace(1), tmp_path / "r.html", still=np.full((48, 64, 3), (10, 250, 20), np.uint8))
    page = Page(tmp_path / "r.html")
    (image,) = (attrs for tag, attrs in page.tags if tag == "img")
    content = base64.b64decode((image["src"] or "").removeprefix("data:image/jpeg;base64,"))
    assert np.array(Image.open(io.BytesIO(content)))[24, 32] == pytest.approx((10, 250, 20), abs=4)
    assert page.having(id="plot-curves") == []
    assert len(page.having(id="plane")) == 1
    ends = make_trace(1).low["valence"][0], make_trace(1).high["valence"][0]
    assert "90 % interval {:+.2f} to {:+.2f}".format(*ends).replace("-", "−") in page.all("small")
    summary = page.summary()
    assert "duration" not in summary
    assert summary["valence"] == f"{make_trace(1).targets['valence'][0]:+.2f}"


def test_where_the_numbers_come_from_is_said(tmp_path: Path):
    write_report(make_trace(9), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    rows = dict(zip(page.all("th")[-6:], page.all("td")[-6:], strict=True))
    assert rows["recipe.fusion.name"] == "hgrjca"
    assert rows["recipe.targets"] == '["valence", "arousal"]'
    assert (rows["validation.valence"], rows["validation.arousal"]) == ("0.5", "unknown")


def test_what_cannot_be_shown_or_written_is_said(tmp_path: Path):
    write_video(tmp_path / "v.avi", "mpeg4")
    (tmp_path / "old.html").write_text("old")
    for video in (tmp_path / "v.avi", tmp_path / "none.mp4"):
        with pytest.raises(MediaError):
            write_report(make_trace(9), tmp_path / "old.html", video=video)
    with pytest.raises(MediaError, match="no frame"):
        write_report(make_trace(0), tmp_path / "old.html")
    with pytest.raises(OutputError):
        write_report(make_trace(9), tmp_path / "nowhere" / "r.html")
    assert (tmp_path / "old.html").read_text() == "old"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        (".html", b"<!doctype html>"),
        (".PNG", b"\x89PNG"),
        (".svg", b"<?xml"),
        (".pdf", b"%PDF"),
    ],
)
def test_the_verb_draws_a_written_trace(suffix: str, start: bytes, tmp_path: Path):
    JsonWriter().write(make_trace(30), tmp_path / "t.json")
    report(tmp_path / "t.json", tmp_path / f"r{suffix}")
    if suffix != ".html":
        report(tmp_path / "t.json", tmp_path / f"r{suffix}", only="curves")
    assert (tmp_path / f"r{suffix}").read_bytes().startswith(start)


def test_the_verb_takes_a_video_of_any_format(tmp_path: Path):
    JsonWriter().write(make_trace(10), tmp_path / "t.json")
    write_video(tmp_path / "v.avi", "mpeg4")
    report(tmp_path / "t.json", tmp_path / "r.html", tmp_path / "v.avi")
    parts = Page(tmp_path / "r.html").having(**{"class": "video-part"})
    (tmp_path / "back.mp4").write_bytes(b"".join(map(base64.b64decode, parts)))
    with av.open(str(tmp_path / "back.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [round(frame.time, 3) for frame in container.decode(video=0)]
    assert times == [0.0, 0.08, 0.16, 0.24, 0.32, 0.36], "at most 15 a second, and the last one"


def test_the_verb_warns_where_the_video_is_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_video(tmp_path / "v.mp4")
    for fingerprint, warned in ((source_fingerprint(tmp_path / "v.mp4"), False), ("0" * 16, True)):
        trace = replace(make_trace(10), provenance={"video_fingerprint": fingerprint})
        JsonWriter().write(trace, tmp_path / "t.json")
        report(tmp_path / "t.json", tmp_path / "r.html", tmp_path / "v.mp4")
        said = " ".join(capsys.readouterr().err.split())
        warning = "'v.mp4' isn't the file that the trace was made of ('interview.mp4')"
        assert (warning in said) == warned
        page = html.unescape((tmp_path / "r.html").read_text("utf-8"))
        assert (warning in page) == warned


def test_the_verb_refuses_what_makes_no_sense(tmp_path: Path):
    JsonWriter().write(make_trace(10), tmp_path / "t.json")
    with pytest.raises(UsageError, match="no kind of report"):
        report(tmp_path / "t.json", tmp_path / "r.docx")
    with pytest.raises(UsageError, match="only an HTML report"):
        report(tmp_path / "t.json", tmp_path / "r.png", tmp_path / "v.mp4")
    with pytest.raises(UsageError, match="can't be of curves only"):
        report(tmp_path / "t.json", tmp_path / "r.html", only="curves")
