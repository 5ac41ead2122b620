"""Reading Aff-Wild2's layout, folds, crops, interpolation of submissions, and joining of models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from avgate.apps.affwild2.submission import check_submission, interpolated, read_sample
from avgate.core.errors import CorpusError, FeatureError, UsageError
from avgate.core.metrics import ccc
from avgate.corpora.affwild2 import FOLDS, AffWild2
from avgate.faces import track_crops
from avgate.inference.ensemble import agreement_weights, ccc_centred
from tests.affwild2 import VIDEOS, crops, labels_of, write_affwild2


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_affwild2(tmp_path_factory.mktemp("affwild2") / "release")


@pytest.fixture
def release(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "release"))


class TestCorpus:
    def test_labels_are_at_the_raw_frames_times_and_invalid_in_both_or_none(self, original):
        corpus = AffWild2(original)
        by_name = {video.name: video for video in VIDEOS}
        for clip in corpus.clips():
            if clip.split == "test":
                assert clip.labels is None
                continue
            video, labels = by_name[clip.name], corpus.labels(clip)
            expected = labels_of(video)[: video.frames]
            expected[(expected == -5).any(1)] = np.nan
            assert labels.values == pytest.approx(expected, abs=1e-6, nan_ok=True)
            assert np.diff(labels.time_s) == pytest.approx(1 / 25, abs=1e-3)

    def test_two_persons_of_a_video_share_raw_file_and_group_but_not_crops(self, original):
        left, right = (clip for clip in AffWild2(original).clips() if clip.group == "video7")
        assert left.video == right.video
        assert left.crops != right.crops

    def test_folders_may_lie_one_level_deeper(self, release, original):
        (release / "Annotations").mkdir()
        (release / "VA_Estimation_Challenge").rename(release / "Annotations" / "VA_Estimation_Challenge")
        (release / "videos").mkdir()
        (release / "batch1").rename(release / "videos" / "batch1")
        (release / "cropped_aligned").rename(release / "videos" / "cropped_aligned")
        names = [clip.name for clip in AffWild2(original).clips()]
        assert [clip.name for clip in AffWild2(release).clips()] == names

    def test_videos_that_cant_be_used_are_left_out_and_told(self, release):
        shutil.rmtree(release / "cropped_aligned" / "video9_right")
        shutil.rmtree(release / "cropped_aligned" / "short")
        corpus = AffWild2(release)
        names = {clip.name: clip for clip in corpus.clips()}
        found = corpus.findings()
        assert "video9_right" not in names
        assert "shows two people" in found["video9_right"][0]
        assert names["short"].crops is None
        assert "faces will be detected in the raw video" in found["short"][0]

    def test_only_the_list_of_its_own_track_names_test_videos(self, release):
        names = (release / "VA_test_set.txt").read_text()
        (release / "VA_test_set.txt").unlink()
        (release / "EXPR_test_set.txt").write_text("other\n105\n")
        (release / "test_notes.txt").write_text("hello world\n")
        lists = release / "TestSet" / "names_of_videos_in_each_test_set" / "names_of_videos_in_each_test_set"
        lists.mkdir(parents=True)
        (lists / "Expression_Classification_Challenge_test_set_release.txt").write_text("video7\n")
        corpus = AffWild2(release)
        assert not [clip for clip in corpus.clips() if clip.split == "test"]
        found = " ".join(corpus.findings()["(test)"])
        assert "not read" in found
        assert "EXPR_test_set.txt" in found
        assert "there is no list of test videos" in found
        (lists / "Valence_Arousal_Estimation_Challenge_test_set_release.txt").write_text(names)
        tests = [clip.name for clip in AffWild2(release).clips() if clip.split == "test"]
        assert tests == ["test_a", "video3_left"]

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (
                lambda root: shutil.rmtree(root / "VA_Estimation_Challenge"),
                "there is no folder VA_Estimation_Challenge",
            ),
            (lambda root: [shutil.rmtree(root / f"batch{i}") for i in (1, 2)], "no annotated video has its raw file"),
            (lambda root: (root / "VA_test_set.txt").write_text("105\n"), "listed in two splits: 105"),
            (lambda root: (root / "VA_test_set.txt").write_bytes(b"\xff\x00\x80"), "list of test videos can't be read"),
        ],
    )
    def test_what_is_no_release_is_refused(self, release, spoil, said):
        spoil(release)
        with pytest.raises(CorpusError, match=said):
            AffWild2(release)

    def test_an_annotation_that_cannot_be_read_hides_nothing_of_the_others(self, release):
        (release / "VA_Estimation_Challenge" / "Train_Set" / "short.txt").write_text("valence,arousal\n")
        found = AffWild2(release).findings()
        assert "there are no labels in it" in found["short"][0]
        assert len(found) > 3

    def test_wrong_annotations_are_refused_with_their_row(self, release):
        path = release / "VA_Estimation_Challenge" / "Train_Set" / "short.txt"
        path.write_text("valence,arousal\n0,0\n0,1.5\n")
        corpus = AffWild2(release)
        (clip,) = (clip for clip in corpus.clips() if clip.name == "short")
        with pytest.raises(CorpusError, match="line 3: labels must lie in"):
            corpus.labels(clip)
        path.write_text("arousal,valence\n0,0\n")
        with pytest.raises(CorpusError, match="the first line must be valence,arousal"):
            corpus.labels(clip)


class TestFolds:
    def test_fold_0_is_the_official_split_and_others_mix_training_and_validation_by_raw_video(self, original):
        official = {clip.name: clip.split for clip in AffWild2(original).clips()}
        assert official["105"] == "train"
        validated = []
        for fold in range(1, FOLDS):
            splits = {clip.name: clip.split for clip in AffWild2(original, fold).clips()}
            assert {n for n, s in splits.items() if s == "test"} == {n for n, s in official.items() if s == "test"}
            assert splits["video7_left"] == splits["video7_right"]
            validated += [name for name, split in splits.items() if split == "validation"]
        assert sorted(validated) == sorted(name for name, split in official.items() if split != "test")

    def test_folds_stay_the_same_when_a_video_is_missing(self, release, original):
        (release / "batch2" / "105.avi").unlink()
        for fold in range(1, FOLDS):
            before = {clip.name: clip.split for clip in AffWild2(original, fold).clips()}
            after = {clip.name: clip.split for clip in AffWild2(release, fold).clips()}
            assert after == {name: split for name, split in before.items() if name != "105"}

    def test_other_folds_dont_exist(self, original):
        with pytest.raises(UsageError, match="no fold 6"):
            AffWild2(original, 6)


class TestCrops:
    def test_a_missing_or_broken_crop_is_an_absent_face_not_a_black_one(self, tmp_path):
        images = crops()
        for i in (0, 1, 3, 9):
            (tmp_path / f"{i + 1:05d}.jpg").write_bytes(images[i])
        (tmp_path / "00003.jpg").write_bytes(b"no picture")
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "00005.jpg").mkdir()
        said: list[str] = []
        (track,) = track_crops(tmp_path, np.arange(6) / 25, note=said.append)
        assert track.present.tolist() == [True, True, False, True, False, False]
        assert np.isfinite(track.mesh[track.present]).all()
        assert np.isnan(track.mesh[~track.present]).all()
        assert ((track.mesh[track.present][..., :2] > -30) & (track.mesh[track.present][..., :2] < 142)).all()
        assert said == ["Crops that can't be read as images and count as missing: 1."]

    def test_blocks_are_the_same_faces_in_pieces_and_the_mesh_can_be_left_away(self, tmp_path):
        for i, image in enumerate(crops()):
            (tmp_path / f"{i + 1:05d}.jpg").write_bytes(image)
        blocks = list(track_crops(tmp_path, np.arange(12) / 25, mesh=False, block=5))
        assert [len(block) for block in blocks] == [5, 5, 2]
        assert all(block.present.all() and np.isnan(block.mesh).all() for block in blocks)
        (whole,) = track_crops(tmp_path, np.arange(12) / 25, mesh=False)
        assert (np.concatenate([block.crop for block in blocks]) == whole.crop).all()


class TestSubmission:
    def test_unknown_frames_lie_between_their_neighbours_and_ends_are_held(self):
        nan = np.nan
        values = np.array([[nan, nan], [0.2, 0], [nan, nan], [0.4, 0.2], [nan, nan]])
        found, filled = interpolated(values, np.arange(7), "video")
        assert found[:, 0] == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4])
        assert filled == 5

    def test_a_video_of_which_nothing_is_known_is_refused(self):
        with pytest.raises(FeatureError, match="no frame of it has an estimate"):
            interpolated(np.full((3, 2), np.nan), np.arange(3), "video")

    @pytest.mark.parametrize("cell", ["0_1", "\u0663", "nan", "", "1.5", "inf", "0,1"])
    def test_what_is_no_number_in_digits_is_refused_in_a_submission(self, tmp_path, cell):
        sample, out = tmp_path / "sample.csv", tmp_path / "out.csv"
        head = "image_location,valence,arousal"
        sample.write_text(f"{head}\na/00001.jpg,-5,-5\n")
        out.write_text(f"{head}\na/00001.jpg,0.5,-1e-3\n")
        assert check_submission(out, sample) == 1
        out.write_text(f"{head}\na/00001.jpg,0.5,{cell}\n")
        with pytest.raises(CorpusError, match=r"'a/00001\.jpg' must hold two numbers"):
            check_submission(out, sample)

    @pytest.mark.parametrize("location", ["a/0_1.jpg", "a/\u0663.jpg", "a/0.jpg", "00001.jpg", "a/1e3.jpg"])
    def test_a_sample_whose_frames_have_no_numbers_is_refused_with_the_line(self, tmp_path, location):
        (tmp_path / "sample.csv").write_text(f"image_location,valence,arousal\na/00001.jpg,-5,-5\n{location},-5,-5\n")
        with pytest.raises(CorpusError, match=r"line 3: .* is no VIDEO/NUMBER\.jpg"):
            read_sample(tmp_path / "sample.csv")


class TestEnsemble:
    def test_ccc_centring_against_a_hand_computed_case(self):
        # The first two agree with each other by a and with the third less; means are 0, 0.1 and 0.6.
        estimates = np.array([[-0.2, 0.0, 0.2], [-0.1, 0.1, 0.3], [0.4, 0.6, 0.8]])
        pairs = {(i, j): ccc(estimates[i], estimates[j]) for i in range(3) for j in range(i)}
        weights = [pairs[1, 0] + pairs[2, 0], pairs[1, 0] + pairs[2, 1], pairs[2, 0] + pairs[2, 1]]
        centre = (weights[1] * 0.1 + weights[2] * 0.6) / sum(weights)
        assert agreement_weights(estimates) == pytest.approx(np.array(weights) / sum(weights))
        assert ccc_centred(estimates) == pytest.approx(np.array([-0.2, 0, 0.2]) + centre)

    def test_one_model_and_equal_models_stay_as_they_are(self):
        x = np.sin(np.arange(20) / 3)
        assert ccc_centred(x[None]) == pytest.approx(x)
        assert ccc_centred(np.stack([x, x])) == pytest.approx(x)

    def test_what_no_model_knows_stays_unknown_and_the_result_is_clipped(self):
        x = np.array([[0.9, np.nan, np.nan, 1.0], [0.9, 0.2, np.nan, 1.0]])
        found = ccc_centred(x)
        assert np.isnan(found[2])
        assert not np.isnan(found[[0, 1, 3]]).any()
        assert found[3] <= 1
        assert np.isnan(ccc_centred(np.full((2, 3), np.nan))).all()
