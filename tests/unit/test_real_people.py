"""The page on real people: who is left out of which model, and what is made of the estimates."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avgate.core.types import SAMPLE_RATE
from avgate.models.recipes import recipe_named
from tests.sounds import speech
from tools import perturb, real_people_page
from tools.people import PARTS, VALIDATION, of_weights, spread, weights
from tools.real_people import FOLDS, Fold
from tools.real_people_page import CONTRASTS, Estimates, auc, chosen, figures, note, page, widths

EMOTIONS = {
    "still": ("happiness", "sadness", "anger", "fear", "disgust", "surprise", "neutral"),
    "voice": ("happiness", "sadness", "anger", "fear", "disgust", "boredom", "neutral"),
}


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for four people."""
    monkeypatch.setattr(real_people_page, "DRAWS", 100)


def estimates(quality: float, seed: int = 0) -> Estimates:
    """Estimates of twelve people, drawn towards the right place."""
    random = np.random.default_rng(seed)
    places = {"happiness": (1, 1), "surprise": (0, 1), "neutral": (0, 0), "boredom": (-1, -1), "sadness": (-1, -1)}
    kinds = {"still": ("", *perturb.PICTURE), "voice": ("", *perturb.SOUND)}
    rows = []
    for source, emotions in EMOTIONS.items():
        for i, person in enumerate(("03", "08", "09", "10")):
            for emotion in emotions:
                for kind in kinds[source]:
                    ending = "-" + kind.replace(" ", "-").lower() if kind else ""
                    place = quality * np.array(places.get(emotion, (-1, 1))) / 2 + random.normal(0, 0.1, 2)
                    row = {
                        "clip": f"{person}{emotion}{ending}",
                        "source": source,
                        "group": f"emodb{person}",
                        "fold": i % 2,
                    }
                    row |= {"emotion": emotion, "copy": kind, "yaw": random.uniform(0, 30)}
                    row |= {"valence": place[0], "arousal": place[1], "valence_held": 0.9, "valence_width": 1.0}
                    rows.append(row | {"arousal_held": 0.8, "arousal_width": 1.2})
    return {"people": rows, "rendered": {"valence": 0.7, "arousal": 0.8}}


def test_everybody_is_left_out_of_one_model_and_in_none_of_its_other_splits():
    for part in range(PARTS):
        row = {"part": str(part), "split": "train", "copy": ""}
        splits = [Fold(k).split(row) for k in range(FOLDS)]
        assert splits.count("test") == 1
        assert splits.count("validation") <= 1
        trained = [Fold(k).split(row | {"copy": "training"}) for k in range(FOLDS)]
        assert {s for s, t in zip(splits, trained, strict=True) if t == "train"} == {"train"}
        tested = [Fold(k).split(row | {"copy": "telephone"}) for k in range(FOLDS)]
        assert [s == "test" for s in splits] == [t == "test" for t in tested]


def test_rendered_clips_keep_their_own_split_in_every_model():
    row = {"part": "", "split": "validation", "copy": ""}
    assert {Fold(k).split(row) for k in range(FOLDS)} == {"validation"}


def test_nobody_on_whom_the_default_weights_are_validated_is_trained_on():
    for source, parts in VALIDATION.items():
        for part in range(PARTS):
            row = {"source": source, "part": part, "copy": ""}
            assert of_weights(row) == ("validation" if part in parts else "train")
            assert of_weights(row | {"copy": "training"}) == ("" if part in parts else "train")
            assert not of_weights(row | {"copy": "telephone"})
            if source == "still":
                assert of_weights(row | {"source": "film", "copy": "training"}) == ("" if part in parts else "train")


def test_people_are_spread_evenly_and_always_alike():
    people = [f"person{i}" for i in range(47)]
    parts = spread(people)
    assert parts == spread(reversed(people))
    assert {list(parts.values()).count(part) for part in range(PARTS)} == {4, 5}


def test_emotions_have_their_shares_of_an_epoch_and_clips_a_mean_weight_of_1():
    emotions = {"a": "neutral", "b": "anger", "c": "anger", "d": "anger"}
    weight = weights(emotions, {"neutral": 3.0, "anger": 1.0})
    assert weight["a"] == pytest.approx(3.0)
    assert weight["b"] == weight["c"] == pytest.approx(1 / 3)


