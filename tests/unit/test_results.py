"""What a comparison came to: outcomes survive the disk to the bit, and every number of the tables can be checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgate.compare.outcome import Outcome
from avgate.compare.statistics import holm, paired_bootstrap
from avgate.compare.stress import Condition, conditions
from avgate.compare.tables import compare, markdown, write_results
from avgate.core.metrics import ccc, ccc_of, moments
from avgate.features.corruption import CORRUPTIONS

TARGETS = ("valence", "arousal")
CLIPS = tuple(f"clip{i}" for i in range(8))
LABELS = np.random.default_rng(0).uniform(-1, 1, (8, 30, 2))
BOTH = ("audio", "video")


def estimates(error: float, seed: int) -> np.ndarray:
    """Of all clips, [8 30 2]."""
    return LABELS + error * np.random.default_rng(seed).standard_normal(LABELS.shape)


def measured(found: np.ndarray) -> np.ndarray:
    """Their moments, [8 2 6]."""
    return np.array([[moments(e[:, k], y[:, k]) for k in range(2)] for e, y in zip(found, LABELS, strict=True)])


def outcome(error: float = 0.3, seed: int = 0, stressed: tuple[str, ...] = (), gates: tuple[str, ...] = ()) -> Outcome:
    """A training with that error on clean clips, and with more on corrupted ones, the more the larger their share."""
    by_condition = {
        c.name: measured(estimates(error + c.share, 100 * seed + i)) for i, c in enumerate(conditions(stressed))
    }
    auroc = {
        f"{m} {kind}": {gate: 0.5 + 0.01 * i + 0.1 * seed for i, gate in enumerate(gates)}
        for m in stressed
        for kind in CORRUPTIONS
        if gates
    }
    return Outcome(
        0.1 + 0.2, f"train.lr=1e-{seed}", TARGETS, CLIPS, measured(estimates(error, seed)), by_condition, auroc, 90.0
    )


def assert_same(one: Outcome, other: Outcome) -> None:
    """Equal to the bit, NaN among it."""
    plain = replace(one, clean=np.zeros(0), stressed={}), replace(other, clean=np.zeros(0), stressed={})
    assert repr(plain[0]) == repr(plain[1])
    assert one.stressed.keys() == other.stressed.keys()
    for a, b in [(one.clean, other.clean), *((m, other.stressed[name]) for name, m in one.stressed.items())]:
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


# ---- on disk


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(outcome(), id="clean"),
        pytest.param(outcome(stressed=BOTH, gates=("voice_attended",)), id="stressed"),
        pytest.param(replace(outcome(), validation=float("nan"), setting=""), id="without validation"),
        pytest.param(replace(outcome(), auroc={"audio noise": {"voice": float("nan")}}), id="unknown gate"),
        pytest.param(replace(outcome(), clean=measured(estimates(0.1, 1))[::2, ::-1]), id="a view"),
        pytest.param(replace(outcome(), clips=("übung 1", 'a "b"\n')), id="odd names"),
    ],
)
def test_an_outcome_comes_back_from_its_file_to_the_bit(tmp_path, whole):
    whole.save(tmp_path / "run.safetensors", "this one")
    assert_same(Outcome.load(tmp_path / "run.safetensors", "this one"), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_time_that_is_not_known_is_said_to_be_unknown(clean):
    held = clean | {"far": [replace(o, seconds=float("nan")) for o in clean["far"]]}
    *_, far = cells(markdown(results(held, "mine")))
    assert far[-1] == "unknown"


def test_an_outcome_of_anything_else_is_none(tmp_path):
    file = tmp_path / "run.safetensors"
    assert Outcome.load(file, "this one") is None, "there is no file"
    outcome().save(file, "this one")
    for other in ("that one", "", "this one "):
        assert Outcome.load(file, other) is None
    replace(outcome(), setting="newer").save(file, "that one")
    assert Outcome.load(file, "this one") is None
    assert Outcome.load(file, "that one").setting == "newer"


def test_a_broken_file_is_none(tmp_path):
    file = tmp_path / "run.safetensors"
    outcome().save(file, "this one")
    whole = file.read_bytes()
    for size in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert Outcome.load(file, "this one") is None, size
    for content in (b"not a safetensors file, but long enough", b"\xff" * 200, whole + b"more"):
        file.write_bytes(content)
        assert Outcome.load(file, "this one") is None
    assert Outcome.load(tmp_path, "this one") is None, "a folder"


# ---- of several folds


def test_folds_are_joined_clip_by_clip_and_their_scores_averaged():
    parts = [outcome(0.3, 0, ("audio",), ("voice_weight",)), outcome(0.5, 1, ("audio",), ("voice_weight",))]
    parts[0] = replace(parts[0], clips=CLIPS[:3], clean=parts[0].clean[:3], validation=0.25)
    parts[1] = replace(parts[1], clips=CLIPS[3:], clean=parts[1].clean[3:], validation=0.75)
    for i, part in enumerate((slice(3), slice(3, 8))):
        parts[i] = replace(parts[i], stressed={name: m[part] for name, m in parts[i].stressed.items()})
    whole = Outcome.joined(parts)
    assert (whole.validation, whole.setting) == (0.5, "train.lr=1e-0, train.lr=1e-1")
    assert (whole.targets, whole.clips) == (TARGETS, CLIPS)
    assert whole.seconds == 180.0
    assert whole.clean.tolist() == [*parts[0].clean.tolist(), *parts[1].clean.tolist()]
    assert whole.stressed.keys() == parts[0].stressed.keys()
    for name, found in whole.stressed.items():
        assert found.tolist() == [*parts[0].stressed[name].tolist(), *parts[1].stressed[name].tolist()]
    assert whole.auroc == {f"audio {kind}": {"voice_weight": pytest.approx(0.55)} for kind in CORRUPTIONS}


def test_a_setting_that_several_folds_chose_is_named_once():
    assert Outcome.joined([replace(outcome(), setting=s) for s in ("a", "b", "a")]).setting == "a, b"


def test_one_fold_alone_stays_as_it_is():
    one = outcome(0.3, 0, BOTH, ("voice_weight",))
    assert_same(Outcome.joined([one]), one)


def test_a_fold_in_which_nothing_can_be_said_of_a_gate_does_not_count():
    parts = [replace(outcome(), auroc={"audio noise": {"voice": area}}) for area in (0.75, float("nan"))]
    assert Outcome.joined(parts).auroc == {"audio noise": {"voice": 0.75}}


# ---- tables


def of_seeds(**changes: Any) -> list[Outcome]:
    return [outcome(seed=seed, **changes) for seed in (0, 1)]


def results(held: dict[str, list[Outcome]], reference: str) -> dict[str, Any]:
    return {"corpus": "hazumi", "folds": 5, "seeds": [0, 1]} | compare(held, reference)


def cells(text: str) -> list[list[str]]:
    """The rows of every table in it."""
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


@pytest.fixture(scope="module")
def clean() -> dict[str, list[Outcome]]:
    return {"mine": of_seeds(error=0.2), "near": of_seeds(error=0.21), "far": of_seeds(error=0.7)}


@pytest.fixture(scope="module")
def stressed() -> dict[str, list[Outcome]]:
    """A model of both modalities with two gates, and one that reads audio alone and has none."""
    both = of_seeds(error=0.2, stressed=BOTH, gates=("voice_attended", "face_attended"))
    return {"audio": of_seeds(error=0.4, stressed=("audio",)), "both": both}


def test_scores_are_pooled_over_clips_and_differences_are_those_from_the_reference(clean):
    found = results(clean, "mine")
    assert (found["reference"], found["targets"], found["clips"]) == ("mine", list(TARGETS), 8)
    assert list(found["fusions"]) == ["mine", "near", "far"]
    for name, error in (("mine", 0.2), ("near", 0.21), ("far", 0.7)):
        row = found["fusions"][name]
        assert row["validation"] == [0.1 + 0.2] * 2
        for k, target in enumerate(TARGETS):
            pooled = [ccc(estimates(error, s)[..., k].ravel(), LABELS[..., k].ravel()) for s in (0, 1)]
            assert row["ccc"][target] == pytest.approx(pooled, abs=1e-12)
    assert found["fusions"]["mine"]["against"] == {}
    for k, target in enumerate(TARGETS):
        moments_of = {name: np.stack([o.clean[:, k] for o in outcomes]) for name, outcomes in clean.items()}
        differences = {name: paired_bootstrap(moments_of[name], moments_of["mine"]) for name in ("near", "far")}
        corrected = holm([d.p for d in differences.values()])
        for (name, difference), p in zip(differences.items(), corrected, strict=True):
            assert found["fusions"][name]["against"][target] == vars(difference) | {"p_holm": p}
    assert found["fusions"]["far"]["against"]["valence"]["effect"] < -0.1


def test_the_table_of_scores_says_them_with_deviation_interval_and_corrected_p(clean):
    found = results(clean, "mine")
    text = markdown(found)
    assert "5-fold cross-validation by person, 8 clips, seeds 0, 1" in text
    head, _, mine, _, far = cells(text)
    assert head == ["fusion", "valence", "valence, less mine", "p", "arousal", "arousal, less mine", "p", "minutes"]
    assert (mine[-1], far[-1]) == ("3.0", "3.0")
    assert mine[0] == "mine"
    assert mine[2:4] == mine[5:7] == ["", ""]
    scores, against = (found["fusions"]["far"][part]["arousal"] for part in ("ccc", "against"))
    mean, half = (scores[0] + scores[1]) / 2, abs(scores[0] - scores[1]) / 2
    assert far[0] == "far"
    assert far[4] == f"{mean:.3f} ± {half:.3f}"
    assert far[5] == f"{against['effect']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]"
    assert far[6] == f"{against['p_holm']:.3f}"


def test_under_stress_curves_areas_and_drops_are_told_of_every_seed(stressed):
    found = results(stressed, "both")
    assert (found["shares"], found["corrupted"]) == ([0, 0.25, 0.5, 0.75, 1], ["audio", "video"])
    for name, outcomes in stressed.items():
        row = found["fusions"][name]["stress"]
        assert set(row) == {f"{m} {kind}" for m in BOTH for kind in CORRUPTIONS}
        for what, by_target in row.items():
            for k, target in enumerate(TARGETS):
                for seed, o in enumerate(outcomes):
                    names = [Condition(*what.split(), share).name for share in (0.25, 0.5, 0.75, 1.0)]
                    line = [ccc_of(x[:, k].sum(0)) for x in (o.clean, *(o.stressed.get(n, o.clean) for n in names))]
                    assert by_target[target]["curve"][seed] == pytest.approx(line, abs=1e-12)
                    whole = (line[0] / 2 + line[1] + line[2] + line[3] + line[4] / 2) / 4
                    assert by_target[target]["area"][seed] == pytest.approx(whole, abs=1e-12)
                    assert by_target[target]["drop"][seed] == pytest.approx(line[0] - line[2], abs=1e-12)
    untouched = found["fusions"]["audio"]["stress"]["video noise"]["valence"]
    assert untouched["drop"] == [0, 0]
    assert untouched["area"] == pytest.approx(found["fusions"]["audio"]["ccc"]["valence"])


def test_tables_under_stress_hold_means_over_seeds_and_over_kinds(stressed):
    found = results(stressed, "both")
    text = markdown(found)
    kinds = list(CORRUPTIONS)
    heads = [row for row in cells(text) if row[0] == "fusion"]
    assert len(heads) == 1 + 2 * 3
    assert heads[1:] == [["fusion", *kinds, "mean"]] * 6
    rows = [row for row in cells(text) if row[0] == "both"][1:]  # area, half, all; first of audio, then of video
    numbers = {  # of both targets, [kinds k], means over seeds
        part: np.array(
            [
                [np.mean(found["fusions"]["both"]["stress"][f"video {kind}"][t][part], axis=0) for t in TARGETS]
                for kind in kinds
            ]
        )
        for part in ("area", "curve", "drop")
    }

    def told(values: np.ndarray) -> list[str]:
        return [f"{v:.3f} / {a:.3f}" for v, a in [*values, values.mean(0)]]

    halves, drops = told(numbers["curve"][..., 2]), told(numbers["drop"])
    assert rows[3][1:] == told(numbers["area"])
    assert rows[4][1:] == [f"{half} ({drop})" for half, drop in zip(halves, drops, strict=True)]
    assert rows[5][1:] == told(numbers["curve"][..., 4])


def test_a_lost_modality_is_compared_with_a_model_that_never_had_it(stressed):
    found = results(stressed, "both")
    assert found["fusions"]["audio"]["against_alone"] == {}
    against = found["fusions"]["both"]["against_alone"]
    assert set(against) == {"video absent", "video noise"}  # there is no model of video alone
    for k, target in enumerate(TARGETS):
        mine = np.stack([o.stressed["video noise 1"][:, k] for o in stressed["both"]])
        alone = np.stack([o.clean[:, k] for o in stressed["audio"]])
        assert against["video noise"][target] == pytest.approx(vars(paired_bootstrap(mine, alone)))
    assert against["video noise"]["valence"]["high"] < 0, "more error than the model of audio, which sees no corruption"
    head, _, row = cells(markdown(found).partition("A modality lost in all steps")[2].partition("Does the gate")[0])
    assert head == ["model", "video absent", "video noise"]
    assert row[0] == "both"
    assert f"{against['video absent']['valence']['effect']:+.3f}" in row[1]


def test_the_table_of_gates_has_a_row_per_gate_and_none_for_models_without(stressed):
    found = results(stressed, "both")
    assert found["fusions"]["audio"]["auroc"] == {}
    assert found["fusions"]["both"]["auroc"]["video frozen"]["face_attended"] == pytest.approx([0.51, 0.61])
    head, _, *rows = cells(markdown(found).partition("Does the gate see it?")[2])
    assert head == ["gate", *(f"{m} {kind}" for m in BOTH for kind in CORRUPTIONS)]
    assert rows == [["both: voice_attended", *["0.55"] * 10], ["both: face_attended", *["0.56"] * 10]]


def test_a_gate_of_which_nothing_can_be_said_is_shown_as_unknown(stressed):
    (first, *others), unknown = stressed["both"], {"voice_attended": float("nan"), "face_attended": 0.5}
    held = stressed | {"both": [replace(first, auroc={**first.auroc, "audio absent": unknown}), *others]}
    found = results(held, "both")
    assert found["fusions"]["both"]["auroc"]["audio absent"]["voice_attended"][0] is None
    text = markdown(found)
    (row,) = [row for row in cells(text) if row[0] == "both: voice_attended"]
    assert row[1:] == ["nan", *["0.55"] * 9]


def test_results_are_written_as_strict_json_beside_the_tables_and_a_picture_of_the_curves(tmp_path, clean, stressed):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for name, held, reference in (("clean", clean, "mine"), ("stressed", stressed, "both")):
        out = tmp_path / name
        out.mkdir()
        found = results(held, reference)
        write_results(found, out)
        assert json.loads((out / "results.json").read_text(), parse_constant=refuse) == found
        assert (out / "results.md").read_text() == markdown(found)
    assert names(tmp_path / "clean") == ["results.json", "results.md"]
    assert names(tmp_path / "stressed") == ["curves.png", "results.json", "results.md"]
    assert (tmp_path / "stressed" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
