"""EmoDB, RAVDESS and CREMA-D in their official layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avgate import load_checkpoint
from avgate.cli import main
from avgate.core.errors import CorpusError
from avgate.corpora.base import read_table
from avgate.corpora.cremad import CremaD
from avgate.corpora.emodb import EmoDB
from avgate.corpora.manifest import Manifest
from avgate.corpora.ravdess import Ravdess
from avgate.labels.categories import PLANE, SOURCE
from tests.conftest import SHARED
from tests.open_corpora import CREMAD_VOTES, POINTER, write_cremad, write_emodb, write_ravdess, write_sound


@pytest.fixture
def cremad(tmp_path: Path) -> Path:
    write_cremad(tmp_path)
    return tmp_path


def shared(corpus: str) -> Path:
    if not (SHARED / "data" / corpus).is_dir():
        pytest.skip(f"{corpus} is missing: no shared/data folder beside the project")
    return SHARED / "data" / corpus


def places(corpus) -> dict[str, tuple[float, ...]]:
    return {clip.name: tuple(np.round(corpus.labels(clip).values[0], 4).tolist()) for clip in corpus.clips()}


def test_emodb_reads_speaker_and_emotion_from_a_files_name(tmp_path):
    write_emodb(tmp_path)
    write_sound(tmp_path / "wav" / "noise.wav", np.zeros(100))
    corpus = EmoDB(tmp_path)
    found = places(corpus)
    assert found["03a01Wa"] == pytest.approx(PLANE["anger"])
    assert found["08a01La"] == pytest.approx(PLANE["boredom"])
    assert found["16b09Nb"] == (0, 0)
    assert {clip.group for clip in corpus.clips() if clip.name.startswith("08")} == {"08"}
    assert corpus.findings() == {"wav/noise.wav": ["its name isn't one of EmoDB's: it is left out"]}


def test_copies_and_pointers_of_emodb_are_left_out_and_named(tmp_path):
    write_emodb(tmp_path)
    (tmp_path / "03a01Wa.WAV").write_bytes((tmp_path / "wav" / "03a01Wa.wav").read_bytes())
    (tmp_path / "wav" / "16b09Nb.wav").write_text(POINTER)
    corpus = EmoDB(tmp_path)
    assert "16b09Nb" not in {clip.name for clip in corpus.clips()}
    found = corpus.findings()
    assert found["wav/03a01Wa.wav"] == ["03a01Wa.WAV has the same name: this one is left out"]
    assert "Git LFS left a pointer" in found["wav/16b09Nb.wav"][0]
    for file in [*tmp_path.glob("wav/*.wav"), tmp_path / "03a01Wa.WAV"]:
        file.write_text(POINTER)
    with pytest.raises(CorpusError, match=r"no recordings of EmoDB; 21 files can't be used, such as .*Git LFS"):
        EmoDB(tmp_path)


def test_emodbs_real_folder_holds_what_its_authors_say():
    corpus = EmoDB(shared("emodb"))
    assert len(corpus.clips()) == 535
    assert corpus.about()["speakers"] == "10 (5 female, 5 male)"
    assert corpus.about()["emotions"].startswith("anger 127, boredom 81, neutral 79, happiness 71, fear 69")
    assert corpus.findings() == {}


def test_a_speaker_stays_in_his_split_when_others_are_missing(tmp_path):
    write_emodb(tmp_path)
    before = {clip.group: clip.split for clip in EmoDB(tmp_path).clips()}
    for file in tmp_path.glob("wav/0*.wav"):
        file.unlink()
    after = {clip.group: clip.split for clip in EmoDB(tmp_path).clips()}
    assert set(after) == {group for group in before if not group.startswith("0")}
    assert after.items() <= before.items()


def test_ravdess_takes_a_performance_once_and_its_parts_where_they_stand_alone(tmp_path):
    write_ravdess(tmp_path)
    corpus = Ravdess(tmp_path)
    own = [clip.name for clip in corpus.clips() if clip.group == "01"]
    assert own == ["01-01-03-02-01-01-01", "02-01-02-01-01-01-01", "03-01-05-01-01-01-01"]
    assert corpus.about()["actors"] == "24 (12 female, 12 male)"
    assert corpus.about()["recordings"] == "video with sound 24, video only 24, sound only 24"


def test_a_file_that_is_named_like_an_actors_folder_is_passed_over(tmp_path):
    write_ravdess(tmp_path)
    clips = Ravdess(tmp_path).clips()
    (tmp_path / "Actor_77").touch()
    assert Ravdess(tmp_path).clips() == clips


def test_ravdess_scales_the_place_by_the_intensity(tmp_path):
    write_ravdess(tmp_path)
    found = places(Ravdess(tmp_path))
    assert found["01-01-03-02-01-01-07"] == pytest.approx(PLANE["happiness"])
    assert found["03-01-05-01-01-01-07"] == pytest.approx(np.array(PLANE["anger"]) / 2)
    assert found["02-01-02-01-01-01-07"] == pytest.approx(np.array(PLANE["calm"]) / 2)


def test_files_of_ravdess_in_other_places_and_of_other_names_are_named(tmp_path):
    write_ravdess(tmp_path)
    one, two = tmp_path / "Actor_01", tmp_path / "Actor_02"
    copied = one / "03-01-05-01-01-01-01.wav"
    (two / copied.name).write_bytes(copied.read_bytes())
    copied.rename(two / "03-01-06-01-01-01-01.wav")
    (one / "03-01-05-01-01-01-77.wav").write_bytes(b"")
    (one / "03-01-05-01-01-02-01.wav").write_text(POINTER)
    (two / "02-01-02-01-01-01-02.mp4").rename(two / "02-01-02-01-01-01-02.MP4")
    corpus = Ravdess(tmp_path)
    assert {"03-01-05-01-01-01-01", "03-01-06-01-01-01-01"} <= {c.name for c in corpus.clips() if c.group == "01"}
    assert "02-01-02-01-01-01-02" in {clip.name for clip in corpus.clips()}
    found = corpus.findings()
    assert found["03-01-06-01-01-01-01"] == ["it lies in Actor_02, but its name says actor 01, which counts"]
    assert "isn't one of RAVDESS's" in found["Actor_01/03-01-05-01-01-01-77.wav"][0]
    assert "Git LFS left a pointer" in found["Actor_01/03-01-05-01-01-02-01.wav"][0]


def test_ravdess_is_found_within_unpacked_archives(tmp_path):
    write_ravdess(tmp_path / "Video_Speech_Actors")
    assert len(Ravdess(tmp_path).clips()) == 72


def test_cremads_label_is_the_mean_of_all_votes_at_their_levels(cremad):
    voice, face, both = (places(CremaD(cremad, judged)) for judged in ("voice", "face", "both"))
    anger, disgust, happiness = (np.array(PLANE[word]) for word in ("anger", "disgust", "happiness"))
    assert both["1001_IEO_ANG_HI"] == pytest.approx(0.8 * anger, abs=1e-4)
    assert face["1001_IEO_ANG_HI"] == pytest.approx(0.8 * (0.6 * anger + 0.4 * disgust), abs=1e-4)
    assert voice["1001_TIE_HAP_XX"] == pytest.approx(0.8 * 0.1 * happiness, abs=1e-4)
    assert places(CremaD(cremad)) == both


def test_cremads_votes_tell_winners_and_how_far_presentations_agree(cremad):
    votes = CremaD(cremad).votes["1001_TIE_HAP_XX"]
    assert [votes[p].winner for p in ("voice", "face", "both")] == ["N", "H", "H:N"]
    assert votes["voice"].overlap(votes["face"]) == pytest.approx(0.2)
    assert votes["voice"].overlap(votes["both"]) == pytest.approx(0.6)
    assert votes["both"].overlap(votes["both"]) == pytest.approx(1)


@pytest.mark.long
def test_cremads_real_winners_are_those_of_its_own_summary():
    root = shared("cremad")
    votes = CremaD(root).votes
    columns = {"voice": "VoiceVote", "face": "FaceVote", "both": "MultiModalVote"}
    summary = read_table(root / "processedResults" / "summaryTable.csv", ("FileName", *columns.values()), "")
    assert len(summary) == len(votes) == 7442
    for row in summary:
        assert {p: votes[row["FileName"]][p].winner for p in columns} == {p: row[c] for p, c in columns.items()}


def test_a_pointer_is_no_video_and_inspect_says_how_to_fetch_it(cremad, capsys):
    fetched = cremad / "VideoFlash" / "1001_IEO_ANG_HI.flv"
    for file in (cremad / "VideoFlash").glob("*.flv"):
        if file != fetched:
            file.write_text(POINTER)
    (cremad / "VideoFlash" / "1002_IEO_ANG_HI.flv").unlink()
    assert [clip.video for clip in CremaD(cremad).clips()] == [fetched]
    main(["inspect", "--corpus", "cremad", "--data", str(cremad)])
    said = " ".join(capsys.readouterr().out.split())
    assert "19 of 20 clips have no media here and are left out (18 are Git LFS pointers, 1 are missing)" in said
    assert f'run in {cremad}: git lfs pull --include "VideoFlash/*"' in said
    assert f"emotions' places: {SOURCE}" in said


@pytest.mark.slow
def test_inspect_says_what_to_do_with_the_pointers_of_a_real_clone_without_lfs(capsys):
    main(["inspect", "--corpus", "cremad", "--data", str(shared("cremad"))])
    said = " ".join(capsys.readouterr().out.split())
    assert "7442 of 7442 clips have no media here" in said
    assert 'git lfs pull --include "VideoFlash/*"' in said
    assert "actors: 91 (43 female, 48 male)" in said


def test_nothing_to_extract_or_train_on_is_an_error_that_leads_to_inspect(cremad, capsys):
    for file in (cremad / "VideoFlash").glob("*.flv"):
        file.write_text(POINTER)
    where = ["--corpus", "cremad", "--data", str(cremad)]
    for command in (["extract", *where], ["train", *where, "--out", str(cremad / "run")]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == CorpusError.exit_code
        assert "`avgate inspect --corpus cremad" in " ".join(capsys.readouterr().err.split())


def test_the_sound_alone_is_taken_where_only_that_was_fetched(cremad):
    name = "1001_IEO_ANG_HI"
    (cremad / "VideoFlash" / f"{name}.flv").write_text(POINTER)
    sound = write_sound(cremad / "AudioWAV" / f"{name}.wav", np.zeros(1600))
    assert next(clip.video for clip in CremaD(cremad).clips() if clip.name == name) == sound


def test_an_actor_stays_in_his_split_whatever_was_fetched(cremad):
    before = {clip.group: clip.split for clip in CremaD(cremad).clips()}
    for file in (cremad / "VideoFlash").glob("100[1-5]*.flv"):
        file.write_text(POINTER)
    after = {clip.group: clip.split for clip in CremaD(cremad).clips()}
    assert len(before) == 10
    assert len(after) == 5
    assert after.items() <= before.items()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("100000,8", "100000,-8"), "line 2 can't be understood"),
        (lambda text: text.replace("100000,8", "100000,many"), "line 2 can't be understood"),
        (lambda text: text.replace("100000,8", "100000,1.5"), "line 2 can't be understood"),
        (lambda text: text.replace("100000,8", "100000,nan"), "line 2 can't be understood"),
        (lambda text: text.replace("100000,8", "100000,1e9"), "line 2 can't be understood"),
        (lambda text: text.replace(",80,", ",800,", 1), "line 2 can't be understood"),
        (lambda text: text.replace("1001_IEO_ANG_HI", "1001", 1), "line 2: '1001' isn't a clip's name"),
        (lambda text: text.replace(",A,", "x,A,", 1), r"the columns \(without a title\) are missing"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "has no votes for both"),
        (lambda text: text.splitlines()[0], "there are no votes"),
        (lambda text: text.replace("1001_IEO", "9999_IEO"), "the actor of 9999_IEO_ANG_HI isn't in"),
        (lambda text: text.replace("meanSadResp", "sad"), "the columns meanSadResp are missing"),
    ],
)
def test_a_table_of_votes_that_is_wrong_is_refused_with_the_place(cremad, spoil, said):
    table = cremad / CREMAD_VOTES
    table.write_text(spoil(table.read_text()))
    with pytest.raises(CorpusError, match=said):
        CremaD(cremad)


def test_a_folder_that_is_no_clone_of_cremad_is_said_in_words(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", "--corpus", "cremad", "--data", str(tmp_path)])
    said = " ".join(capsys.readouterr().err.split())
    assert "VideoDemographics.csv: there is no such file -> clone https://github.com" in said
    assert "Errno" not in said


def test_a_list_of_clips_with_emotion_words_names_their_map_and_others_do_not(tmp_path):
    write_emodb(tmp_path)
    head = "clip,video,labels,split,group"
    words, numbers = tmp_path / "words.csv", tmp_path / "numbers.csv"
    words.write_text(f"{head}\na,wav/03b09Nb.wav,emotion=anger,train,03\n")
    numbers.write_text(f"{head}\na,wav/03b09Nb.wav,valence=0.1; arousal=0.2,train,03\n")
    assert Manifest(words).emotion_map == SOURCE
    assert Manifest(words).about() == {"emotions' places": SOURCE}
    assert Manifest(numbers).emotion_map == ""
    assert Manifest(numbers).about() == {}


@pytest.mark.slow
def test_sound_alone_is_extracted_trained_on_and_scored_and_the_model_names_the_map(tmp_path, capsys):
    write_emodb(tmp_path)
    where = ["--corpus", "emodb", "--data", str(tmp_path)]
    settings = ["--recipe", "smoke", "--set", 'backbones=("logmel",)']
    main(["extract", *where, *settings, "--workers", "1"])
    main(["train", *where, *settings, "--fusion", "audio", "--out", str(tmp_path / "run")])
    assert load_checkpoint(tmp_path / "run").trained_on["emotion_map"] == SOURCE
    main(["evaluate", str(tmp_path / "run"), *where])
    assert "emodb, test split, 4 clips" in " ".join(capsys.readouterr().out.split())
    main(["extract", *where, "--recipe", "smoke", "--workers", "1"])
    with pytest.raises(SystemExit) as ended:
        main(["train", *where, "--recipe", "smoke", "--out", str(tmp_path / "both")])
    assert ended.value.code == CorpusError.exit_code
    assert "no training clip has any video -> leave out" in " ".join(capsys.readouterr().err.split())
