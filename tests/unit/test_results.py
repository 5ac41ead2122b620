"""The tables of a comparison: every number in them can be checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avgate.compare.outcome import Outcome
from avgate.compare.statistics import holm, paired_bootstrap
from avgate.compare.stress import Condition
from avgate.compare.tables import all_tables, gates_table, scores_table, summarise, write_tables
from avgate.core.metrics import ccc, ccc_of
from avgate.features.corruption import CORRUPTIONS
from tests.outcomes import BOTH, LABELS, TARGETS, estimates, measured, outcome


def of_seeds(**changes: Any) -> list[Outcome]:
    return [outcome(seed=seed, **changes) for seed in (0, 1)]


def results(held: dict[str, list[Outcome]], reference: str) -> dict[str, Any]:
    return {"corpus": "hazumi", "folds": 5, "seeds": [0, 1]} | summarise(held, reference)


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


def test_a_time_that_is_not_known_is_said_to_be_unknown(clean):
    held = clean | {"far": [replace(o, seconds=float("nan")) for o in clean["far"]]}
    *_, far = cells(scores_table(results(held, "mine")))
    assert far[-1] == "unknown"


def test_the_table_of_scores_says_them_with_deviation_interval_and_corrected_p(clean):
    found = results(clean, "mine")
    text = scores_table(found)
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
    text = all_tables(found).partition("**90 % intervals")[0]
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
        found_of = dict(against["video noise"][target])
        assert found_of.pop("model") == "audio"
        assert found_of == pytest.approx(vars(paired_bootstrap(mine, alone)))
    assert against["video noise"]["valence"]["high"] < 0, "more error than the model of audio, which sees no corruption"
    text = all_tables(found).partition("A modality lost in all steps")[2].partition("Does the gate")[0]
    head, _, row = cells(text)
    assert head == ["model", "video absent", "video noise"]
    assert row[0] == "both"
    assert f"{against['video absent']['valence']['effect']:+.3f}" in row[1]
    assert row[1].endswith("(audio)")


@pytest.mark.slow
def test_of_several_models_that_never_had_the_lost_modality_the_best_on_validation_clips_counts():
    three = ("audio", "video", "text")
    held = {name: of_seeds(error=0.4, stressed=(name,)) for name in three}
    held["deaf"] = of_seeds(error=0.4, stressed=("video", "text"), gates=("face_attended",))
    held["all"] = of_seeds(error=0.2, stressed=three, gates=("face_attended",))
    for name, validation in (("audio", 0.3), ("video", 0.2), ("text", 0.4), ("deaf", 0.35)):
        # Test scores say the opposite: they have no part in it.
        held[name] = [replace(o, validation=validation, clean=measured(estimates(validation, 9))) for o in held[name]]
    whole = results(held, "all")
    found = whole["fusions"]
    models = {
        name: {what: of_target["valence"]["model"] for what, of_target in row["against_alone"].items()}
        for name, row in found.items()
    }
    assert models["all"] == {
        f"{lost} {kind}": model
        for lost, model in (("audio", "text"), ("video", "text"), ("text", "audio"))
        for kind in ("absent", "noise")
    }
    assert models["deaf"] == {
        f"{lost} {kind}": model
        for lost, model in (("video", "text"), ("text", "video"))
        for kind in ("absent", "noise")
    }
    assert models["audio"] == models["video"] == models["text"] == {}
    head, _, deaf, everything = cells(gates_table(whole))
    assert (deaf[0], everything[0]) == ("deaf: face_attended", "all: face_attended")
    for column, area, other in zip(head[1:], deaf[1:], everything[1:], strict=True):
        assert other == "0.55"
        assert area == ("" if column.startswith("audio") else "0.55")


@pytest.mark.slow
def test_which_modalities_a_model_reads_counts_and_not_its_name():
    both = of_seeds(error=0.2, stressed=BOTH)
    held = {"audio": both, "voice, wide": of_seeds(error=0.4, stressed=("audio",)), "both": both}
    found = summarise(held, "both")["fusions"]
    for name in ("audio", "both"):
        assert {what: d["valence"]["model"] for what, d in found[name]["against_alone"].items()} == {
            "video absent": "voice, wide",
            "video noise": "voice, wide",
        }
    assert found["voice, wide"]["against_alone"] == {}


def test_scores_that_are_not_known_are_said_to_be_so(stressed):
    """As of a model whose estimate is the same everywhere."""
    unknown = [replace(o, clean=np.full_like(o.clean, np.nan)) for o in stressed["audio"]]
    found = results({"audio": unknown, "both": stressed["both"]}, "both")
    assert found["fusions"]["audio"]["ccc"]["valence"] == [None, None]
    _, _, audio, *_ = cells(all_tables(found))
    assert audio[1] == "nan ± nan"
    assert audio[2] == "+nan [+nan, +nan]"


def test_the_table_of_gates_has_a_row_per_gate_and_none_for_models_without(stressed):
    found = results(stressed, "both")
    assert found["fusions"]["audio"]["auroc"] == {}
    assert found["fusions"]["both"]["auroc"]["video frozen"]["face_attended"] == pytest.approx([0.51, 0.61])
    head, _, *rows = cells(gates_table(found))
    assert head == ["gate", *(f"{m} {kind}" for m in BOTH for kind in CORRUPTIONS)]
    assert rows == [["both: voice_attended", *["0.55"] * 10], ["both: face_attended", *["0.56"] * 10]]


def test_a_gate_of_which_nothing_can_be_said_is_shown_as_unknown(stressed):
    (first, *others), unknown = stressed["both"], {"voice_attended": float("nan"), "face_attended": 0.5}
    held = stressed | {"both": [replace(first, auroc={**first.auroc, "audio absent": unknown}), *others]}
    found = results(held, "both")
    assert found["fusions"]["both"]["auroc"]["audio absent"]["voice_attended"][0] is None
    text = all_tables(found)
    (row,) = [row for row in cells(text) if row[0] == "both: voice_attended"]
    assert row[1:] == ["nan", *["0.55"] * 9]


@pytest.mark.slow
def test_results_are_written_as_strict_json_beside_the_tables_and_a_picture_of_the_curves(tmp_path, clean, stressed):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for name, held, reference in (("clean", clean, "mine"), ("stressed", stressed, "both")):
        out = tmp_path / name
        out.mkdir()
        found = results(held, reference)
        write_tables(found, out)
        assert json.loads((out / "results.json").read_text(), parse_constant=refuse) == found
        assert (out / "results.md").read_text() == all_tables(found)
    assert names(tmp_path / "clean") == ["results.json", "results.md"]
    assert names(tmp_path / "stressed") == ["curves.png", "results.json", "results.md"]
    assert (tmp_path / "stressed" / "curves.png").read_bytes()[:4] == b"\x89PNG"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- intervals


def test_intervals_are_scored_over_all_clips_and_beside_constant_width(clean):
    found = results(clean, "mine")
    for name, error in (("mine", 0.2), ("far", 0.7)):
        scores = found["fusions"][name]["intervals"]["clean"]
        for k, target in enumerate(TARGETS):
            off = [np.abs(estimates(error, seed) - LABELS)[..., k] for seed in (0, 1)]
            assert scores[target]["coverage"] == pytest.approx([(x <= error).mean() for x in off])
            assert scores[target]["width"] == pytest.approx([2 * error] * 2)
            winkler = [(2 * error + 20 * np.maximum(x - error, 0)).mean() for x in off]
            assert scores[target]["winkler"] == pytest.approx(winkler)
            assert scores[target]["constant"]["width"] == pytest.approx([4 * error] * 2)
            assert scores[target]["rank"] == pytest.approx([0.1 * (k + 1), 0.1 * (k + 1) + 0.01])
    head, _, mine, *_ = cells(all_tables(found).partition("90 % intervals")[2])
    shown = dict(zip(head, mine, strict=True))
    assert shown["width"] == "0.400 / 0.400"
    assert shown["error of the surest"] == "0.200 of 0.500 / 0.200 of 0.500"


def test_intervals_under_corruption_have_a_table_for_each_modality(stressed):
    text = all_tables(results(stressed, "both"))
    for modality in BOTH:
        head, _, audio, both, *_ = cells(text.partition(f"90 % intervals, {modality} corrupted")[2])
        assert head[1:] == list(CORRUPTIONS)
        assert "; 0.60 / 0.60;" in both[1], "half as wide again as on clean clips"
        read = "; 1.20 / 1.20;" if modality == "audio" else "; 0.80 / 0.80;"
        assert read in audio[1], "what a model doesn't read changes nothing"


def test_outcomes_without_intervals_have_tables_without_them(clean):
    bare = {name: [replace(o, sure={}, told={}) for o in outcomes] for name, outcomes in clean.items()}
    assert "intervals" not in all_tables(results(bare, "mine"))
