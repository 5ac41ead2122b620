"""A comparison's trainings: what an interruption leaves, what is made of what it left, and when that is outdated."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avgate.compare import comparison, data
from avgate.compare.comparison import compare
from avgate.compare.data import Data
from avgate.compare.folds import split
from avgate.compare.outcome import Outcome
from avgate.compare.protocol import Protocol, Run, Variant
from avgate.compare.stress import CLEAN
from avgate.core import processes
from avgate.core.errors import UsageError, WorkerError
from avgate.core.metrics import moments
from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.features.store import FeatureStore
from avgate.labels.tracks import labels_on_grid
from avgate.models.checkpoint import FeatureSpec, load_checkpoint
from tests.tiny import RECIPE, TARGETS, make_checkpoint, make_clip, make_track

PROTOCOL = Protocol("tiny", Path("corpus"), Path("features"), folds=4, accelerator="cpu")
VARIANTS = [Variant("concat", RECIPE.with_fusion("concat"))]
NAMES = {f"concat-seed0-fold{fold}" for fold in range(4)}
CHECKPOINT = make_checkpoint()
MOMENTS = np.array([[moments(np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.4, 0.9]))] * 2])


def example(i: int) -> Example:
    features = make_clip(30, seed=i, name=f"clip{i}")
    labels = LabelTrack(features.grid.times(30), np.random.default_rng(i).uniform(-1, 1, (30, 2)), TARGETS)
    clip = Clip(f"clip{i}", Path("x.mp4"), "train", f"person{i}")
    return Example(clip, features, labels, labels_on_grid(labels, features.grid, 30))


def of(examples: list[Example], specs: tuple[FeatureSpec, ...] | None = None) -> Data:
    specs = specs or tuple(FeatureSpec.of(make_track(m, 1)) for m in ("audio", "video"))
    corpus = SimpleNamespace(name="tiny", targets=TARGETS, synthetic=False)
    return Data(corpus, FeatureStore("features"), examples, specs, split(examples, PROTOCOL.folds))


DATA = of([example(i) for i in range(8)])


def outcome(validation: float = 0.5, setting: str = "") -> Outcome:
    told = {CLEAN: {t: [0.1, 0.2, 0.3, 0.4, 0.5] for t in TARGETS}}
    sure = {CLEAN: np.ones((1, len(TARGETS), 8))}
    return Outcome(validation, setting, TARGETS, ("audio", "video"), ("clip",), MOMENTS, sure=sure, told=told)


@pytest.fixture(autouse=True)
def trained(monkeypatch) -> list[str]:
    """Nothing is loaded or trained in earnest; returns the names of the runs that would have been."""
    names = []

    def train(protocol: Protocol, found: Data, run: Run):
        names.append(run.name)
        return outcome(setting=run.settings[0]), CHECKPOINT

    monkeypatch.setattr(comparison, "load_data", lambda *_: DATA)
    monkeypatch.setattr(comparison, "_worker_data", None)
    monkeypatch.setattr(comparison, "train_and_measure", train)
    return names


def run(out: Path, protocol: Protocol = PROTOCOL, variants: list[Variant] = VARIANTS, seeds: int = 1, **kwargs):
    return compare(protocol, variants, range(seeds), out, reference=variants[0].name, **({"workers": 1} | kwargs))


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def said(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


class Threads(ThreadPoolExecutor):
    """Threads instead of processes."""

    def __init__(self, workers, *_):
        super().__init__(workers)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal to a thread")
def test_ctrl_c_keeps_the_trainings_that_have_begun_and_begins_no_other(tmp_path, monkeypatch, capsys):
    begun, end = threading.Barrier(2), threading.Event()

    def train(*_):
        if begun.wait(10) == 0:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        assert end.wait(10)
        return outcome(), CHECKPOINT

    really_say = processes.say_stopping

    def go_on(*what):
        really_say(*what)
        end.set()

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Threads)
    monkeypatch.setattr(processes, "say_stopping", go_on)
    monkeypatch.setattr(comparison, "quiet", nullcontext)  # a worker of its own silences itself alone
    monkeypatch.setattr(comparison, "train_and_measure", train)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, workers=2)
    assert names(tmp_path / "runs") == names(tmp_path / "checkpoints") == {"concat-seed0-fold0", "concat-seed0-fold1"}
    assert "Stopping once what has begun is done, to keep it (still at work: 2)" in said(capsys)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True])
def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch, at_once):
    def killed(*_):
        raise BrokenProcessPool

    monkeypatch.setattr(
        processes, "ProcessPoolExecutor", type("Lost", (Threads,), {"submit": killed} if at_once else {})
    )
    monkeypatch.setattr(comparison, "train_and_measure", killed)
    with pytest.raises(WorkerError):
        run(tmp_path, workers=2)


def test_a_kept_training_that_is_damaged_is_named_and_done_again(tmp_path, trained, capsys):
    run(tmp_path)
    assert said(capsys) == ""
    damaged = tmp_path / "runs" / "concat-seed0-fold3.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:40])
    trained.clear()
    run(tmp_path)
    assert trained == ["concat-seed0-fold3"]
    told = said(capsys)
    assert "concat-seed0-fold3.safetensors can't be read" in told
    assert told.endswith("it is trained again")
    trained.clear()
    run(tmp_path)
    assert trained == []


def test_every_model_is_kept_as_an_ordinary_checkpoint_and_no_training_counts_without_its_own(tmp_path, trained):
    run(tmp_path)
    assert names(tmp_path / "checkpoints") == NAMES
    lost = tmp_path / "checkpoints" / "concat-seed0-fold2.safetensors"
    assert load_checkpoint(lost).recipe == CHECKPOINT.recipe
    lost.unlink()
    trained.clear()
    run(tmp_path)
    assert trained == ["concat-seed0-fold2"]
    assert lost.is_file()


def test_a_kept_model_with_a_flipped_bit_is_named_and_trained_again(tmp_path, trained, capsys):
    run(tmp_path)
    damaged = tmp_path / "checkpoints" / "concat-seed0-fold2.safetensors"
    whole = bytearray(damaged.read_bytes())
    whole[-1] ^= 1
    damaged.write_bytes(whole)
    trained.clear()
    run(tmp_path)
    assert trained == ["concat-seed0-fold2"]
    assert "concat-seed0-fold2.safetensors can't be read (its bytes aren't those that were written" in said(capsys)
    load_checkpoint(damaged)


def test_a_model_that_could_not_be_written_leaves_no_outcome(tmp_path, monkeypatch, trained):
    run(tmp_path)

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "load_data", lambda *_: of([relabelled(e) for e in DATA.examples]))
        patch.setattr(type(CHECKPOINT), "save", full)
        with pytest.raises(OSError, match="no space"):
            run(tmp_path)
    trained.clear()
    run(tmp_path)
    assert trained == ["concat-seed0-fold0"], "whose old outcome might have stood beside another's model"


@pytest.mark.slow
def test_tables_without_corrupted_clips_take_nothing_of_them_from_what_is_kept(tmp_path, trained, monkeypatch):
    stressed = {f"audio {kind} {share:g}": MOMENTS for kind in ("absent",) for share in (0.25, 0.5, 0.75, 1)}
    whole = replace(outcome(), stressed=stressed)
    monkeypatch.setattr(comparison, "train_and_measure", lambda *_: (whole, CHECKPOINT))
    run(tmp_path, protocol=replace(PROTOCOL, stress=True))
    assert "corrupted" not in run(tmp_path)


# ---- what outdates it


def relabelled(e: Example) -> Example:
    """With one other label."""
    values = e.labels.values.copy()
    values[3] = -values[3]
    labels = replace(e.labels, values=values)
    return replace(e, labels=labels, steps=labels_on_grid(labels, e.features.grid, len(e.steps)))


def moved(e: Example) -> Example:
    """With labels that are a little later."""
    return replace(e, labels=replace(e.labels, time_s=e.labels.time_s + 0.01))


def reextracted(e: Example) -> Example:
    """With other features of the face."""
    values = {**e.features.values, "video": 2 * e.features.values["video"]}
    return replace(e, features=replace(e.features, values=values))


def unseen(e: Example) -> Example:
    """With a face that isn't found in one step."""
    present = {**e.features.present, "video": e.features.present["video"] & (np.arange(30) != 5)}
    return replace(e, features=replace(e.features, present=present))


