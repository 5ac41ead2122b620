"""`avgate labels`, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from avgate.cli import main
from avgate.core.timeline import Grid
from avgate.core.types import FeatureTrack, LabelTrack
from avgate.features.store import FeatureStore
from avgate.labels.formats import read_labels, write_labels
from avgate.labels.tracks import intervals
from tests.clips import greys, make_clip

RATE, N = 10.0, 600


def course(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.normal(size=N + 40), np.hanning(20) / 10, "valid")[:N]
    return (smooth / np.abs(smooth).max()).astype(np.float32)


@pytest.fixture
def raters(tmp_path):
    """Three raters of valence and arousal in three formats, who lag 1.5 s in valence and 0.8 s in arousal."""
    rng = np.random.default_rng(0)
    truth = np.stack([course(1), course(2)], 1)
    late = np.stack([np.roll(truth[:, 0], 15), np.roll(truth[:, 1], 8)], 1)
    files = []
    for name, suffix, chosen in (("ann", ".eaf", "elan"), ("bob", ".csv", "csv"), ("cy", ".TextGrid", "textgrid")):
        values = np.clip(late + 0.05 * rng.normal(size=late.shape), -1, 1).astype(np.float32)
        labels = LabelTrack(np.arange(N) / RATE, values, ("valence", "arousal"))
        files += write_labels(labels, tmp_path / f"{name}{suffix}", chosen)
    grid = Grid(RATE)
    track = FeatureTrack(truth, np.ones(N, bool), grid, "tiny", "video", ("a", "b"), "f" * 16)
    features = FeatureStore(tmp_path / "features").write("clip", "tiny-0", track, "0")
    return [str(f) for f in files], str(features), truth


def run(*args: object) -> None:
    main(["labels", *map(str, args)])


@pytest.mark.slow
def test_raters_in_several_formats_become_one_label_with_their_agreement(raters, tmp_path, capsys):
    files, _, truth = raters
    run(*files, "--out", tmp_path / "gold.csv", "--report", tmp_path / "gold.json", "--plot", tmp_path / "gold.png")
    gold = pd.read_csv(tmp_path / "gold.csv")
    assert list(gold) == ["time_s", "until_s", "valence", "arousal"]
    assert gold["time_s"].to_numpy() == pytest.approx(np.arange(N) / RATE)
    assert np.abs(gold["valence"] - np.roll(truth[:, 0], 15))[20:].mean() < 0.04
    about = json.loads((tmp_path / "gold.json").read_text())
    assert about["valence"]["raters"] == ["ann", "bob", "cy"]
    assert 0.9 < about["valence"]["agreement"]["pairs"] < 1
    assert about["arousal"]["agreement"]["alpha"] > 0.95
    assert (tmp_path / "gold.png").read_bytes().startswith(b"\x89PNG")
    assert "Agreement of raters" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["mi", "ccc"])
def test_the_delay_is_found_from_features_per_target(raters, tmp_path, measure):
    files, features, truth = raters
    args = ["--delay", measure, "--features", features, "--longest-delay", "3"]
    run(*files, "--out", tmp_path / "gold.csv", "--report", tmp_path / "gold.json", *args)
    about = json.loads((tmp_path / "gold.json").read_text())
    assert about["valence"]["delay_s"] == pytest.approx(1.5, abs=0.11)
    assert about["arousal"]["delay_s"] == pytest.approx(0.8, abs=0.11)
    assert len(about["valence"]["fit"]) == 31
    gold = pd.read_csv(tmp_path / "gold.csv")
    assert np.abs(gold["valence"] - truth[:, 0])[:560].mean() < 0.06
    assert gold["valence"].isna()[-10:].all()


def test_a_delay_that_may_be_chance_is_doubted(raters, tmp_path, capsys):
    files, features, _ = raters
    args = ["--delay", "ccc", "--features", features, "--targets", "valence"]
    run(*files, "--out", tmp_path / "gold.csv", *args, "--longest-delay", "1.5")
    said = " ".join(capsys.readouterr().err.split())
    assert "valence: moved 1.5 s earlier, the delay that ccc found" in said
    assert "the best delay is the longest that was tried, 1.5 s" in said
    assert "58 s of labels are too few to find a delay reliably" in said


def test_features_may_be_a_table(raters, tmp_path):
    files, _, truth = raters
    table = pd.DataFrame({"time_s": np.arange(N) / RATE + 0.05, "a": truth[:, 0], "b": truth[:, 1]})
    table.to_csv(tmp_path / "features.csv", index=False)
    args = ["--delay", "ccc", "--features", tmp_path / "features.csv"]
    run(files[1], "--out", tmp_path / "gold.csv", "--report", tmp_path / "gold.json", *args)
    assert json.loads((tmp_path / "gold.json").read_text())["valence"]["delay_s"] == pytest.approx(1.5, abs=0.11)


def test_a_fixed_delay_moves_labels_to_an_earlier_time(raters, tmp_path):
    files, _, _ = raters
    for delay in ("0", "1.5"):
        run(files[1], "--out", tmp_path / f"{delay}.csv", "--delay", delay)
    still, moved = (pd.read_csv(tmp_path / f"{delay}.csv")["valence"].to_numpy() for delay in ("0", "1.5"))
    np.testing.assert_array_equal(moved[:-15], still[15:])


def test_one_file_is_turned_into_another_format_at_another_rate(raters, tmp_path):
    files, _, truth = raters
    run(files[0], "--out", tmp_path / "clip.annotation", "--rate", "5", "--targets", "arousal")
    labels = read_labels(tmp_path / "clip.annotation")
    assert labels.targets == ("arousal",)
    assert len(labels.time_s) == N // 2
    pairs = np.roll(truth[:, 1], 8).reshape(-1, 2).mean(1)
    assert np.abs(labels.values[:, 0] - pairs).mean() < 0.05


def test_files_of_one_target_each_are_raters_of_it_where_they_share_it(tmp_path):
    for rater, shift in (("ann", 0.1), ("bob", 0.3)):
        for target in ("valence", "arousal"):
            (tmp_path / rater / target).mkdir(parents=True)
            rows = "".join(f"{i * 100},{shift},1\n" for i in range(20))
            (tmp_path / rater / target / "7.csv").write_text(f"timestamp,value,segment_id\n{rows}")
    files = sorted(tmp_path.glob("*/*/7.csv"))
    run(*files, "--out", tmp_path / "gold.csv", "--how", "mean", "--report", tmp_path / "gold.json")
    gold = pd.read_csv(tmp_path / "gold.csv")
    assert list(gold)[2:] == ["arousal", "valence"]
    assert gold["valence"].to_numpy() == pytest.approx(0.2)
    assert len(json.loads((tmp_path / "gold.json").read_text())["valence"]["raters"]) == 2


def test_labels_of_a_videos_frames_have_a_row_per_frame(raters, tmp_path):
    files, _, _ = raters
    times = (np.arange(30) ** 2 * 1e-3 + np.arange(30) / 25).tolist()
    video = make_clip(tmp_path / "clip.mp4", greys(30), times=times)
    run(files[1], "--out", tmp_path / "clip.txt", "--video", video)
    rows = (tmp_path / "clip.txt").read_text().splitlines()
    assert rows[0] == "valence,arousal"
    assert len(rows) == 31
    run(tmp_path / "clip.txt", "--video", video, "--out", tmp_path / "back.csv", "--rate", "25")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--delay", "soon"], "the delay can't be 'soon'"),
        (["--delay", "-1"], "the delay can't be '-1'"),
        (["--delay", "mi"], "features are needed"),
        (["--targets", "joy"], "no file has labels for joy"),
        (["--format", "novva"], "did you mean 'nova'"),
        (["--target", "joy"], "several targets in it"),
        (["--rate", "0"], "--rate: 0 is out of range -> give 0.001 to 1000"),
        (["--rate", "1e9"], "--rate: 1000000000 is out of range -> give 0.001 to 1000"),
        (["--limits", "1", "-1"], "limits must be the lowest and the highest value"),
        (["--longest-delay", "-1"], "--longest-delay: -1 is out of range -> give 0.001 to 60"),
    ],
)
def test_wrong_options_are_told(raters, tmp_path, capsys, args, said):
    files, _, _ = raters
    with pytest.raises(SystemExit) as ended:
        run(*files, "--out", tmp_path / "gold.csv", *args)
    assert ended.value.code in (2, 7)
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "gold.csv").exists()


def test_a_suffix_that_says_nothing_is_answered_with_those_that_do(raters, tmp_path, capsys):
    files, _, _ = raters
    with pytest.raises(SystemExit):
        run(files[0], "--out", tmp_path / "gold.xlsx")
    assert ".eaf" in capsys.readouterr().err


def test_a_rater_counts_once(raters, tmp_path, capsys):
    files, _, _ = raters
    with pytest.raises(SystemExit):
        run(files[0], files[1], files[0], "--out", tmp_path / "gold.csv")
    assert "a file is named twice" in capsys.readouterr().err


def written(path, text):
    path.write_text(text)
    return path


def test_what_was_written_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"time_s": np.arange(500) / 25, "valence": rng.uniform(-1, 1, 500).round(6)})
    table.to_csv(tmp_path / "a.csv", index=False)
    names = ["b.csv", "c.eaf", "d.TextGrid", "e.annotation", "f.csv"]
    for before, after in zip(["a.csv", *names], names, strict=False):
        run(tmp_path / before, "--out", tmp_path / after)
    again = pd.read_csv(tmp_path / "f.csv")
    assert again["valence"].to_numpy() == pytest.approx(table["valence"].to_numpy(), abs=2e-6)
    assert again["time_s"].to_numpy() == pytest.approx(table["time_s"].to_numpy(), abs=1e-3)


def test_what_is_unknown_of_one_target_is_known_of_another(tmp_path):
    file = written(tmp_path / "a.csv", "time_s,valence,arousal\n0,.1,.5\n1,.2,\n2,.3,.7\n3,,.8\n")
    run(file, "--out", tmp_path / "b.csv")
    gold = pd.read_csv(tmp_path / "b.csv")
    assert gold["valence"].tolist()[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert gold["arousal"].tolist()[2:] == pytest.approx([0.7, 0.8])
    assert gold.isna().to_numpy().sum() == 2


def test_a_prediction_is_turned_into_another_format(tmp_path):
    file = written(
        tmp_path / "p.csv", "time_s,valence,valence_raw,weights\n0,.1,.2,demonstration\n1,.3,.2,demonstration\n"
    )
    run(file, "--targets", "valence", "--out", tmp_path / "p.eaf")
    assert read_labels(tmp_path / "p.eaf").values[:, 0].tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_a_target_with_any_name_is_written_drawn_and_told(tmp_path, capsys):
    file = written(tmp_path / "a.csv", 'time_s,val/anna,"[b]$x"\n0,.1,.2\n1,.3,.2\n')
    second = written(tmp_path / "$c \x0e\u4e2d.csv", file.read_text())
    run(file, second, "--out", tmp_path / "b.annotation", "--plot", tmp_path / "b.png")
    files = {f.name for f in tmp_path.glob("b.*.annotation")}
    assert files == {"b.val_anna.annotation", "b._b__x.annotation"}
    said = capsys.readouterr()
    assert "[b]$x" in said.out
    assert all(file in said.err for file in files)


def test_what_is_left_out_of_a_file_is_named(tmp_path, capsys):
    text = ",time_s,valence,mood\n0,-1,.1,good\n1,0,.1,good\n2,1,.2,bad\n3,2,.3,bad\n"
    file = written(tmp_path / "a[x].csv", text)
    other = written(tmp_path / "b.csv", "time_s,joy\n0,1\n1,1\n")
    run(file, other, "--out", tmp_path / "c.csv", "--targets", "valence")
    said = " ".join(capsys.readouterr().err.split())
    assert "a[x].csv: left out, because they hold no numbers: columns mood" in said
    assert "a[x].csv: left out, because it has no title: column 1" in said
    assert "a[x].csv: left out: 1 labels before 0 s" in said
    assert "b.csv: left out: it has none of these --targets" in said


def test_a_rater_who_contradicts_all_others_is_named(tmp_path, capsys):
    for name, sign in (("ann", 1), ("bob", 1), ("cy", -1)):
        rows = "".join(f"{i / 10},{sign * value:.3f}\n" for i, value in enumerate(course(1)))
        written(tmp_path / f"{name}.csv", f"time_s,valence\n{rows}")
    files = [tmp_path / f"{name}.csv" for name in ("ann", "bob", "cy")]
    run(*files, "--out", tmp_path / "gold.csv")
    assert "valence: not counted, because they contradict the mean of all raters: cy" in capsys.readouterr().err
    run(*files, "--out", tmp_path / "gold.csv", "--how", "mean")
    assert "not counted" not in capsys.readouterr().err


def test_a_pause_in_one_target_stays_unknown_in_every_format(tmp_path):
    valence = written(tmp_path / "v.csv", "time_s,valence\n" + "".join(f"{i / 10},0.1\n" for i in range(30)))
    steps = [*range(5), *range(25, 30)]
    arousal = written(tmp_path / "a.csv", "time_s,arousal\n" + "".join(f"{i / 10},-0.8\n" for i in steps))
    run(valence, arousal, "--out", tmp_path / "both.csv")
    both = pd.read_csv(tmp_path / "both.csv")
    assert both["valence"].notna().all()
    assert np.flatnonzero(both["arousal"].notna()).tolist() == steps
    run(arousal, "--out", tmp_path / "a.eaf")
    assert len(read_labels(tmp_path / "a.eaf").time_s) == len(steps)


@pytest.mark.parametrize(
    ("text", "args", "said"),
    [
        (
            "time_s,valence\n0,.1\n.001,.2\n.002,.2\n604800,.2\n",
            ["--out", "b.csv"],
            "a: labels until 604800 s at 1000 per second",
        ),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "b.csv", "--delay", "0_1"], "the delay can't be '0_1'"),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "a.csv"], "it is an input"),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "b.csv", "--report", "b.csv"], "it is the output of"),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "b.csv", "--plot", "b.xyz"], "must end in .png, .pdf, .svg"),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "b.csv", "--delay", "25"], "nothing is left of valence"),
        ("time_s,valence\n-5,.1\n-4,.2\n", ["--out", "b.csv"], "nothing is left of valence"),
        ("time_s,valence\n0,.1\n1,.2\n", ["--out", "b.txt"], "give the video by --video"),
        (
            "time_s,valence\n0,.1\n1,.2\n",
            ["--out", "b.csv", "--targets", "valence", "joy"],
            "no file has labels for joy",
        ),
        (
            "time_s,valence\n0,.1\n1,.2\n",
            ["--out", "b.csv", "--longest-delay", "inf"],
            "--longest-delay: inf is out of range -> give 0.001 to 60",
        ),
    ],
)
def test_what_would_lose_something_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, text, args, said
):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path / "a.csv", text)
    with pytest.raises(SystemExit):
        run(file.name, *args)
    assert said in " ".join(capsys.readouterr().err.split())
    assert [f.name for f in tmp_path.iterdir()] == ["a.csv"]
    assert file.read_text() == text


def test_a_table_of_predictions_has_its_estimates_alone_as_targets(tmp_path):
    beside = "valence_low,valence_high,interval_level,valence_raw,arousal_raw,face_present,face_attended"
    titles = f"time_s,valence,arousal,{beside}"
    file = written(tmp_path / "p.csv", titles + "\n0,.1,.2,-.5,.5,.9,.1,.2,1,0.5\n1,.3,.2,-.5,.5,.9,.1,.2,1,0.5\n")
    assert read_labels(file).targets == ("valence", "arousal")


def test_raters_who_contradict_each_other_are_told_of(tmp_path, capsys):
    anna = written(tmp_path / "anna.csv", "time_s,valence\n0,.1\n1,.5\n2,-.4\n3,.2\n")
    dora = written(tmp_path / "dora.csv", "time_s,valence\n0,-.1\n1,-.5\n2,.4\n3,-.2\n")
    run(anna, dora, "--out", tmp_path / "g.csv")
    said = capsys.readouterr()
    assert "the raters contradict each other" in said.err
    assert "nan" not in said.out


class TestTimesStay:
    """No label moves further than 50 ms without a word."""

    INTERVALS = "time_s,until_s,valence\n0.6,2.6,-0.5\n3.0,5.0,0.5\n"
    PHASE = "time_s,until_s,valence\n0.4,1.4,-0.5\n1.4,2.4,0.5\n2.4,3.4,0.9\n"

    def edges(self, tmp_path, name, *files, args=()):
        run(*files, "--out", tmp_path / name, *args)
        track = read_labels(tmp_path / name)
        known = np.isfinite(track.values[:, 0])
        spans = np.stack([*intervals(track), track.values[:, 0]], 1)[known]
        merged = [spans[0].tolist()]
        for start, end, value in spans[1:].tolist():
            if value == merged[-1][2] and abs(start - merged[-1][1]) < 1e-6:
                merged[-1][1] = end
            else:
                merged.append([start, end, value])
        return np.array(merged)

    @pytest.mark.parametrize("suffix", [".csv", ".eaf", ".TextGrid", ".annotation"])
    def test_of_one_file_in_every_format(self, tmp_path, suffix):
        for text in (self.INTERVALS, self.PHASE):
            file = written(tmp_path / "a.csv", text)
            expected = np.array([row.split(",") for row in text.splitlines()[1:]], float)
            found = self.edges(tmp_path, f"b{suffix}", file)
            np.testing.assert_allclose(found, expected, atol=2e-6)

    def test_in_carmas_bins(self, tmp_path):
        file = written(tmp_path / "a.csv", self.INTERVALS)
        found = self.edges(tmp_path, "b.csv", file, args=["--format", "carma"])
        np.testing.assert_allclose(found, [[0.6, 2.6, -0.5], [3, 5, 0.5]], atol=2e-6)

    @pytest.mark.parametrize("form", ["csv", "muse"])
    def test_of_moments(self, tmp_path, form):
        file = written(tmp_path / "a.csv", "time_s,valence\n0.9,.1\n1.9,.5\n2.95,.9\n")
        run(file, "--out", tmp_path / "b.csv", "--format", form)
        assert read_labels(tmp_path / "b.csv").time_s.tolist() == pytest.approx([0.9, 1.9, 2.95])

    def test_of_raters_who_share_a_phase_at_their_own_rate(self, tmp_path):
        files = [written(tmp_path / f"{name}.csv", self.PHASE) for name in ("ann", "bob")]
        run(*files, "--out", tmp_path / "gold.csv")
        gold = pd.read_csv(tmp_path / "gold.csv")
        assert gold["time_s"].tolist() == pytest.approx([0.4, 1.4, 2.4])
        assert gold["valence"].tolist() == pytest.approx([-0.5, 0.5, 0.9])

    def test_of_raters_whose_steps_differ_at_a_rate_that_fits_both(self, tmp_path):
        for name, phase in (("ann", 0), ("bob", 0.25)):
            rows = "".join(f"{i / 2 + phase},0.{i}\n" for i in range(8))
            written(tmp_path / f"{name}.csv", f"time_s,valence\n{rows}")
        run(tmp_path / "ann.csv", tmp_path / "bob.csv", "--out", tmp_path / "gold.csv", "--how", "mean")
        gold = pd.read_csv(tmp_path / "gold.csv")
        assert gold["time_s"].tolist()[:3] == [0, 0.25, 0.5]
        assert gold["valence"].tolist()[:4] == pytest.approx([0, 0, 0.05, 0.1])

    def test_after_a_delay_that_is_no_whole_step(self, tmp_path):
        file = written(tmp_path / "a.csv", "time_s,until_s,valence\n0,1,0.1\n1,2,0.2\n2,3,0.3\n")
        found = self.edges(tmp_path, "b.csv", file, args=["--delay", "0.5"])
        np.testing.assert_allclose(found[1:, :2], [[0.5, 1.5], [1.5, 2.5]], atol=1e-6)

    def test_or_the_user_is_told_by_how_much_they_moved(self, tmp_path, capsys):
        file = written(tmp_path / "a.csv", self.INTERVALS)
        run(file, "--out", tmp_path / "b.csv", "--rate", "0.5")
        assert "a: labels were moved by up to 1 s, onto steps of 2 s" in " ".join(capsys.readouterr().err.split())
        run(file, "--out", tmp_path / "b.csv", "--rate", "5")
        assert "moved" not in capsys.readouterr().err
        run(file, "--out", tmp_path / "b.csv", "--rate", "1", "--delay", "1.3")
        said = " ".join(capsys.readouterr().err.split())
        assert "valence: moved by 1 s, not 1.3, since steps are 1 s: give a higher --rate" in said

    def test_and_what_holds_across_the_beginning_begins_there(self, tmp_path):
        file = written(tmp_path / "a.csv", "time_s,until_s,valence\n-2,-1,0.1\n-0.4,0.6,0.2\n0.6,1.6,0.3\n")
        found = self.edges(tmp_path, "b.csv", file)
        np.testing.assert_allclose(found, [[0, 0.6, 0.2], [0.6, 1.6, 0.3]], atol=1e-6)
