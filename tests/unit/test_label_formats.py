"""Label files as other programs write them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import CorpusError
from avgate.core.timeline import Grid
from avgate.core.types import LabelTrack
from avgate.labels.formats import label_format, read_labels, write_labels
from avgate.labels.tracks import intervals, labels_on_grid, own_rate, rate_of, values_at

NOVA = """<?xml version="1.0" ?>
<annotation ssi-v="3">
    <info ftype="{ftype}" size="{size}" />
    <meta annotator="gold" role="expert" />
    <scheme name="engagement" type="CONTINUOUS" sr="25" min="0" max="1" mincolor="#FFFFFFFF" maxcolor="#FF4F81BD" />
</annotation>
"""

ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-03-05T10:11:12+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///interview.mp4" MIME_TYPE="video/mp4"/>
        <PROPERTY NAME="lastUsedAnnotationId">4</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/>
        <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1500"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4250"/>
        <TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="2000"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="valence">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>0.25</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
                <ANNOTATION_VALUE>-0.5</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="words">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts6">
                <ANNOTATION_VALUE>ja gern</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""

PRAAT_LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 3.5 
tiers? <exists> 
size = 2 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "arousal" 
        xmin = 0 
        xmax = 3.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 1.25 
            text = "0.5" 
        intervals [2]:
            xmin = 1.25 
            xmax = 2 
            text = "" 
        intervals [3]:
            xmin = 2 
            xmax = 3.5 
            text = "-1" 
    item [2]:
        class = "TextTier" 
        name = "bell" 
        xmin = 0 
        xmax = 3.5 
        points: size = 1 
        points [1]:
            number = 0.7 
            mark = "ding" 
"""

PRAAT_SHORT_POINTS = """File type = "ooTextFile"
Object class = "TextGrid"

0
3
<exists>
1
"TextTier"
"valence"
0
3
2
0.5
"0.25"
2
"-0.25"
"""

CARMA = """Time of Rating,08-Jun-2017 10:11:12
Multimedia File,2F10_08.avi
Lower Label,very negative
Upper Label,very positive
Minimum Value,-100
Maximum Value,100
Number of Steps,9
Second,Rating
%%%%%%,%%%%%%
0.25,7.5
0.5,NaN
0.75,-50
1,100
"""

CARMA_FIRST = """\
Filename,Lower Label,Upper Label,Minimum Value,Midpoint Value,Maximum Value,Number of Steps,Second,Rating
C:\\clips\\a.avi,very negative,very positive,-100,0,100,9,1,7.5
C:\\clips\\a.avi,very negative,very positive,-100,0,100,9,2,-50
"""

DARMA = """Time of Rating,08-Jun-2017 10:11:12,,
Multimedia File,dyad 7.mp4,,
Magnitude,1000,,
Second,Affiliation,Dominance,Button
%%%%%%,%%%%%%,%%%%%%,%%%%%%
1,250,-500,0
2,1000,0,1
"""


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


class TestNova:
    def test_text(self, tmp_path):
        path = written(tmp_path, "expert.annotation", NOVA.format(ftype="ASCII", size=3))
        written(tmp_path, "expert.annotation~", "0.5;1\r\n0.75;0.6\r\nNaN;0\r\n")
        labels = read_labels(path)
        assert labels.targets == ("engagement",)
        assert labels.time_s == pytest.approx([0, 0.04, 0.08])
        assert labels.until_s == pytest.approx([0.04, 0.08, 0.12])
        assert labels.values[:, 0] == pytest.approx([0, 0.5, np.nan], nan_ok=True)

    def test_binary(self, tmp_path):
        path = written(tmp_path, "expert.annotation", NOVA.format(ftype="BINARY", size=2))
        (tmp_path / "expert.annotation~").write_bytes(struct.pack("<4f", 1.0, 1.0, 0.25, 0.3))
        assert read_labels(path).values[:, 0] == pytest.approx([1, -0.5])

    def test_data_that_disagree_with_their_header_are_refused(self, tmp_path):
        path = written(tmp_path, "expert.annotation", NOVA.format(ftype="ASCII", size=3))
        with pytest.raises(CorpusError, match=r"expert\.annotation~: the data file beside the header is missing"):
            read_labels(path)
        written(tmp_path, "expert.annotation~", "0.5;1\n")
        with pytest.raises(CorpusError, match="1 samples, but its header says 3"):
            read_labels(path)

    def test_classes_are_no_values(self, tmp_path):
        text = NOVA.format(ftype="ASCII", size=1).replace("CONTINUOUS", "DISCRETE")
        with pytest.raises(CorpusError, match="DISCRETE, not CONTINUOUS"):
            read_labels(written(tmp_path, "laughter.annotation", text))

    def test_labels_off_its_clock_belong_to_the_samples_that_they_fall_into(self, tmp_path):
        values = np.array([[0.0], [0.2], [np.nan], [0.6], [0.8]], np.float32)
        labels = LabelTrack(np.arange(5) / 10 + 0.05, values, ("valence",))
        (path,) = write_labels(labels, tmp_path / "a.annotation", "nova")
        found = read_labels(path)
        assert found.time_s == pytest.approx(np.arange(5) / 10)
        assert found.values[:, 0] == pytest.approx([0, 0.2, np.nan, 0.6, 0.8], abs=1e-5, nan_ok=True)