OTHER_SPECS = (DATA.specs[0], replace(DATA.specs[1], fingerprint="other"))


@pytest.mark.slow
@pytest.mark.parametrize("change", [relabelled, moved, reextracted, unseen])
def test_a_change_of_one_clip_outdates_every_fold(tmp_path, monkeypatch, trained, capsys, change):
    run(tmp_path)
    trained.clear()
    monkeypatch.setattr(comparison, "load_data", lambda *_: of([change(DATA.examples[0]), *DATA.examples[1:]]))
    run(tmp_path)
    assert set(trained) == NAMES, "everybody is in every fold, in one part or another"
    assert f"4 of the trainings in {tmp_path} are done again" in said(capsys)
    trained.clear()
    run(tmp_path)
    assert trained == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda: of(DATA.examples, OTHER_SPECS), id="another backbone, or another setting of it"),
        pytest.param(lambda: of(DATA.examples[:-1]), id="a clip less"),
        pytest.param(lambda: of([*DATA.examples, example(8)]), id="a clip more"),
    ],
)
def test_other_features_or_clips_are_trained_on_anew(tmp_path, monkeypatch, trained, capsys, changed):
    run(tmp_path)
    trained.clear()
    monkeypatch.setattr(comparison, "load_data", lambda *_: changed())
    run(tmp_path)
    assert set(trained) == NAMES
    assert "4 of the trainings" in said(capsys)


