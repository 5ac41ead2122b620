"""A corpus of one's own, and what `avgate inspect` says of it."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from avgate.apps.inspect import summary
from avgate.cli import main
from avgate.core.errors import CorpusError
from avgate.core.timeline import Grid
from avgate.corpora import open_corpus
from avgate.corpora.manifest import Manifest
from avgate.labels.categories import place
from avgate.labels.tracks import labels_on_grid
from tests.clips import greys, tone
from tests.own_corpus import edit, write_own_corpus
from tests.recordings import write_image, write_images, write_sound


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_own_corpus(tmp_path_factory.mktemp("own")).parent


@pytest.fixture
def manifest(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "own")) / "manifest.csv"


def problems(manifest: Path) -> str:
    with pytest.raises(CorpusError) as error:
        Manifest(manifest)
    return str(error.value)


def test_labels_of_all_formats_say_the_same_at_the_same_times(manifest):
    corpus = Manifest(manifest)
    assert corpus.targets == ("valence", "arousal")
    for i, clip in enumerate(corpus.clips()):
        labels = corpus.labels(clip)
        known = ~np.isnan(labels.values).any(1)
        expected = np.stack([np.sin(labels.time_s + i), np.cos(labels.time_s + i)], 1)
        assert 49 <= known.sum() <= 50
        np.testing.assert_allclose(labels.values[known], expected[known], atol=1e-3)


def test_the_folder_and_the_file_open_the_same_corpus(manifest):
    assert open_corpus("manifest", manifest.parent).clips() == open_corpus("manifest", manifest).clips()


def test_a_clip_without_labels_is_listed_but_has_none(manifest):
    edit(manifest, lambda rows: rows[1].update(labels=""))
    corpus = Manifest(manifest)
    assert corpus.clips()[1].labels is None
    with pytest.raises(CorpusError, match="'clip1' has no labels"):
        corpus.labels(corpus.clips()[1])


def test_a_list_without_any_labels_is_inspected_and_extracted_and_training_refuses_it(manifest, capsys, monkeypatch):
    edit(manifest, lambda rows: [row.update(labels="") for row in rows])
    corpus = ["--corpus", "manifest", "--data", str(manifest)]
    main(["inspect", *corpus])
    said = capsys.readouterr().out
    assert "manifest: 4 clips" in said
    assert "clip0: it has no labels" in said
    monkeypatch.setattr("avgate.features.extract.extract", lambda clips, *_, **__: len(clips))
    main(["extract", *corpus])
    said = capsys.readouterr().err
    assert "4 clips extracted, 0 were there" in said
    assert "avgate train" not in said
    with pytest.raises(SystemExit) as ended:
        main(["train", *corpus, "--out", str(manifest.parent / "run")])
    assert ended.value.code == CorpusError.exit_code
    assert "no clip has labels" in capsys.readouterr().err
    assert not (manifest.parent / "run").exists()


def test_limits_and_names_of_targets_come_from_the_manifest(manifest):
    for target in ("joy", "stress"):
        (manifest.parent / f"{target}.csv").write_text("time_ms,rating\n0,1\n500,4\n1000,7\n")

    def change(rows):
        rows[:] = [{**row, "labels": "joy=joy.csv; stress=stress.csv", "limits": "1 7"} for row in rows]

    edit(manifest, change)
    corpus = Manifest(manifest)
    assert corpus.targets == ("joy", "stress")
    labels = corpus.labels(corpus.clips()[0])
    assert labels.time_s.tolist() == [0, 0.5, 1]
    assert labels.values.tolist() == [[-1, -1], [0, 0], [1, 1]]


def test_files_of_a_clip_with_clocks_of_their_own_are_brought_to_the_first_ones(manifest):
    (manifest.parent / "joy.csv").write_text("time_s,joy\n0,0\n0.5,0.5\n1,1\n")
    (manifest.parent / "stress.csv").write_text("time_s,stress\n0,0\n0.25,0.1\n0.75,0.3\n")
    edit(manifest, lambda rows: rows.__setitem__(slice(None), [{**rows[0], "labels": "joy.csv;stress.csv"}]))
    corpus = Manifest(manifest)
    labels = corpus.labels(corpus.clips()[0])
    np.testing.assert_allclose(labels.values, [[0, 0], [0.5, 0.1], [1, 0.3]], atol=1e-6)


def test_everything_that_is_wrong_is_told_at_once_with_file_and_line(manifest):
    (manifest.parent / "labels" / "clip0.csv").write_text("time_s,valence,arousal\n0,0,0\n0.5,much,0\n")

    def change(rows):
        rows[1].update(clip="clip0", group="ben")
        rows[2].update(video="videos/gone.mp4", split="trian")
        rows[3].update(labels="labels/gone.eaf")
        rows.append({**rows[0], "clip": "a/b", "group": "", "labels": "", "video": rows[0]["video"]})

    edit(manifest, change)
    said = problems(manifest)
    assert "manifest.csv: 7 things are wrong" in said.replace("\n", " ")
    for expected in (
        "line 2: ",
        "clip0.csv: line 3, column valence: 'much' isn't a number",
        "line 3: the clip 'clip0' is listed twice",
        "line 4: there is no file 'videos/gone.mp4'",
        "line 4: the split must be train, validation, test, not 'trian'",
        "line 5: ",
        "gone.eaf: there is no such label file",
        "line 6: 'a/b' can't be a clip's name",
        "line 6: there is no group",
    ):
        assert expected in said, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda rows: rows[2].update(group="anna"),
            "line 4: the group 'anna' is in the validation split here, but in t",
        ),
        (lambda rows: rows[0].update(labels="labels/clip0.csv; labels/clip0.csv"), "a target is there twice"),
        (lambda rows: [r.update(limits="7 1") for r in rows], "limits must be the lowest and the highest value, not"),
        (
            lambda rows: rows[2].update(labels="labels/clip2.valence.annotation"),
            "the clip 'clip2' has labels for valence, but 'clip0' for valence, arousal",
        ),
        (lambda rows: rows[0].update(labels="valence=labels/clip0.csv"), "several targets in it"),
        (
            lambda rows: rows[2].update(video=rows[0]["video"]),
            "line 4: the video 'videos/clip0.mp4' is in the validation split here, but in train in line 2",
        ),
        (lambda rows: rows[0].update(clip="c" * 250), "can't be a clip's name"),
        (lambda rows: rows[0].update(clip="a\0b"), r"'a\x00b' can't be a clip's name"),
        (lambda rows: rows[0].update(video="a\0b"), r"there is no file 'a\x00b'"),
        (lambda rows: rows[0].update(video="v" * 300), "there is no file 'vvvv"),
        (
            lambda rows: [r.update(limits="1_0 20") for r in rows],
            "limits must be the lowest and the highest value, not",
        ),
        (lambda rows: rows[3].update(video="labels/clip0.csv"), "not a media file of a supported format"),
    ],
)
def test_what_is_wrong_is_said(manifest, change, said):
    edit(manifest, change)
    assert said in problems(manifest)


@pytest.mark.parametrize(("first", "second"), [("Anna", "anna"), ("Zo\u00e9", "Zoe\u0301")])
def test_a_person_is_one_however_their_name_is_written(manifest, first, second):
    def name(rows, split):
        rows[0].update(group=first, split="train")
        rows[1].update(group=second, split=split)

    edit(manifest, lambda rows: name(rows, "test"))
    assert f"the group '{first}' is in the test split here, but in train in line 2" in problems(manifest)
    edit(manifest, lambda rows: name(rows, "train"))
    assert [clip.group for clip in Manifest(manifest).clips()[:2]] == [first, first]


def test_a_list_of_half_of_europe_has_semicolons_and_decimal_commas(manifest):
    (manifest.parent / "joy.csv").write_text("time_ms;joy\n0;1,0\n500;2,5\n1000;4\n")
    rows = ["clip;video;labels;split;group;limits;weight"]
    rows += ['a;videos/clip0.mp4;"joy.csv; stress=1,6";train;anna;1,0 4,0;0,5']
    manifest.write_text("\n".join(rows), "utf-8")
    corpus = Manifest(manifest)
    (clip,) = corpus.clips()
    assert clip.weight == 0.5
    assert corpus.labels(clip).values == pytest.approx(np.array([[-1, -0.6], [0, -0.6], [1, -0.6]]))


def test_a_comma_that_makes_a_cell_of_its_own_is_told(manifest):
    manifest.write_text("clip,video,labels,split,group\na,videos/clip0.mp4,valence=0,3,train,anna\n")
    assert "line 2: more cells than columns: put quotes" in problems(manifest)


def test_a_long_list_of_anything_is_quoted_in_part(manifest):
    edit(manifest, lambda rows: rows[0].update(split="s" * 5000, labels=f"valence={'x' * 5000}", group=""))
    for line in problems(manifest).splitlines():
        assert len(line.removeprefix(f"{manifest}: ")) < 350


def test_what_a_label_file_has_besides_labels_is_named(manifest, capsys):
    path = manifest.parent / "labels" / "clip0.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},mood", *(f"{row},good" for row in rows)]))
    assert Manifest(manifest).findings() == {
        "clip0": ["labels/clip0.csv: left out, because they hold no numbers: columns mood"]
    }
    open_corpus("manifest", manifest)
    said = " ".join(capsys.readouterr().err.split())
    assert "label files of 1 clips hold more than labels, such as those of clip0: labels/clip0.csv: left out" in said


def test_a_pause_in_one_file_of_a_clip_stays_unknown(manifest):
    (manifest.parent / "v.csv").write_text("time_s,valence\n" + "".join(f"{i / 10},0.1\n" for i in range(30)))
    steps = [*range(5), *range(25, 30)]
    (manifest.parent / "a.csv").write_text("time_s,arousal\n" + "".join(f"{i / 10},-0.8\n" for i in steps))
    edit(manifest, lambda rows: rows.__setitem__(slice(None), [{**rows[0], "labels": "v.csv;a.csv"}]))
    corpus = Manifest(manifest)
    labels = corpus.labels(corpus.clips()[0])
    assert np.flatnonzero(~np.isnan(labels.values[:, 1])).tolist() == steps
    known = ~np.isnan(labels_on_grid(labels, Grid(10.0), 30)).any(1)
    assert np.flatnonzero(known).tolist() == steps


def test_missing_columns_and_empty_lists_say_which_columns_there_are(manifest):
    manifest.write_text("clip,video\na,b\n")
    assert "the columns labels, split, group are missing" in problems(manifest)
    manifest.write_text("clip,video,labels,split,split,group\n")
    assert "the columns split are there twice" in problems(manifest)
    manifest.write_text("clip,video,labels,split,group\n")
    assert "no clip is listed" in problems(manifest)


def test_sources_and_weights_are_read_and_a_weight_that_is_none_is_said(manifest):
    header, *rows = manifest.read_text(encoding="utf-8").splitlines()
    rest = [f"{row},," for row in rows[1:]]
    manifest.write_text("\n".join([f"{header},source,weight", f"{rows[0]},film,2.5", *rest]), encoding="utf-8")
    first, second = Manifest(manifest).clips()[:2]
    assert (first.source, first.weight, second.source, second.weight) == ("film", 2.5, "", 1.0)
    for wrong in ("often", "0", "-1", "nan", "1e9"):
        manifest.write_text("\n".join([f"{header},source,weight", f"{rows[0]},film,{wrong}", *rest]), encoding="utf-8")
        assert f"line 2: weight must be a number above 0 and at most 100, not '{wrong}'" in problems(manifest)


def test_long_lists_of_problems_are_cut(manifest):
    edit(manifest, lambda rows: rows.extend([{**rows[0], "video": "gone.mp4"} for _ in range(40)]))
    said = problems(manifest)
    assert "80 things are wrong" in said
    assert "... and 50 more" in said


class TestLabelsOfWholeClips:
    """Numbers and emotions in place of label files."""

    def labels_of(self, manifest, cell: str, **more):
        edit(manifest, lambda rows: rows.__setitem__(slice(None), [{**rows[0], "labels": cell, **more}]))
        corpus = Manifest(manifest)
        (clip,) = corpus.clips()
        assert clip.labels is not None
        return corpus.labels(clip)

    def test_numbers_hold_from_begin_to_end(self, manifest):
        labels = self.labels_of(manifest, "valence=0.6; arousal=-.3")
        assert labels.targets == ("valence", "arousal")
        assert labels.values.tolist() == [[pytest.approx(0.6), pytest.approx(-0.3)]]
        assert labels_on_grid(labels, Grid(10.0), 7).tolist() == pytest.approx(np.tile([[0.6, -0.3]], (7, 1)))
        assert labels_on_grid(labels, Grid(10.0), 1).tolist() == [pytest.approx([0.6, -0.3])]  # a still image

    def test_limits_hold_for_numbers_too(self, manifest):
        labels = self.labels_of(manifest, "joy=7; stress=4", limits="1 7")
        assert labels.targets == ("joy", "stress")
        assert labels.values.tolist() == [[1, 0]]

    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("emotion=anger", place("anger")),
            ("emotion = Happy", place("happiness")),
            ("EMOTION=Happy; Intensity=1", place("happiness")),
            ("emotion=anger; intensity=0.5", place("anger", 0.5)),
            ("intensity=0; emotion=fear", (0.0, 0.0)),
        ],
    )
    def test_an_emotion_is_its_place_in_the_plane(self, manifest, cell, expected):
        labels = self.labels_of(manifest, cell)
        assert labels.targets == ("valence", "arousal")
        assert labels.values[0] == pytest.approx(expected)

    def test_a_number_stands_beside_a_file_at_the_files_times(self, manifest):
        (manifest.parent / "a.csv").write_text("time_s,arousal\n0,0.1\n0.5,0.2\n")
        labels = self.labels_of(manifest, "valence=0.6; a.csv")
        assert set(labels.targets) == {"valence", "arousal"}
        assert labels.time_s.tolist() == [0, 0.5]
        assert labels.values[:, labels.targets.index("valence")] == pytest.approx(0.6)

    def test_clips_with_files_and_clips_with_numbers_are_one_corpus(self, manifest):
        edit(manifest, lambda rows: rows[1].update(labels="arousal=0.1; valence=0.2"))
        corpus = Manifest(manifest)
        assert corpus.targets == ("valence", "arousal")
        assert corpus.labels(corpus.clips()[1]).values[0] == pytest.approx([0.2, 0.1])

    @pytest.mark.parametrize(
        ("cell", "said"),
        [
            (
                "valence=30%; arousal=0",
                "line 2: valence: '30%' isn't a number, such as -0.3, nor a label file (.annotation",
            ),
            ("valence=0,3; arousal=0", "line 2: valence: '0,3' isn't a number"),
            ("valence=\u22120.3; arousal=0", "line 2: valence: '\u22120.3' isn't a number"),
            ("valence=0_3; arousal=0", "line 2: valence: '0_3' isn't a number"),
            ("valence=; arousal=0", "line 2: valence: '' isn't a number"),
            ("emotion=angryy", "did you mean 'angry'? choose one of: anger, boredom, calm"),
            ("EMOTION=angryy", "line 2: there is no emotion 'angryy'"),
            ("a\0b.csv", r"a\x00b.csv: there is no such label file"),
            (f"valence={'v' * 300}.csv; arousal=0", "there is no such label file"),
            ("valence=1.5; arousal=0", "line 2: valence: 1.5 is not in [-1, 1]"),
            ("valence=nan; arousal=0", "line 2: valence: 'nan' isn't a number"),
            ("emotion=angre", "line 2: there is no emotion 'angre'"),
            ("emotion=anger; intensity=2", "an emotion's intensity must be between 0 and 1, not 2"),
            ("emotion=anger; intensity=much", "the intensity must be a number from 0 to 1, not 'much'"),
            ("intensity=0.5", "there is an intensity, but no emotion"),
            ("emotion=anger; valence=0.5", "both the emotion and a number give the valence"),
            ("valence=0.5; valence=0.6", "a name is there twice"),
            ("valence=labels/clip2.valence.annotation; valence=0.5", "a target is there twice"),
            ("emotion=gone.csv", "gone.csv: there is no such label file"),
        ],
    )
    def test_what_is_wrong_is_said(self, manifest, cell, said):
        edit(manifest, lambda rows: rows[0].update(labels=cell))
        assert said in problems(manifest)


class TestOtherMedia:
    """Sound files, images and folders of images in the column video."""

    def test_they_are_listed_like_videos(self, manifest):
        root = manifest.parent
        write_sound(root / "a.wav", tone(2, 16_000))
        write_image(root / "b.jpg", greys(1)[0])
        write_images(root / "c", greys(3), times=[0, 1, 2])

        def change(rows):
            for row, video in zip(rows, ("a.wav", "b.jpg", "c"), strict=False):
                row.update(video=video, labels="valence=0.6; arousal=0.3")

        edit(manifest, change)
        assert [clip.video.name for clip in Manifest(manifest).clips()] == ["a.wav", "b.jpg", "c", "clip3.mp4"]

    def test_inspect_says_how_long_they_are_and_finds_nothing_wrong(self, manifest, tmp_path):
        self.test_they_are_listed_like_videos(manifest)
        edit(manifest, lambda rows: rows[1].update(split="validation", group="b"))
        edit(manifest, lambda rows: rows[2].update(split="test", group="c"))
        out = tmp_path / "found.json"
        main(["inspect", "--corpus", "manifest", "--data", str(manifest), "--out", str(out)])
        found = json.loads(out.read_text())
        assert found["findings"] == {}
        assert {name: split["video_s"] for name, split in found["splits"].items()} == {
            "train": pytest.approx(2),
            "validation": 0,
            "test": pytest.approx(2 + 1.96),
        }

    def test_a_folder_without_times_is_named(self, manifest):
        write_images(manifest.parent / "c", greys(3))
        edit(manifest, lambda rows: rows[0].update(video="c"))
        assert "line 2: the folder 'c' has no times.csv with the columns file and time_s" in problems(manifest)


class TestInspect:
    def test_a_split_without_a_clip_is_told(self, manifest, capsys):
        edit(manifest, lambda rows: [row.update(split="test") for row in rows])
        main(["inspect", "--corpus", "manifest", "--data", str(manifest)])
        assert "there is no clip for train, validation" in " ".join(capsys.readouterr().out.split())

    def test_the_list_itself_is_not_written_over(self, manifest, capsys):
        before = manifest.read_bytes()
        with pytest.raises(SystemExit):
            main(["inspect", "--corpus", "manifest", "--data", str(manifest), "--out", str(manifest)])
        assert "it is an input" in capsys.readouterr().err
        assert manifest.read_bytes() == before

    def test_says_what_is_there_per_split(self, manifest, tmp_path, capsys):
        main(["inspect", "--corpus", "manifest", "--data", str(manifest), "--out", str(tmp_path / "found.json")])
        said = capsys.readouterr().out
        assert "manifest: 4 clips" in said
        assert "nothing is missing" in said
        found = json.loads((tmp_path / "found.json").read_text())
        assert found["targets"] == ["valence", "arousal"]
        assert found["splits"]["train"]["clips"] == 2
        assert found["splits"]["train"]["groups"] == 1
        assert found["splits"]["test"]["labels"] == 50
        assert found["splits"]["test"]["known"] == pytest.approx(0.98)
        assert found["splits"]["test"]["video_s"] == pytest.approx(1.96)
        assert found["findings"] == {}

    def test_says_what_is_missing_and_what_disagrees(self, manifest, capsys):
        labels = manifest.parent / "labels"
        (labels / "clip0.csv").write_text("time_s,valence,arousal\n1,0,0\n9,0,0\n")
        (manifest.parent / "videos" / "clip1.mp4").write_bytes(b"no video")
        edit(manifest, lambda rows: rows[2].update(labels=""))
        main(["inspect", "--corpus", "manifest", "--data", str(manifest)])
        said = capsys.readouterr().out
        assert "clip0: its labels end at 17.00 s, its recording at 1.96 s; its first 1.00 s have no labels" in said
        assert "clip1.mp4: not a media file of a supported format" in said
        assert "clip2: it has no labels" in said
        assert "3 clips to look at" in said

    def test_counts_clips_and_not_what_is_said_of_them(self):
        assert summary({}) == "nothing is missing"
        assert summary({"a": ["no labels", "no sound"]}) == "1 clip to look at"
        assert summary({"(splits)": ["no test"]}) == "the corpus as a whole to look at"
        assert summary({"a": ["x"], "b": ["y"], "(splits)": ["z"]}) == "2 clips and the corpus as a whole to look at"

    def test_names_sound_files_without_sound(self, manifest, capsys):
        with wave.open(str(manifest.parent / "videos" / "empty.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
        edit(manifest, lambda rows: rows[1].update(video="videos/empty.wav"))
        main(["inspect", "--corpus", "manifest", "--data", str(manifest)])
        assert "clip1: no sound in it can be decoded" in capsys.readouterr().out

    def test_says_of_a_corpus_with_features_of_its_own_what_it_can(self, tmp_path, capsys):
        from tests.dialogues import write_hazumi

        main(["inspect", "--corpus", "hazumi", "--data", str(write_hazumi(tmp_path / "hazumi"))])
        assert "nothing is missing" in capsys.readouterr().out