class TestElan:
    def test_tiers_of_numbers_are_targets_and_others_are_passed_over(self, tmp_path):
        labels = read_labels(written(tmp_path, "interview.eaf", ELAN))
        assert labels.targets == ("valence",)
        assert labels.time_s.tolist() == [0.5, 1.5]
        assert labels.until_s.tolist() == [1.5, 4.25]
        assert labels.values[:, 0].tolist() == [0.25, -0.5]

    def test_without_a_tier_of_numbers_the_tiers_are_named(self, tmp_path):
        text = ELAN.replace(">0.25<", ">good<")
        with pytest.raises(CorpusError, match="no tier holds numbers; tiers: valence, words"):
            read_labels(written(tmp_path, "interview.eaf", text))

    def test_a_word_among_a_tiers_numbers_is_told_with_its_time(self, tmp_path):
        slot = '<TIME_SLOT TIME_SLOT_ID="ts7" TIME_VALUE="5000"/></TIME_ORDER>'
        third = ELAN[ELAN.index("<ANNOTATION>") : ELAN.index("</ANNOTATION>") + len("</ANNOTATION>")]
        third = third.replace('"a1"', '"a9"').replace('"ts2"', '"ts7"').replace('"ts1"', '"ts4"')
        text = ELAN.replace(">0.25<", ">o.25<").replace("</TIER>", f"{third}</TIER>", 1)
        text = text.replace("</TIME_ORDER>", slot)
        with pytest.raises(CorpusError, match=r"tier 'valence' holds numbers, but at 0.50 s 'o.25'"):
            read_labels(written(tmp_path, "interview.eaf", text))

    def test_annotations_of_a_subdivision_need_not_have_times(self, tmp_path):
        slots = re.findall(r'<TIME_SLOT TIME_SLOT_ID="(\w+)" TIME_VALUE="\d+"/>', ELAN)
        untimed = re.sub(rf'(TIME_SLOT_ID="{slots[-1]}") TIME_VALUE="\d+"', r"\1", ELAN)
        assert untimed != ELAN
        labels = read_labels(written(tmp_path, "interview.eaf", untimed))
        assert labels.targets == ("valence",)

    def test_stretches_of_several_tiers_are_cut_where_any_begins_or_ends(self, tmp_path):
        text = ELAN.replace(">ja gern<", ">0.75<").replace('"words"', '"arousal"')
        labels = read_labels(written(tmp_path, "interview.eaf", text))
        assert labels.targets == ("valence", "arousal")
        assert labels.time_s.tolist() == [0.5, 1.0, 1.5, 2.0]
        assert labels.until_s.tolist() == [1.0, 1.5, 2.0, 4.25]
        nan = np.nan
        expected = [[0.25, nan], [0.25, 0.75], [-0.5, 0.75], [-0.5, nan]]
        np.testing.assert_allclose(labels.values, expected)


class TestTextGrid:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_long_text_in_both_of_praats_encodings(self, tmp_path, encoding):
        labels = read_labels(written(tmp_path, "a.TextGrid", PRAAT_LONG, encoding))
        assert labels.targets == ("arousal",)
        assert labels.time_s.tolist() == [0, 2]
        assert labels.until_s.tolist() == [1.25, 3.5]
        assert labels.values[:, 0].tolist() == [0.5, -1]

    def test_points_last_until_the_next_one(self, tmp_path):
        labels = read_labels(written(tmp_path, "a.textgrid", PRAAT_SHORT_POINTS))
        assert labels.time_s.tolist() == [0.5, 2]
        assert labels.until_s.tolist() == [2, 3]
        assert labels.values[:, 0].tolist() == [0.25, -0.25]