def test_features_that_a_fusion_does_not_read_do_not_outdate_it(tmp_path, monkeypatch, trained):
    variants = [Variant(name, RECIPE.with_fusion(name)) for name in ("audio", "concat")]
    run(tmp_path, variants=variants)
    trained.clear()
    monkeypatch.setattr(comparison, "load_data", lambda *_: of([reextracted(e) for e in DATA.examples], OTHER_SPECS))
    run(tmp_path, variants=variants)
    assert set(trained) == NAMES


def test_another_version_of_avgate_trains_anew_and_says_of_how_many(tmp_path, monkeypatch, trained, capsys):
    run(tmp_path, seeds=2)
    trained.clear()
    run(tmp_path, seeds=2)
    assert (trained, said(capsys)) == ([], "")
    monkeypatch.setattr(data, "version", lambda _: "99.0")
    run(tmp_path, seeds=2)
    assert len(trained) == 8
    told = said(capsys)
    assert f"8 of the trainings in {tmp_path} are done again" in told
    assert "version of avgate" in told


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda r: replace(r, train=replace(r.train, lr=0.5)), id="recipe"),
        pytest.param(lambda r: replace(r, tuning=("train.lr=1e-3", "train.lr=1e-2")), id="settings"),
    ],
)
def test_another_recipe_or_other_settings_are_trained_anew(tmp_path, trained, change: Callable):
    run(tmp_path)
    trained.clear()
    run(tmp_path, variants=[replace(v, recipe=change(v.recipe)) for v in VARIANTS])
    assert set(trained) == NAMES


def test_a_corpus_that_was_moved_outdates_nothing(tmp_path, trained):
    run(tmp_path)
    trained.clear()
    run(tmp_path, protocol=replace(PROTOCOL, data=Path("elsewhere"), store=Path("too")))
    assert trained == []


def test_seeds_that_are_kept_with_any_of_the_settings_are_not_called_outdated(tmp_path, trained, monkeypatch, capsys):
    variants = [replace(v, recipe=replace(v.recipe, tuning=("train.lr=1e-3", "train.lr=1e-2"))) for v in VARIANTS]
    chosen = {"setting": "train.lr=1e-3"}
    monkeypatch.setattr(comparison, "train_and_measure", lambda *_: (outcome(**chosen), CHECKPOINT))
    run(tmp_path, variants=variants, seeds=3)
    (tmp_path / "runs" / "concat-seed0-fold0.safetensors").unlink()
    chosen["setting"] = "train.lr=1e-2"
    run(tmp_path, variants=variants, seeds=3)
    assert said(capsys) == ""


# ---- where it is trained


def test_on_a_gpu_models_are_trained_one_at_a_time_and_that_is_said(tmp_path, monkeypatch, capsys):
    used = []

    def train(protocol: Protocol, *_):
        used.append((protocol.accelerator, threading.get_ident()))
        return outcome(), CHECKPOINT

    gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    monkeypatch.setattr(comparison, "Fabric", lambda **_: gpu)
    monkeypatch.setattr(comparison, "train_and_measure", train)
    monkeypatch.setattr(processes, "ProcessPoolExecutor", Threads)
    run(tmp_path, protocol=replace(PROTOCOL, accelerator="auto"), workers=None)
    assert set(used) == {("cuda", threading.get_ident())}, "by this process"
    assert "Training on cuda, one model at a time" in said(capsys)
    used.clear()
    run(tmp_path / "two", protocol=replace(PROTOCOL, accelerator="auto"), workers=2)
    assert threading.get_ident() not in {thread for _, thread in used}
    assert "Training on cuda, 2 models at a time" in said(capsys)


def test_an_accelerator_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'nonsense' can't be used") as refused:
        run(tmp_path, protocol=replace(PROTOCOL, accelerator="nonsense"))
    assert "cpu" in refused.value.hint


def test_a_model_whose_file_is_broken_is_trained_again(trained, tmp_path):
    run(tmp_path)
    path = min((tmp_path / "checkpoints").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    trained.clear()
    run(tmp_path)
    assert trained == [path.stem]


def test_fewer_than_one_process_is_refused(tmp_path):
    with pytest.raises(UsageError, match="can't be 0 processes"):
        run(tmp_path, workers=0)
