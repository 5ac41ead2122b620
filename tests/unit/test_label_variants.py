"""Label files as other versions of a program, other countries and other hands write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import CorpusError
from avgate.core.text import LISTED, listed, number, quoted
from avgate.core.types import LabelTrack
from avgate.labels.formats import LABEL_FORMATS, read_labels, write_labels
from avgate.labels.formats.praat import tiers_of

NAN = float("nan")


def read(folder: Path, name: str, text: str | bytes, **options) -> LabelTrack:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_labels(path, **options)


def values(labels: LabelTrack, target: str) -> list[float]:
    return labels.values[:, labels.targets.index(target)].tolist()


@pytest.mark.parametrize(("text", "value"), [("-.5", -0.5), ("1.", 1), ("+1e-3", 0.001), ("007", 7)])
def test_numbers_are_written_in_digits_and_a_point(text, value):
    assert number(text) == value
    assert number(text.replace(".", ","), comma=True) == value


@pytest.mark.parametrize(
    "text", ["1_000", "\u0663", "\u00b2", "nan", "inf", "Infinity", "1e999", "0x1", "1,5", "\u22121", "", ".", "1 0"]
)
def test_what_python_or_a_reader_may_take_for_a_number_is_none(text):
    assert number(text) is None


def test_quotes_are_cut_and_hold_no_control_characters():
    assert quoted("a\x1b[31m\nb") == r"a\x1b[31m\nb"
    assert len(quoted("x" * 10_000)) <= 80
    assert len(quoted("\u202e" * 10_000)) <= 80
    long = listed(f"column{i}" for i in range(1000))
    assert long.startswith("column0, column1, ")
    assert long.endswith(" more")
    assert len(long) <= LISTED
    assert listed(["a", "b"]) == "a, b"


class TestTables:
    def test_a_decimal_comma_where_semicolons_or_tabs_separate_cells(self, tmp_path):
        for mark in (";", "\t"):
            labels = read(tmp_path, "a.csv", f"time_ms{mark}valence\n0{mark}0,10\n500{mark}-0,20\n".replace("m", "m"))
            assert labels.time_s.tolist() == [0, 0.5]
            assert values(labels, "valence") == pytest.approx([0.1, -0.2])

    def test_a_line_that_tells_the_separator_is_no_row(self, tmp_path):
        assert read(tmp_path, "a.csv", "sep=;\ntime_s;valence\n0;0,5\n1;1\n").values[:, 0].tolist() == [0.5, 1]

    def test_a_decimal_comma_between_commas_is_refused_and_not_taken_for_a_word(self, tmp_path):
        with pytest.raises(CorpusError, match=r"line 2, column valence: '0,5' isn't a number\n.*semicolons or tabs"):
            read(tmp_path, "a.csv", 'time_s,valence\n0,"0,5"\n1,"0,6"\n')

    def test_columns_that_are_no_targets_are_named(self, tmp_path):
        text = ",time_s,valence,valence_low,valence_high,mood,\n0,0,0.5,0.4,0.6,good,\n1,1,0.5,0.4,0.6,bad,\n"
        labels = read(tmp_path, "a.csv", text)
        assert labels.targets == ("valence",)
        assert labels.notes == (
            "left out, because they hold no numbers: columns mood",
            "left out, because it has no title: column 1",
            "left out, because they belong to an estimate: columns valence_low, valence_high",
        )

    def test_columns_that_number_rows_or_say_how_sure_a_label_is_are_no_targets(self, tmp_path):
        labels = read(tmp_path, "a.csv", "Frame,id,time_s,valence,confidence\n0,7,0,0.5,0.9\n1,7,1,0.4,7\n")
        assert labels.targets == ("valence",)
        assert labels.notes == (
            "left out, because they number rows or say how sure a label is: columns Frame, id, confidence",
        )

    @pytest.mark.parametrize(
        "titles_and_rows",
        [
            "start_s,duration_s,valence\n0,0.5,0.1\n1,0.25,0.2\n",
            "start_ms,duration_ms,valence\n0,500,0.1\n1000,250,0.2\n",
            "time_s,Duration,valence\n0,0.5,0.1\n1,0.25,0.2\n",
            "start_s,duration_s,end_s,valence\n0,0.5,0.5,0.1\n1,0.25,1.25,0.2\n",
        ],
    )
    def test_lengths_are_ends_and_no_target(self, tmp_path, titles_and_rows):
        labels = read(tmp_path, "a.csv", titles_and_rows)
        assert labels.targets == ("valence",)
        assert labels.until_s.tolist() == pytest.approx([0.5, 1.25])

    @pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "-nan(ind)", "nan(ind)", "nan(0x8)", "-1.#IND", "1.#QNAN0"])
    def test_unknown_is_unknown_as_any_program_writes_it(self, tmp_path, text):
        labels = read(tmp_path, "a.csv", f"time_s,valence\n0,{text}\n1,0.5\n")
        assert values(labels, "valence") == pytest.approx([NAN, 0.5], nan_ok=True)

    def test_a_line_is_named_as_an_editor_counts_it(self, tmp_path):
        with pytest.raises(CorpusError, match="line 6, column valence: 'x' isn't a number"):
            read(tmp_path, "a.csv", 'time_s,valence,word\n\n0,0.5,"two\nlines"\n\n1,x,\n')

    @pytest.mark.parametrize(
        ("title", "step", "unit"),
        [
            ("time", 0.04, 1),
            ("time", 1, 1),
            ("time", 500, 1e-3),
            ("t", 100, 1e-3),
            ("T", 0.5, 1),
            ("time", 40, 0),
            ("timestamp", 40_000, 0),
        ],
    )
    def test_the_unit_of_plain_times_follows_from_their_distance_or_is_asked_for(self, tmp_path, title, step, unit):
        text = f"{title},joy\n" + "".join(f"{i * step:g},0.1\n" for i in range(5))
        if unit:
            assert read(tmp_path, "a.csv", text).time_s == pytest.approx(np.arange(5) * step * unit)
        else:
            with pytest.raises(CorpusError, match=r"may be seconds or another unit\n.*call it time_s or time_ms"):
                read(tmp_path, "a.csv", text)


@pytest.mark.parametrize(("step", "segment", "unit"), [(6, "", 0), (10, "", 0), (40_000, ",1", 0), (10, ",1", 1e-3)])
def test_muse_in_a_unit_that_cant_be_told_is_asked_for(tmp_path, step, segment, unit):
    titles = "timestamp,value" + (",segment_id" if segment else "")
    text = f"{titles}\n" + "".join(f"{i * step:g},0.1{segment}\n" for i in range(5))
    if unit:
        assert read(tmp_path, "a.csv", text).time_s == pytest.approx(np.arange(5) * step * unit)
    else:
        with pytest.raises(CorpusError, match=r"may be seconds or another unit\n.*call it time_s or time_ms"):
            read(tmp_path, "a.csv", text)


@pytest.mark.parametrize(("step", "unit"), [(500, 1e-3), (40, 1e-3), (0.5, 1)])
def test_muse_in_milliseconds_and_in_seconds(tmp_path, step, unit):
    text = "timestamp,value\n" + "".join(f"{i * step:g},0.1\n" for i in range(5))
    assert read(tmp_path, "a.csv", text).time_s == pytest.approx(np.arange(5) * step * unit)


class TestCarma:
    HEAD = '"Lower Label","low"\n"Minimum Value",-100\n"Maximum Value",100\n"Number of Steps",9\n'

    def test_version_14_begins_in_its_own_way_and_quotes(self, tmp_path):
        text = f'"media_open; media_end","12:00; 12:01"\n{self.HEAD}"Second","Rating"\n"%%%%%%","%%%%%%"\n1,50\n2,NaN\n'
        labels = read(tmp_path, "a.csv", text)
        assert labels.until_s.tolist() == [1, 2]
        assert values(labels, "rating") == pytest.approx([0.5, NAN], nan_ok=True)

    def test_saved_again_with_semicolons_and_decimal_commas(self, tmp_path):
        text = f"Time of Rating;x\n{self.HEAD}Second;Rating\n%%%%%%;%%%%%%\n0,5;50\n1;-25,5\n"
        assert values(read(tmp_path, "a.csv", text.replace('",', '";')), "rating") == pytest.approx([0.5, -0.255])

    @pytest.mark.parametrize("titles", ["Second,,Arousal,Button", "Second,Valence,Valence,Button", "Second,Valence"])
    def test_axes_without_a_name_of_their_own_are_refused(self, tmp_path, titles):
        text = f"Time of Rating,,,\nMagnitude,1000,,\n{titles}\n%%%%%%,%%%%%%,%%%%%%,%%%%%%\n1,-7,-335,0\n2,100,200,1\n"
        with pytest.raises(CorpusError, match="line 3 must name each rating once"):
            read(tmp_path, "a.csv", text)


class TestNova:
    HEAD = (
        '<annotation><info ftype="ASCII" size="{size}"/>'
        '<scheme name="{name}" type="CONTINUOUS" sr="{sr}" min="0" max="1"/></annotation>'
    )

    def write(self, folder: Path, size: str = "2", sr: str = "25", name: str = "joy", encoding: str = "utf-8") -> Path:
        (folder / "a.annotation").write_bytes(self.HEAD.format(size=size, sr=sr, name=name).encode(encoding))
        (folder / "a.annotation~").write_text("0.5;1\n1;1\n")
        return folder / "a.annotation"

    def test_a_header_in_cp1252_is_read(self, tmp_path):
        assert read_labels(self.write(tmp_path, name="Erregung für", encoding="cp1252")).targets == ("Erregung für",)

    @pytest.mark.parametrize("size", ["²", "3", "9" * 5000, "two"])
    def test_a_size_that_is_not_the_number_of_samples_is_refused(self, tmp_path, size):
        with pytest.raises(CorpusError, match="there are 2 samples, but its header says") as error:
            read_labels(self.write(tmp_path, size=size))
        assert len(str(error.value)) < 500

    @pytest.mark.parametrize("sr", ["1e-9", "1e-6", "1e-320", "0", "inf", "2_5", ""])
    def test_a_rate_that_cant_be_is_refused(self, tmp_path, sr):
        with pytest.raises(CorpusError, match=r"sr|number"):
            read_labels(self.write(tmp_path, sr=sr))

    def test_a_document_type_is_refused_so_that_no_entity_grows(self, tmp_path):
        path = self.write(tmp_path)
        path.write_text('<!DOCTYPE a [<!ENTITY b "boom">]>' + path.read_text().replace("joy", "&b;"))
        with pytest.raises(CorpusError, match="declares a document type"):
            read_labels(path)


def elan(tiers: str, slots: str, head: str = "<HEADER/>") -> str:
    """An EAF document; slots are ID=MILLISECONDS, or ID alone for one without a time."""
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{s.split("=")[0]}"' + (f' TIME_VALUE="{s.split("=")[1]}"/>' if "=" in s else "/>")
        for s in slots.split()
    )
    return f"<ANNOTATION_DOCUMENT>{head}<TIME_ORDER>{order}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"


def aligned(tier: str, *rows: str) -> str:
    """A tier of annotations "ID SLOT SLOT VALUE"."""
    cells = [row.split(" ", 3) for row in rows]
    return (
        f'<TIER TIER_ID="{tier}">'
        + "".join(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{a}" TIME_SLOT_REF1="{s}" TIME_SLOT_REF2="{e}">'
            f"<ANNOTATION_VALUE>{v}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
            for a, s, e, v in cells
        )
        + "</TIER>"
    )


def referring(tier: str, *rows: str) -> str:
    """A tier of annotations "ID PARENT PREVIOUS VALUE"; - is no previous one."""
    cells = [row.split(" ", 3) for row in rows]
    return (
        f'<TIER TIER_ID="{tier}" PARENT_REF="x">'
        + "".join(
            f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{a}" ANNOTATION_REF="{r}"'
            + ("" if p == "-" else f' PREVIOUS_ANNOTATION="{p}"')
            + f"><ANNOTATION_VALUE>{v}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
            for a, r, p, v in cells
        )
        + "</TIER>"
    )


class TestElan:
    SLOTS = "t1=0 t2=1000 t3=1000 t4=4000"
    WORDS = aligned("words", "a1 t1 t2 ja", "a2 t3 t4 gern")

    def test_annotations_that_refer_to_others_last_as_long_or_share_their_time(self, tmp_path):
        tiers = (
            referring("arousal", "c1 b1 - 0.5", "c2 b2 - 0,25")  # before its own parent, which refers to words
            + referring("valence", "b2 a2 - -1", "b1 a1 - 1")
            + referring("dominance", "d3 a2 d2 0.3", "d1 a2 - 0.1", "d2 a2 d1 0.2")
            + self.WORDS
        )
        labels = read(tmp_path, "a.eaf", elan(tiers, self.SLOTS))
        assert labels.targets == ("arousal", "valence", "dominance")
        assert labels.time_s.tolist() == [0, 1, 2, 3]
        assert labels.until_s.tolist() == [1, 2, 3, 4]
        assert values(labels, "arousal") == pytest.approx([0.5, 0.25, 0.25, 0.25])
        assert values(labels, "valence") == [1, -1, -1, -1]
        assert values(labels, "dominance") == pytest.approx([NAN, 0.1, 0.2, 0.3], nan_ok=True)
        assert labels.notes == ("left out, because they hold no numbers: tiers words",)

    def test_slots_without_a_time_share_the_time_between_those_that_have_one(self, tmp_path):
        parts = aligned("joy", "b1 u1 u2 0.1", "b2 u2 u3 0.2", "b3 u3 u4 0.3", "b4 u4 u5 0.4")
        labels = read(tmp_path, "a.eaf", elan(parts, "u1=0 u2 u3=4000 u4 u5=5000"))
        assert labels.time_s.tolist() == [0, 2, 4, 4.5]

    def test_a_number_without_any_time_is_refused(self, tmp_path):
        with pytest.raises(CorpusError, match=r"tier 'joy': '0\.2' has no time"):
            read(tmp_path, "a.eaf", elan(aligned("joy", "b1 t1 t2 0.1", "b2 u1 u2 0.2"), f"{self.SLOTS} u1 u2"))

    def test_annotations_that_refer_in_a_circle_have_no_time(self, tmp_path):
        with pytest.raises(CorpusError, match="has no time"):
            read(tmp_path, "a.eaf", elan(referring("joy", "b1 b2 - 0.1", "b2 b1 - 0.2"), self.SLOTS))

    def test_times_count_from_the_origin_of_the_first_media_file(self, tmp_path):
        head = '<HEADER><MEDIA_DESCRIPTOR TIME_ORIGIN="10000"/><MEDIA_DESCRIPTOR TIME_ORIGIN="2000"/></HEADER>'
        labels = read(tmp_path, "a.eaf", elan(aligned("joy", "b1 t1 t2 0.1"), self.SLOTS, head))
        assert (labels.time_s.tolist(), labels.until_s.tolist()) == ([10], [11])

    @pytest.mark.parametrize(
        ("tiers", "slots", "said"),
        [
            (aligned("joy", "b1 t2 t1 0.1"), SLOTS, "at 1.00 s ends before it begins"),
            (aligned("joy", "b1 t1 t4 0.1", "b2 t2 t4 0.2"), SLOTS, "begins before the one before it ends"),
            (aligned("joy", "b1 t1 t9 0.1"), f"{SLOTS} t9=99999999999", "ends later than 604800 s"),
            (aligned("joy", "b1 t1 t2 0.1"), "t1=soon t2=1", "TIME_VALUE is 'soon', not a number"),
            (2 * aligned("joy", "b1 t1 t2 0.1"), SLOTS, "tiers 1 and 2 are both called 'joy'"),
        ],
    )
    def test_times_and_names_that_cant_be_are_refused(self, tmp_path, tiers, slots, said):
        with pytest.raises(CorpusError, match=said):
            read(tmp_path, "a.eaf", elan(tiers, slots))

    def test_a_second_reader_finds_the_same_annotations(self, tmp_path):
        from pympi import Eaf

        written = LabelTrack(np.arange(9) / 4, np.linspace(-1, 1, 9, dtype=np.float32)[:, None], ("joy",))
        (path,) = write_labels(written, tmp_path / "a.eaf", "elan")
        rows = np.array(Eaf(path).get_annotation_data_for_tier("joy"), np.float64) / [1000, 1000, 1]
        labels = read_labels(path)
        assert rows == pytest.approx(np.stack([labels.time_s, labels.until_s, labels.values[:, 0]], 1), abs=1e-6)


PRAAT = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "valence"
        xmin = 0
        xmax = 3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "0,1"
        intervals [2]:
            xmin = 1.5
            xmax = 3
            text = ""
    item [2]:
        class = "TextTier"
        name = "joy"
        xmin = 0
        xmax = 3
        points: size = 2
        points [1]:
            number = 0.5
            mark = "0.3"
        points [2]:
            number = 2
            mark = "-0.4"
    item [3]:
        class = "IntervalTier"
        name = "Wörter ""x"""
        xmin = 0
        xmax = 3
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 3
            text = "5 is ! no comment"
