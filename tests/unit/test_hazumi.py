"""Hazumi: the authors' own files in, exchanges with labels and features out; nothing unknown becomes a number."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import CorpusError
from avgate.core.types import Clip
from avgate.corpora.hazumi import Hazumi, Session
from tests.conftest import SHARED
from tests.dialogues import AUDIO, SAME_PERSON, SESSIONS, VIDEO, edit, read_rows, write_hazumi

FIRST = Path("Hazumi2010/dumpfiles/2010F2001.csv")


@pytest.fixture
def root(tmp_path) -> Path:
    return write_hazumi(tmp_path)


@pytest.fixture(scope="module")
def real() -> Hazumi:
    folder = SHARED / "data" / "hazumi"
    if not folder.is_dir():
        pytest.skip("the corpus is missing: no shared/data/hazumi folder beside the project")
    return Hazumi(folder)


@pytest.fixture(scope="module")
def sessions(real) -> list[Session]:
    return [real.session(clip) for clip in real.clips()]


@pytest.fixture
def references(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "tools"))
    import hazumi_references

    return hazumi_references


def clip_named(corpus: Hazumi, name: str) -> Clip:
    return next(clip for clip in corpus.clips() if clip.name == name)


def first_session(root: Path) -> Session:
    corpus = Hazumi(root)
    return corpus.session(clip_named(corpus, FIRST.stem))


def test_clips_are_the_sessions_and_carry_their_file_for_want_of_a_video(root):
    clips = Hazumi(root).clips()
    assert [clip.name for clip in clips] == [name for names in SESSIONS.values() for name in names]
    assert all(clip.video == clip.labels and clip.video.stem == clip.name for clip in clips)


def test_the_second_recording_of_a_person_is_in_the_group_and_split_of_the_first(root):
    clips = {clip.name: clip for clip in Hazumi(root).clips()}
    for later, first in SAME_PERSON.items():
        assert (clips[later].group, clips[later].split) == (first, clips[first].split)
    assert len({clip.group for clip in clips.values()}) == 5


def test_splits_stay_when_the_corpus_is_opened_again_or_moved(root, tmp_path_factory):
    elsewhere = Hazumi(write_hazumi(tmp_path_factory.mktemp("elsewhere"), n=2)).clips()
    assert [(c.name, c.split) for c in Hazumi(root).clips()] == [(c.name, c.split) for c in elsewhere]


def test_labels_are_the_mean_of_five_raters_scaled_on_the_clock_of_exchanges(root):
    corpus = Hazumi(root)
    for clip in corpus.clips():
        labels = corpus.labels(clip)
        assert labels.targets == ("impression", "continuance")
        np.testing.assert_array_equal(labels.time_s, [0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
        for i, row in enumerate(read_rows(clip.video)):
            for k, prefix in enumerate(("UI_", "TC_")):
                ratings = [int(row[c]) for c in row if c.startswith(prefix) and not c.endswith("Aver")]
                assert labels.values[i, k] == pytest.approx((statistics.mean(ratings) - 4) / 3, abs=1e-6)


@pytest.mark.parametrize("missing", ["", "NA", "?"])
def test_an_exchange_that_one_rater_left_out_has_no_label_in_either_target(root, missing):
    edit(root / FIRST, lambda rows: rows[2].update(TC_M1=missing))
    corpus = Hazumi(root)
    values = corpus.labels(clip_named(corpus, FIRST.stem)).values
    assert np.isnan(values).all(1).tolist() == [False, False, True, False, False, False]
    assert np.isfinite(values[[0, 1, 3, 4, 5]]).all()


def test_features_are_the_files_own_columns_one_step_per_exchange(root):
    corpus = Hazumi(root)
    fingerprints = set()
    for clip in corpus.clips():
        tracks = corpus.tracks(clip)
        assert [(t.modality, t.backbone, t.values.shape) for t in tracks] == [
            ("audio", "is09", (6, 384)),
            ("video", "openface", (6, 66)),
        ]
        for track, columns in zip(tracks, (AUDIO, VIDEO), strict=True):
            expected = [[float(row[c]) for c in columns] for row in read_rows(clip.video)]
            np.testing.assert_array_equal(track.values, np.array(expected, np.float32))
            assert track.columns == tuple(column.strip() for column in columns)
            assert track.present.all()
            assert (track.grid.rate, track.grid.start_s) == (1.0, 0.0)
        fingerprints.add(tuple(track.fingerprint for track in tracks))
    assert len(fingerprints) == 1
    assert len(set(fingerprints.pop())) == 2


@pytest.mark.parametrize("value", ["", "nan", "inf", "-", "1e300"])
def test_one_value_that_is_no_finite_number_makes_its_modality_absent_in_that_exchange_only(root, value):
    edit(root / FIRST, lambda rows: rows[3].update({VIDEO[7]: value}))
    audio, video = first_session(root).tracks
    assert video.present.tolist() == [True, True, True, False, True, True]
    assert np.isnan(video.values[3]).all()
    assert np.isfinite(video.values[video.present]).all()
    assert audio.present.all()


def test_a_row_of_zeros_is_nothing_measured_but_a_single_zero_is_a_value(root):
    edit(root / FIRST, lambda rows: (rows[1].update(dict.fromkeys(AUDIO, "0.0")), rows[4].update({AUDIO[3]: "0"})))
    audio, video = first_session(root).tracks
    assert audio.present.tolist() == [True, False, True, True, True, True]
    assert np.isnan(audio.values[1]).all()
    assert audio.values[4, 3] == 0
    assert video.present.all()


def test_times_are_in_seconds_and_a_systems_end_outside_its_exchange_is_unknown(root):
    edit(root / FIRST, lambda rows: (rows[1].update({"end(system)": "953873"}), rows[2].update({"end(system)": ""})))
    times_s = first_session(root).times_s
    np.testing.assert_array_equal(times_s[:2], [[0, 4, 12], [12, np.nan, 24]])
    assert np.isnan(times_s[:, 1]).tolist() == [False, True, True, False, False, False]


def test_a_file_is_read_once(root):
    corpus = Hazumi(root)
    clip = clip_named(corpus, FIRST.stem)
    before = corpus.labels(clip).values.copy()
    clip.video.unlink()
    corpus.labels(clip).values[:] = 9
    np.testing.assert_array_equal(corpus.labels(clip).values, before)
    assert corpus.tracks(clip)[0].values.shape == (6, 384)


@pytest.mark.parametrize("missing", [".", "Hazumi2012", "Hazumi2105/dumpfiles"])
def test_a_missing_clone_is_answered_with_what_to_clone(root, missing):
    moved = root.rename(root.parent / "away") if missing == "." else None
    if not moved:
        (root / missing).rename(root / "away")
    with pytest.raises(CorpusError, match=r"(?s)no folder Hazumi.*github\.com/ouktlab/Hazumi2010.*give that folder"):
        Hazumi(root)


def test_a_clone_without_sessions_is_named(root):
    for file in (root / "Hazumi2012" / "dumpfiles").iterdir():
        file.unlink()
    with pytest.raises(CorpusError, match=r"Hazumi2012.dumpfiles: there are no sessions"):
        Hazumi(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        ("2105F2001,2012F2001\n", "2105M3001"),
        ("2105F2001;2012F2001\n2105M3001;2010M3001\n", "two sessions of one person, not '2105F2001;2012F2001'"),
    ],
)
def test_persons_who_cannot_be_told_apart_are_an_error(root, content, message):
    path = root / "Hazumi2105" / "correspondence.csv"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CorpusError, match=message) as error:
        Hazumi(root)
    assert str(path) in str(error.value)


def test_a_person_whose_earlier_session_is_gone_keeps_the_group(root):
    (root / "Hazumi2012" / "dumpfiles" / "2012F2001.csv").unlink()
    assert clip_named(Hazumi(root), "2105F2001").group == "2012F2001"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row.pop("end(exchange)") for row in rows], r"column 'end\(exchange\)' is missing"),
        (lambda rows: [row.pop("UI_F2") for row in rows], "5 columns of ratings UI_F1, UI_M1, ..., not 4"),
        (lambda rows: [row.pop(AUDIO[0]) for row in rows], "column 'pcm_RMSenergy_sma_max' is missing"),
        (
            lambda rows: [row.pop(VIDEO[5]) for row in rows],
            "66 columns from 17_acceleration_max to AU45_c_mean, not 65",
        ),
        (lambda rows: rows.append(rows[0]), "line 8: an exchange must begin after the one before"),
        (lambda rows: rows[1].update({"end(exchange)": "0"}), "line 3: .* end after its start"),
        (lambda rows: rows[4].update({"start(exchange)": "soon"}), "line 6"),
        (lambda rows: rows[3].update(UI_F2="8"), "line 5: ratings must lie between 1 and 7, not be 8"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(root, change, message):
    edit(root / FIRST, change)
    with pytest.raises(CorpusError, match=message) as error:
        first_session(root)
    assert str(root / FIRST) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "is missing"), (b"\xff\xfe\x00", "can't be read"), (None, "no exchanges")]
)
def test_a_file_that_holds_no_session_is_refused(root, content, message):
    path = root / FIRST
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"\n0,") + 1] if content is None else content)
    with pytest.raises(CorpusError, match=message):
        first_session(root)


@pytest.mark.parametrize("change", [lambda row: row + ",1", lambda row: row.rpartition(",")[0]], ids=["long", "short"])
def test_a_row_with_a_field_too_many_or_too_few_is_named(root, change):
    path = root / FIRST
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    lines[-1] = change(lines[-1])
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    with pytest.raises(CorpusError, match=r"line 7 has \d+ fields, and the header has \d+"):
        first_session(root)


def test_a_file_that_is_gone_is_named(root):
    corpus = Hazumi(root)
    (root / FIRST).unlink()
    with pytest.raises(CorpusError, match=FIRST.stem):
        corpus.labels(clip_named(corpus, FIRST.stem))


def test_durations_are_those_of_exchange_system_and_user_and_absent_where_unknown(root, references):
    edit(root / FIRST, lambda rows: (rows[1].update({"end(system)": ""}), rows[2].update({"end(system)": "24500"})))
    track = references.durations(first_session(root))
    assert track.present.tolist() == [True, False, True, True, True, True]
    assert np.isnan(track.values[1]).all()
    np.testing.assert_allclose(track.values[0], [12, 4, 8, np.log(13), np.log(5), np.log(9)], rtol=1e-6)
    np.testing.assert_allclose(track.values[2, :3], [12, 0.5, 11.5])
    assert len(track.columns) == 6


def test_rater_agreement_is_each_raters_ccc_with_the_mean_of_the_others_over_all_sessions(root, references):
    corpus = Hazumi(root)
    agreement = references.rater_agreement([corpus.session(clip) for clip in corpus.clips()])
    rows = [row for clip in corpus.clips() for row in read_rows(clip.video)]
    for target, prefix in (("impression", "UI_"), ("continuance", "TC_")):
        scores = []
        for rater in range(5):
            pairs = []
            for row in rows:
                ratings = [int(row[c]) for c in row if c.startswith(prefix) and not c.endswith("Aver")]
                pairs.append((ratings.pop(rater), statistics.mean(ratings)))
            x, y = zip(*pairs, strict=True)
            shift = statistics.mean(x) - statistics.mean(y)
            covariance = statistics.correlation(x, y) * statistics.pstdev(x) * statistics.pstdev(y)
            scores.append(2 * covariance / (statistics.pvariance(x) + statistics.pvariance(y) + shift**2))
        assert agreement[target] == pytest.approx(statistics.mean(scores))


def test_raters_of_one_mind_agree_fully(root, references):
    for path in root.glob("*/dumpfiles/*.csv"):
        edit(path, lambda rows: [row.update({c: str(i + 1) for c in row if c[:3] in ("UI_", "TC_")})
                                 for i, row in enumerate(rows)])  # fmt: skip
    corpus = Hazumi(root)
    agreement = references.rater_agreement([corpus.session(clip) for clip in corpus.clips()])
    assert agreement == pytest.approx({"impression": 1, "continuance": 1})


@pytest.mark.long
def test_the_real_corpus_is_read_whole(real, sessions):
    assert len(sessions) == 125
    assert sum(len(session.times_s) for session in sessions) == 10_361
    assert len({clip.group for clip in real.clips()}) == 96
    assert {tuple(t.values.shape[1] for t in session.tracks) for session in sessions} == {(384, 66)}
    assert len({tuple(t.fingerprint for t in session.tracks) for session in sessions}) == 1
    absent = [sum(int((~session.tracks[m].present).sum()) for session in sessions) for m in (0, 1)]
    assert absent == [5, 8]
    assert all(np.isfinite(real.labels(clip).values).all() for clip in real.clips())


@pytest.mark.long
def test_real_raters_agree_with_each_other_only_so_far(sessions, references):
    agreement = references.rater_agreement(sessions)
    assert agreement == pytest.approx({"impression": 0.60, "continuance": 0.67}, abs=0.01)


@pytest.mark.slow
def test_real_splits_hold_about_their_share_of_sessions(real):
    splits = [clip.split for clip in real.clips()]
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.05)