@pytest.mark.slow
def test_figures_say_what_holds_and_the_page_shows_every_row():
    good, bad = estimates(1.0), estimates(0.0)
    measured = figures(good, {"weights of 0.1.0": bad})
    areas = {m.what: m for m in measured if "AUC" in m.what}
    assert len(areas) == len(CONTRASTS)
    assert all(m.holds and m.low <= m.measured <= m.high for m in areas.values())
    assert not any(m.holds for m in figures(bad, {}) if "AUC" in m.what)
    assert next(m for m in measured if m.what == "rendered clips, CCC of valence").holds
    text = page(good, {"weights of 0.1.0": bad}, measured, recipe_named("people"))
    for kind in (*perturb.SOUND, *perturb.PICTURE):
        assert f"| {kind} |" in text
    assert "female (2 speakers)" in text
    for counted in ("person", "recording"):
        assert f"| voice, every {counted} counts the same | 0.90 | 1.00 | 0.80 | 1.20 |" in text
    assert "**doesn't hold**" not in text
    said = note(measured, widths(good))
    assert "higher in valence in 100 of 100 pairs of faces and 100 of 100 pairs of voices" in said
    assert "1.0 for a face and 1.0 for a voice wide" in said


@pytest.mark.slow
def test_people_are_compared_with_those_left_out_of_the_same_model_and_all_pairs_are_shown_beside():
    apart = estimates(1.0)
    for row in apart["people"]:
        row["valence"] += 5 * row["fold"]
    voices, contrast = chosen(apart["people"], "voice"), CONTRASTS[2]
    everybody = np.arange(len(voices))
    assert auc(voices, contrast)(everybody) == auc(chosen(estimates(1.0)["people"], "voice"), contrast)(everybody) == 1
    happy = [row["valence"] for row in voices if row["emotion"] in contrast.above]
    others = [row["valence"] for row in voices if row["emotion"] in contrast.below]
    right = np.mean([h > o for h in happy for o in others])
    assert auc(voices, contrast, across=True)(everybody)[0] == pytest.approx(right)
    assert f"| default weights, all pairs | 0.750 | 1.000 | {right:.3f} |" in page(
        apart, {}, figures(apart, {}), recipe_named("people")
    )


@pytest.mark.slow
def test_a_group_without_anybody_has_no_figure():
    ahead = estimates(1.0)
    for row in ahead["people"]:
        row["yaw"] = 0.0
    text = page(ahead, {}, figures(ahead, {}), recipe_named("people"))
    assert "| turned by more than 15 degrees (0) | ? | ? |" in text


def test_copies_of_a_voice_are_the_same_speech_through_another_line():
    sound, random = speech(2.0).astype(float), np.random.default_rng(0)
    copies = {kind: change(sound, random) for kind, change in perturb.SOUND.items()}
    assert all(len(copy) == len(sound) and np.isfinite(copy).all() for copy in copies.values())
    assert np.allclose(copies["12 dB quieter"], sound / 4)
    for kind in ("telephone", "MP3", "room noise"):  # filters turn phases, so loudness is compared, in steps of 20 ms
        loudness = [
            np.log((x[: len(x) // 320 * 320].reshape(-1, 320) ** 2).mean(1) + 1e-6) for x in (copies[kind], sound)
        ]
        assert np.corrcoef(*loudness)[0, 1] > 0.8, kind
    power = np.abs(np.fft.rfft(copies["telephone"])) ** 2
    bands = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    assert power[(bands < 100) | (bands > 4000)].sum() < 0.01 * power.sum()
    snr = 10 * np.log10((sound**2).mean() / ((copies["room noise"] - sound) ** 2).mean())
    assert snr == pytest.approx(15.0, abs=0.1)
    assert np.isfinite(perturb.channel(sound, random)).all()


def test_a_film_of_a_still_has_frames_of_one_size_that_move():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 70, 3), np.uint8))
    film = perturb.wandering(image, 5, np.random.default_rng(1))
    assert len(film) == 5
    assert {frame.size for frame in film} == {film[0].size}
    assert not np.array_equal(film[0], film[4])