'''
SHORT = '''"ooTextFile"
"TextGrid"
0 3 ! time domain
<exists>
3 tiers
"IntervalTier" "valence" ! a "name" 7
0 3
2 0 1.5 "0,1" 1.5 3 ""
"TextTier" "joy" 0 3
2 0.5 "0.3" 2 "-0.4"
"IntervalTier" "Wörter ""x""" 0 3 1 0 3 "5 is ! no comment"
'''
CHRONOLOGICAL = '''"Praat chronological TextGrid text file"
0 3   ! Time domain.
3   ! Number of tiers.
"IntervalTier" "valence" 0 3
"TextTier" "joy" 0 3
"IntervalTier" "Wörter ""x""" 0 3

1 0 1.5
"0,1"
3 0 3
"5 is ! no comment"
2 0.5
"0.3"
1 1.5 3
""
2 2
"-0.4"
'''


def binary() -> bytes:
    def text(value: str) -> bytes:
        wide = any(ord(char) > 126 for char in value)
        data = value.encode("utf-16-be" if wide else "ascii")
        return (b"\xff\xff" if wide else b"") + struct.pack(">h", len(value)) + data

    def tier(kind: str, name: str, rows: list[tuple]) -> bytes:
        cells = b"".join(struct.pack(f">{len(row) - 1}d", *row[:-1]) + text(row[-1]) for row in rows)
        return bytes([len(kind)]) + kind.encode() + text(name) + struct.pack(">ddi", 0, 3, len(rows)) + cells

    tiers = [
        tier("IntervalTier", "valence", [(0, 1.5, "0,1"), (1.5, 3, "")]),
        tier("TextTier", "joy", [(0.5, "0.3"), (2, "-0.4")]),
        tier("IntervalTier", 'Wörter "x"', [(0, 3, "5 is ! no comment")]),
    ]
    return b"ooBinaryFile\x08TextGrid" + struct.pack(">dd?i", 0, 3, True, 3) + b"".join(tiers)


class TestPraat:
    @pytest.mark.parametrize(
        "data",
        [
            PRAAT.encode(),
            f"\n\n{PRAAT}".encode(),
            PRAAT.encode("latin-1"),
            PRAAT.encode("utf-16"),
            PRAAT.encode("utf-16-be"),
            PRAAT.replace("\n", "\r\n").encode("utf-8-sig"),
            SHORT.encode(),
            SHORT.replace("\n", "\r").encode(),
            CHRONOLOGICAL.encode(),
            binary(),
        ],
        ids=["long", "blank", "latin", "utf-16", "no mark", "windows", "comments", "mac", "chronological", "binary"],
    )
    def test_every_way_to_write_a_textgrid_says_the_same(self, tmp_path, data):
        labels = read(tmp_path, "a.TextGrid", data)
        assert labels.targets == ("valence", "joy")
        assert labels.time_s.tolist() == [0, 0.5, 1.5, 2]
        assert labels.until_s.tolist() == [0.5, 1.5, 2, 3]
        assert values(labels, "valence") == pytest.approx([0.1, 0.1, NAN, NAN], nan_ok=True)
        assert values(labels, "joy") == pytest.approx([NAN, 0.3, 0.3, -0.4], nan_ok=True)
        assert labels.notes == ('left out, because they hold no numbers: tiers Wörter "x"',)

    def test_a_second_reader_finds_the_same_tiers(self, tmp_path):
        import pympi

        path = tmp_path / "a.TextGrid"
        path.write_text(PRAAT.replace('Wörter ""x""', "words"), "utf-8")
        theirs = pympi.TextGrid(str(path))
        for tier, other in zip(tiers_of(path.read_bytes()), theirs.get_tiers(), strict=True):
            assert tier.name == other.name
            rows = [(start, text) for start, *_, text in other.get_intervals(sort=True)]
            assert [(start, text) for start, _, text in tier.annotations] == rows

    def test_a_second_reader_finds_what_is_written_and_unknown_labels_empty(self, tmp_path):
        import pympi

        column = np.array([0.5, NAN, -1, 0.25], np.float32)[:, None]
        (path,) = write_labels(LabelTrack(np.arange(4) / 3, column, ('joy "x"',)), tmp_path / "a.TextGrid", "textgrid")
        (tier,) = pympi.TextGrid(str(path)).get_tiers()
        rows = list(tier.get_all_intervals())
        assert [text for *_, text in rows] == ["0.500000", "", "-1.000000", "0.250000"]
        assert [end for _, end, _ in rows] == pytest.approx(np.arange(1, 5) / 3, abs=1e-6)
        assert read_labels(path).targets == ('joy "x"',)

    def test_an_empty_tier_is_named_and_hides_nothing(self, tmp_path):
        text = PRAAT.replace("size = 3", "size = 4") + 'class = "TextTier" name = "notes" 0 3 size = 0\n'
        labels = read(tmp_path, "a.TextGrid", text)
        assert labels.targets == ("valence", "joy")
        assert "notes" in labels.notes[0]

    def test_two_tiers_of_one_name_are_refused_with_both(self, tmp_path):
        with pytest.raises(CorpusError, match="tiers 1 and 2 are both called 'joy'"):
            read(tmp_path, "a.TextGrid", PRAAT.replace("valence", "joy"))

    @pytest.mark.parametrize("cut", [0, 30, 60, 200, 249])
    def test_a_file_that_breaks_off_says_so(self, tmp_path, cut):
        for data in (PRAAT.encode(), binary()[:250]):
            with pytest.raises(CorpusError, match="can't be read as a TextGrid"):
                read(tmp_path, "a.TextGrid", data[:cut])

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("ooTextFile", "ooSoundFile", "it doesn't begin like a TextGrid"),
            ('"IntervalTier"', '"SoundTier"', "there is no kind of tier 'SoundTier'"),
            ("size = 3", "size = 3.5", "a count can't be 3.5"),
            ("size = 3", "size = -1", "a count can't be -1"),
        ],
    )
    def test_a_file_of_another_kind_is_refused_with_what_is_wrong(self, tmp_path, old, new, said):
        assert old in PRAAT
        with pytest.raises(CorpusError) as error:
            read(tmp_path, "a.TextGrid", PRAAT.replace(old, new))
        assert said in error.value.what

    def test_a_binary_file_of_another_kind_is_refused(self, tmp_path):
        data = binary()
        assert b"TextGrid" in data
        with pytest.raises(CorpusError, match="it doesn't hold a TextGrid"):
            read(tmp_path, "a.TextGrid", data.replace(b"TextGrid", b"FormGrid", 1))


@pytest.mark.parametrize("chosen", LABEL_FORMATS, ids=lambda f: f.name)
def test_an_error_quotes_little_of_a_file(tmp_path, chosen):
    labels = LabelTrack(np.arange(4) / 2, np.full((4, 1), 0.5, np.float32), ("valence",))
    (path,) = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    for file in sorted(tmp_path.iterdir()):
        for found in (b"0.500000", b"valence", b"timestamp", b"CONTINUOUS"):
            whole = file.read_bytes()
            file.write_bytes(whole.replace(found, b"x" * 5000, 1))
            said = ""
            try:
                read_labels(path, frames=lambda: labels.time_s)
            except CorpusError as error:
                said = str(error)
            assert said.count("x") <= LISTED
            file.write_bytes(whole)