class TestCarma:
    def test_bins_end_at_their_second(self, tmp_path):
        labels = read_labels(written(tmp_path, "a.csv", CARMA))
        assert labels.targets == ("rating",)
        assert labels.time_s == pytest.approx([0, 0.25, 0.5, 0.75])
        assert labels.until_s == pytest.approx([0.25, 0.5, 0.75, 1])
        assert labels.values[:, 0] == pytest.approx([0.075, np.nan, -0.5, 1], nan_ok=True)

    def test_first_versions(self, tmp_path):
        labels = read_labels(written(tmp_path, "a.csv", CARMA_FIRST), target="valence")
        assert labels.targets == ("valence",)
        assert labels.until_s.tolist() == [1, 2]
        assert labels.values[:, 0] == pytest.approx([0.075, -0.5])

    def test_both_axes_of_darma(self, tmp_path):
        labels = read_labels(written(tmp_path, "a.csv", DARMA))
        assert labels.targets == ("affiliation", "dominance")
        assert labels.time_s.tolist() == [0, 1]
        np.testing.assert_allclose(labels.values, [[0.25, -0.5], [1, 0]])


class TestMuse:
    def test_milliseconds_and_the_folder_as_target(self, tmp_path):
        text = "timestamp,value,segment_id\n0,0.1337,1\n250,-0.2,1\n9000,0.5,2\n"
        labels = read_labels(written(tmp_path, "label_segments/arousal/17.csv", text))
        assert labels.targets == ("arousal",)
        assert labels.time_s.tolist() == [0, 0.25, 9]
        assert labels.values[:, 0] == pytest.approx([0.1337, -0.2, 0.5])


class TestAffWild2:
    def test_frames_are_the_clock_and_a_frame_invalid_in_one_target_is_invalid_in_both(self, tmp_path):
        text = "valence,arousal\n0.1,0.2\n-5,0.3\n-5,-5\n0.4,-0.5\n"
        labels = read_labels(written(tmp_path, "video1.txt", text), frames=lambda: np.array([0.0, 0.04, 0.1, 0.14]))
        assert labels.targets == ("valence", "arousal")
        assert labels.time_s.tolist() == [0, 0.04, 0.1, 0.14]
        nan = np.nan
        np.testing.assert_allclose(labels.values, [[0.1, 0.2], [nan, nan], [nan, nan], [0.4, -0.5]], rtol=1e-6)

    @pytest.mark.parametrize("frames", [2, 5])
    def test_of_labels_and_frames_the_shorter_counts(self, tmp_path, frames):
        path = written(tmp_path, "video1.txt", "valence,arousal\n0,0\n0,0\n0,0\n")
        assert len(read_labels(path, frames=lambda: np.arange(float(frames))).time_s) == min(3, frames)

    def test_a_gap_between_rows_or_a_nameless_target_would_move_labels_and_is_refused(self, tmp_path):
        path = written(tmp_path, "video1.txt", "valence,arousal\n0,0\n\n0,0\n\n")
        with pytest.raises(CorpusError, match="line 3 has 0 numbers"):
            read_labels(path, frames=lambda: np.arange(3.0))
        path = written(tmp_path, "video2.txt", "valence,arousal,\n0,0,\n")
        with pytest.raises(CorpusError, match="name each target once"):
            read_labels(path, frames=lambda: np.arange(1.0))

    def test_a_row_with_a_number_too_few_is_named(self, tmp_path):
        path = written(tmp_path, "video1.txt", "valence,arousal\n0,0\n0\n")
        with pytest.raises(CorpusError, match="line 3 has 1 numbers, but there are 2 targets"):
            read_labels(path, frames=lambda: np.arange(2.0))


