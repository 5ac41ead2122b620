"""Three modalities go the whole way: training, evaluation, stress, and files and a report that name each."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from avgate.compare.comparison import compare
from avgate.compare.protocol import Protocol, Variant
from avgate.compare.stress import SHARES, stress
from avgate.core.gates import Gate
from avgate.corpora import CORPORA
from avgate.evaluation.evaluate import evaluate
from avgate.evaluation.examples import load_examples
from avgate.features.corruption import CORRUPTIONS
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.overrides import override
from avgate.report.html import write_report
from avgate.report.writers.csv import CsvWriter
from avgate.training.train import train
from tests.three_modalities import COLUMNS, RECIPE, ThreeModalities

# The golden tests hold the equations of three modalities in every run.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return ThreeModalities(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def store(corpus):
    return FeatureStore(corpus.root / "features")


@pytest.fixture(scope="module")
def estimator(corpus, store):
    train(corpus, store, RECIPE, corpus.root / "run", accelerator="cpu")
    return Estimator(corpus.root / "run" / "checkpoint.safetensors")


def test_a_model_learns_from_the_third_modality_and_is_evaluated(corpus, store, estimator):
    scores = evaluate(estimator, corpus, store)
    assert scores["clips"] == 2
    assert scores["raw"]["pooled"]["mean"]["ccc"] > 0.4, "only the text says what the labels are"


@pytest.mark.slow
def test_stress_corrupts_each_of_three_modalities_and_sees_what_the_model_loses(corpus, store, estimator):
    validation, _ = load_examples(corpus, store, RECIPE, "validation")
    test, _ = load_examples(corpus, store, RECIPE, "test")
    found = stress(estimator, validation, test, tuple(COLUMNS), np.zeros(2))
    assert len(found.moments) == 3 * len(CORRUPTIONS) * len(SHARES)
    assert {"voice_reliability", "face_reliability", "text_reliability"} <= set(found.auroc["text absent"])


@pytest.mark.long  # test_results.py shows the same of made-up outcomes of three modalities
def test_a_comparison_holds_a_lost_modality_against_the_best_model_of_what_is_left(corpus, monkeypatch, tmp_path):
    monkeypatch.setitem(CORPORA, "three", ThreeModalities)
    recipe = override(RECIPE, "train.epochs=1")
    variants = [Variant(name, recipe.with_fusion(name)) for name in ("rhgrjca", "video")]
    protocol = Protocol("three", corpus.root, corpus.root / "features", folds=0, stress=True, accelerator="cpu")
    results = compare(protocol, variants, [0], tmp_path, reference="rhgrjca", workers=1)
    lost = results["fusions"]["rhgrjca"]["against_alone"]
    assert set(lost) == {f"{m} {kind}" for m in ("audio", "text") for kind in ("absent", "noise")}
    assert lost["text absent"]["valence"]["model"] == "video"
    assert "text absent" in (tmp_path / "results.md").read_text()


def test_a_trace_names_the_third_modality_in_gates_files_and_report(corpus, store, estimator, tmp_path):
    (example, _), _ = load_examples(corpus, store, RECIPE, "test")
    trace = estimator.trace(example.features, example.features.grid.times(len(example.features)))
    assert set(trace.present) == {"audio", "face", "text"}
    assert not trace.present["text"][:3].any()
    assert Gate("attended", "text") in trace.gates

    CsvWriter().write(trace, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        columns = next(csv.reader(file))
    assert {"text_present", "text_attended", "text_reliability", "text_iteration_1"} <= set(columns)
    write_report(trace, tmp_path / "t.html")
    page = (tmp_path / "t.html").read_text()
    assert "voice, face and text" in page
    assert "whether there are words" in page