class TestTable:
    @pytest.mark.parametrize(
        "text",
        [
            "time_s,valence,arousal\n0.5,0.1,-0.2\n1,,0.4\n",
            "\ufeffTime_ms;valence;arousal\n500;0.1;-0.2\n1000;NaN;0.4\n",
            "arousal\tvalence\tseconds\n-0.2\t0.1\t0.5\n0.4\tnan\t1\n",
        ],
        ids=["seconds", "milliseconds", "tabs"],
    )
    def test_seconds_or_milliseconds_by_the_header_and_any_separator(self, tmp_path, text):
        labels = read_labels(written(tmp_path, "a.csv", text))
        assert labels.time_s.tolist() == [0.5, 1]
        assert labels.values[:, labels.targets.index("valence")] == pytest.approx([0.1, np.nan], nan_ok=True)
        assert labels.values[:, labels.targets.index("arousal")] == pytest.approx([-0.2, 0.4])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("valence,arousal\n0,0\n", "one column of times, but there is none among: valence, arousal"),
            ("time_s,time_ms,valence\n0,0,0\n", "there are several"),
            ("time_s\n0\n", "a named column of numbers for each target"),
            ("time_s,valence\n0,happy\n", "a named column of numbers for each target"),
            ("time_s,valence\n0,0.5\n1,happy\n", "line 3, column valence: 'happy' isn't a number"),
            ("time_s,valence,valence\n0,0.5,0.6\n", "there twice: valence"),
            ("time_s,until_s,valence\n0,2,0\n1,3,0\n", "line 2 ends after the next one begins"),
            ("time_s,valence\n1700000000,0\n1700000001,0\n", "times reach from 1.7e\\+09 to 1.7e\\+09 s"),
            ("time_s,valence\n0,0\n0,0\n", "line 3 has no time or isn't later"),
            ("time_s,valence\n0,0\n1e-320,0\n", "line 3 has no time or isn't later"),
            ("time_s,until_s,valence\n0,1e-320,0\n", "line 2 must end later than it begins"),
            ("time_s,valence\n0,0\n1\n", "line 3 has 1 cells, but there are 2 columns"),
            ("time_s,until_s,valence\n0,1,0\n1,1,0\n", "line 3 must end later than it begins"),
            ("time_s,valence\n,0\n", "line 2 has no time or isn't later"),
            ("time_s,valence\ninf,0\n", "line 2, column time_s: 'inf' isn't a number"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_row(self, tmp_path, text, said):
        with pytest.raises(CorpusError, match=said):
            read_labels(written(tmp_path, "a.csv", text))


def test_columns_of_words_are_passed_over_and_only_what_is_asked_for_must_be_in_range(tmp_path):
    text = "time_s,valence,age,weights\n0,0.5,17,demonstration\n1,,18,demonstration\n"
    path = written(tmp_path, "interview.csv", text)
    labels = read_labels(path, targets=["valence"])
    assert labels.targets == ("valence",)
    np.testing.assert_array_equal(labels.values[:, 0], np.float32([0.5, np.nan]))
    with pytest.raises(CorpusError, match=r"age at 0\.00 s: 17 is not in"):
        read_labels(path)


@pytest.mark.parametrize(("rate", "decimals"), [(30.0, 3), (30.0, 2), (25.0, 2), (29.97, 3), (7.0, 3), (100.0, 3)])
def test_times_that_were_rounded_leave_no_hole_and_move_no_label(rate, decimals):
    values = np.random.default_rng(0).uniform(-1, 1, (300, 1)).astype(np.float32)
    labels = LabelTrack(np.round(np.arange(300) / rate, decimals), values, ("valence",))
    assert own_rate(labels) == pytest.approx(rate, rel=1e-3)
    np.testing.assert_array_equal(labels_on_grid(labels, Grid(rate), 300), values)


def test_times_that_are_far_from_regular_have_a_rate_all_the_same():
    assert rate_of(np.array([0.0, 1.0, 11.0])) == pytest.approx(1 / 5.5)


def test_stretches_of_one_length_have_a_rate_and_others_none():
    start = np.arange(50) / 30
    values = np.zeros((50, 1), np.float32)
    assert own_rate(LabelTrack(np.round(start, 3), values, ("v",), np.round(start + 1 / 30, 3))) == 30
    assert own_rate(LabelTrack(start, values, ("v",), start + np.linspace(0.002, 0.03, 50))) is None


class TestMomentsOnTheGrid:
    """Labels of single times hold until the next one."""

    def test_labels_slower_than_the_grid_hold_until_the_next_one(self):
        labels = LabelTrack(np.arange(3.0), np.array([[0.1], [0.2], [0.3]], np.float32), ("valence",))
        steps = labels_on_grid(labels, Grid(10.0), 35)[:, 0]
        assert steps[:30] == pytest.approx(np.repeat([0.1, 0.2, 0.3], 10))
        assert np.isnan(steps[30:]).all()
        assert values_at(labels, np.array([-0.1, 0.0, 0.6, 1.0, 2.9, 3.1]))[:, 0] == pytest.approx(
            [np.nan, 0.1, 0.1, 0.2, 0.3, np.nan], nan_ok=True
        )

    def test_samples_of_nova_hold_in_their_interval(self, tmp_path):
        path = written(tmp_path, "a.annotation", NOVA.format(ftype="ASCII", size=3).replace('sr="25"', 'sr="2"'))
        written(tmp_path, "a.annotation~", "0.5;1\n1;1\nNaN;0\n")
        steps = labels_on_grid(read_labels(path), Grid(10.0), 17)[:, 0]
        assert steps == pytest.approx([0] * 5 + [1] * 5 + [np.nan] * 7, nan_ok=True)

    def test_a_pause_is_unknown_after_the_usual_distance_and_so_is_an_unknown_label(self):
        values = np.array([[0.1], [0.2], [np.nan], [0.4], [0.5]], np.float32)
        labels = LabelTrack(np.array([0, 0.5, 1, 1.5, 4]), values, ("valence",))
        steps = labels_on_grid(labels, Grid(4.0), 20)[:, 0]
        nan = np.nan
        assert steps == pytest.approx(
            [0.1, 0.1, 0.2, 0.2, nan, nan, 0.4, 0.4, *[nan] * 8, 0.5, 0.5, nan, nan], nan_ok=True
        )
        assert intervals(labels)[1].tolist() == [0.5, 1, 1.5, 2, 4.5]

    @pytest.mark.parametrize("decimals", [2, 3])
    def test_rounded_times_find_the_label_that_they_belong_to(self, decimals):
        values = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
        labels = LabelTrack(np.arange(60) / 25, values, ("valence",))
        assert (values_at(labels, np.round(np.arange(60) / 25, decimals)) == values).all()


class TestStretchesOnTheGrid:
    def test_a_stretch_labels_the_steps_whose_middle_it_covers_and_no_others(self):
        labels = LabelTrack(
            np.array([0.1, 0.5]), np.array([[0.5], [-0.5]], np.float32), ("valence",), np.array([0.3, 1.0])
        )
        steps = labels_on_grid(labels, Grid(10.0), 12)[:, 0]
        nan = np.nan
        assert steps == pytest.approx([nan, 0.5, 0.5, nan, nan, *[-0.5] * 5, nan, nan], nan_ok=True)

    def test_a_stretch_shorter_than_a_step_labels_the_step_it_begins_in(self):
        labels = LabelTrack(
            np.array([0.21, 0.46]), np.array([[0.5], [1.0]], np.float32), ("valence",), np.array([0.22, 0.48])
        )
        steps = labels_on_grid(labels, Grid(10.0), 5)[:, 0]
        nan = np.nan
        assert steps == pytest.approx([nan, nan, 0.5, nan, 1.0], nan_ok=True)

    def test_several_stretches_in_a_step_are_averaged(self):
        starts = np.arange(4) * 0.25
        labels = LabelTrack(starts, np.array([[0], [1], [0], [1]], np.float32), ("valence",), starts + 0.25)
        assert labels_on_grid(labels, Grid(1.0), 1)[0, 0] == 0.5

    def test_a_label_of_a_whole_clip_labels_every_step_of_it_however_long(self):
        labels = LabelTrack(np.zeros(1), np.array([[0.5]], np.float32), ("valence",), np.full(1, np.inf))
        for n in (0, 1, 7):
            assert labels_on_grid(labels, Grid(10.0), n)[:, 0].tolist() == [0.5] * n
        assert own_rate(labels) is None


def test_ends_of_intervals_in_a_table_are_no_targets(tmp_path):
    (tmp_path / "trace.csv").write_text("time_s,valence,valence_low,valence_high,mood_low\n0,0.1,-0.2,0.3,0.5\n")
    labels = read_labels(tmp_path / "trace.csv")
    assert labels.targets == ("valence", "mood_low"), "mood_low is the end of nothing"
    assert labels.values[0] == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize("chosen", ["elan", "textgrid", "csv", "nova", "carma"])
def test_control_characters_in_a_targets_name_are_written_as_escapes(tmp_path, chosen):
    labels = LabelTrack(np.arange(3.0), np.zeros((3, 1), np.float32), ("a\x01b\uffff",))
    path = tmp_path / f"a{label_format(chosen).suffix}"
    write_labels(labels, path, chosen)
    again = read_labels(path)
    assert len(again.time_s) == 3
    assert again.targets == ("a\\x01b\\uffff",)
