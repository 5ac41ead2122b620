"""`avgate export`: files that give the model's numbers to somebody who has no avgate, and say what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from avgate import cli
from avgate.apps.export import export as verb
from avgate.apps.export.check import Difference
from avgate.apps.export.cost import ccc_table
from avgate.apps.export.files import as_int8, as_onnx, run_onnx
from avgate.apps.export.hush import hushed
from avgate.apps.export.program import Program, record_window
from avgate.core.errors import AvgateError, UsageError
from avgate.core.files import json_values
from avgate.core.types import Clip, LabelTrack
from avgate.evaluation.examples import Example
from avgate.features.store import FeatureStore
from avgate.inference.estimator import Estimator
from avgate.models.encoders import TcnConfig
from avgate.models.finetune import FinetuneConfig
from avgate.models.fusions.concat import ConcatConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig
from avgate.models.intervals import LEVELS, Intervals
from avgate.models.recipe import to_plain
from tests.tiny import COLUMNS, RECIPE, TARGETS, make_checkpoint, make_clip, make_track

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch's own, when it loads a .pt2 file

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {t: np.linspace(0.5, 2, len(LEVELS)) for t in TARGETS}
ABSENT = {"audio": [3, 4, 5, 16, 17], "video": [4, *range(10, 18)]}
"""Steps of a clip of 18 steps: stretches of each, and both from step 16 on."""


def checkpoint_of(fusion, encoder, **changes):
    model = replace(RECIPE.model, fusion=fusion, encoders=dict.fromkeys(COLUMNS, encoder))
    lost = {"valence": {"audio": 1.0, "video": 1.9}, "arousal": {"audio": 1.2, "video": 1.1}}
    intervals = Intervals(30, WIDTHS, WIDTHS, lost, {"valence": 0.5, "arousal": 1.0})
    found = replace(make_checkpoint(replace(RECIPE, model=model)), intervals=intervals, notes=("One note.",))
    return replace(found, **changes)


CAUSAL = checkpoint_of(ConcatConfig(), TcnConfig(channels=(8,), causal=True))
GATED = checkpoint_of(HgrjcaConfig(iterations=1, time_mixing="relative"), TcnConfig(channels=(8,)))
GATES = ["voice_attended", "voice_iteration_1", "face_attended", "face_iteration_1"]


def exported(folder, checkpoint, *options):
    """A run's folder, and what the command line makes of it beside it."""
    checkpoint.save(folder / "checkpoint.safetensors")
    cli.main(["export", str(folder), "--out", str(folder / "exported"), "--int8", *options])
    return folder


@pytest.fixture(scope="module")
def stepping(tmp_path_factory):
    """A causal model, and its step as ONNX alone: exports take seconds."""
    return exported(tmp_path_factory.mktemp("stepping"), CAUSAL, "--form", "step", "--formats", "onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model with gates that sees later steps, in all files; what tests it is slow."""
    return exported(tmp_path_factory.mktemp("run"), GATED)


@pytest.fixture
def step(stepping):
    return onnxruntime.InferenceSession(stepping / "exported" / "step.onnx")


@pytest.fixture
def session(run):
    return onnxruntime.InferenceSession(run / "exported" / "window.onnx")


def one_after_the_other(session, inputs):
    """Outputs [n ...] of a step's file, which carries its state itself."""
    shapes = {x.name: x.shape for x in session.get_inputs() if x.name.startswith("state.")}
    state, found = {name: np.zeros((1, *shape[1:]), np.float32) for name, shape in shapes.items()}, []
    for t in range(inputs["audio"].shape[1]):
        out = told(session, {name: x[:, t] for name, x in inputs.items()} | state)
        state = {name: out.pop(f"next_{name}") for name in state}
        found.append(out)
    return {name: np.concatenate([out[name] for out in found]) for name in found[0]}


def raw_inputs(clip):
    """A clip's features as a program takes them, a batch of one; NaN where absent."""
    features = {m: x[None] for m, x in clip.values.items()}
    return features | {f"{m}_present": here[None] for m, here in clip.present.items()}


def told(session, inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def assert_estimate(found, run, clip):
    """The outputs of a file [n ...] are what an Estimator says of the clip."""
    expected = Estimator(run).estimate(clip)
    known = np.isfinite(expected.raw)
    assert known.all(1).tolist() == (clip.present["audio"] | clip.present["video"]).tolist()
    for name, values in (("targets", expected.raw), ("centre", expected.centre), ("deviation", expected.deviation)):
        np.testing.assert_array_equal(np.isnan(found[name]), ~known)
        np.testing.assert_allclose(found[name][known], values[known], rtol=0, atol=1e-6)
    gates = {gate.name: values for gate, values in expected.gates.items()}
    assert ("gates" in found) == bool(gates)
    if gates:
        assert list(gates) == GATES
        np.testing.assert_allclose(found["gates"], np.stack(list(gates.values()), 1), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_file_gives_the_estimate_of_a_clip_from_its_raw_features(run, session):
    clip = make_clip(18, absent=ABSENT)
    assert_estimate({name: x[0] for name, x in told(session, raw_inputs(clip)).items()}, run, clip)


@pytest.mark.slow
def test_the_step_of_a_causal_model_gives_it_one_step_after_the_other(stepping, step):
    clip = make_clip(18, absent=ABSENT)
    assert_estimate(one_after_the_other(step, raw_inputs(clip)), stepping, clip)


def with_garbage(inputs):
    here = {m: inputs[f"{m}_present"][..., None] for m in COLUMNS}
    return inputs | {m: np.where(here[m], inputs[m], 1e30).astype(np.float32) for m in COLUMNS}


@pytest.mark.slow
def test_nothing_that_stands_in_an_absent_step_is_read(step):
    inputs = raw_inputs(make_clip(18, absent=ABSENT))
    found, other = (one_after_the_other(step, given) for given in (inputs, with_garbage(inputs)))
    for name, values in found.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.mark.slow
def test_nothing_that_stands_in_absent_steps_is_read(session):
    inputs = raw_inputs(make_clip(18, absent=ABSENT))
    found, other = told(session, inputs), told(session, with_garbage(inputs))
    for name, values in found.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.mark.slow
def test_sequences_of_any_number_and_length_go_in(session):
    assert [(x.name, x.shape) for x in session.get_inputs()] == [
        ("audio", ["batch", "steps", 3]),
        ("video", ["batch", "steps", 2]),
        ("audio_present", ["batch", "steps"]),
        ("video_present", ["batch", "steps"]),
    ]
    one = raw_inputs(make_clip(300))
    four = {name: np.repeat(x, 4, axis=0) for name, x in one.items()}
    np.testing.assert_allclose(told(session, four)["targets"][3], told(session, one)["targets"][0], atol=1e-6)


@pytest.mark.slow
def test_a_pt2_file_gives_what_the_onnx_file_does(run, session):
    inputs = raw_inputs(make_clip(18, absent=ABSENT))
    module = torch.export.load(run / "exported" / "window.pt2").module()
    features = {m: torch.from_numpy(inputs[m]) for m in COLUMNS}
    out = module(features, {m: torch.from_numpy(inputs[f"{m}_present"]) for m in COLUMNS})
    for name, found in told(session, inputs).items():
        np.testing.assert_allclose(out[name].detach().numpy(), found, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_files_say_what_they_are(stepping, step):
    checkpoint = Estimator(stepping).checkpoint
    held = step.get_modelmeta().custom_metadata_map
    about = {name.removeprefix("avgate."): json.loads(text) for name, text in held.items()}
    assert about["targets"] == [*TARGETS]
    assert about["gates"] == []
    assert [(f["backbone"], f["modality"], tuple(f["columns"])) for f in about["features"]] == [
        (f.backbone, f.modality, f.columns) for f in checkpoint.features
    ]
    assert about["recipe"] == json_values(to_plain(checkpoint.recipe))
    assert (about["label_rate"], about["window"], about["hop"], about["smooth_steps"]) == (10.0, 20, 10, 5)
    assert (about["longest"], about["fixed_length"], about["form"]) == (None, False, "step")
    assert about["smooth_one_sided"] is True
    np.testing.assert_array_equal(np.float32(about["statistics"]["audio"]["mean"]), checkpoint.stats["audio"].mean)
    widths = Intervals.from_plain(about["intervals"])
    assert widths.lost == checkpoint.intervals.lost
    assert about["intervals"]["levels"] == [*LEVELS]
    assert about["notes"] == ["One note."]
    assert about["demonstration"] is False
    assert about["fingerprint"] == checkpoint.fingerprint


@pytest.mark.slow
def test_a_pt2_file_says_the_same(run, session):
    held = session.get_modelmeta().custom_metadata_map
    said = dict.fromkeys(held, "")
    torch.export.load(run / "exported" / "window.pt2", extra_files=said)
    assert said == held
    assert json.loads(held["avgate.gates"]) == GATES
    assert json.loads(held["avgate.form"]) == "window"
    assert json.loads(held["avgate.smooth_one_sided"]) is False


@pytest.mark.slow
def test_an_onnx_file_does_not_say_where_it_was_made(stepping):
    for file in (stepping / "exported").iterdir():
        assert not {mark for mark in (b"site-packages", b"avgate/") if mark in file.read_bytes()}


@pytest.mark.slow
def test_no_file_says_where_it_was_made(run):
    assert len([*(run / "exported").iterdir()]) == 3
    test_an_onnx_file_does_not_say_where_it_was_made(run)


@pytest.mark.slow
def test_int8_files_give_nearly_the_same_targets(stepping, step):
    inputs = raw_inputs(make_clip(18, absent=ABSENT))
    small = onnxruntime.InferenceSession(stepping / "exported" / "step.int8.onnx")
    assert small.get_modelmeta().custom_metadata_map == step.get_modelmeta().custom_metadata_map
    expected, found = (one_after_the_other(x, inputs)["targets"] for x in (step, small))
    assert 0 < np.nanmax(np.abs(found - expected)) < 0.05


@pytest.mark.long
def test_what_int8_costs_is_measured_as_ccc_on_labelled_clips():
    checkpoint = checkpoint_of(ConcatConfig(), TcnConfig(channels=(64, 64)), smooth_steps=1)
    program = record_window(checkpoint)
    whole = as_onnx(program, {})
    small = as_int8(whole, {})
    assert len(small) < 0.5 * len(whole)
    estimator = Estimator(checkpoint)
    clips = [make_clip(50, seed=i, absent=ABSENT, name=f"clip{i}") for i in range(3)]
    labels = [estimator.trace(clip, clip.grid.times(len(clip))) for clip in clips]
    examples = []
    for clip, trace in zip(clips, labels, strict=True):
        values = np.stack([trace.targets[t] for t in TARGETS], 1).astype(np.float32)
        label = LabelTrack(trace.time_s, values, TARGETS)
        examples.append(Example(Clip(clip.name, None, "validation", clip.name), clip, label, values))
    pair = {"float": (whole, run_onnx(whole)), "int8": (small, run_onnx(small))}
    table = ccc_table(pair, program, estimator, examples)
    name, size, *scores = (list(column.cells) for column in table.columns)
    assert name == ["float", "int8"]
    assert size == [f"{len(whole):,}", f"{len(small):,}"]
    assert [cells[0] for cells in scores] == ["1.0000"] * 3
    assert all(0.9 < float(cells[1]) <= 1 for cells in scores)


@pytest.fixture
def saved(tmp_path):
    """A run's folder, of a model that sees later steps."""
    return GATED.save(tmp_path / "run" / "checkpoint.safetensors").parent


def refused(run, out, **options):
    with pytest.raises(UsageError) as error:
        verb.export(run, out, **options)
    assert not out.exists()
    return str(error.value)


def test_options_that_do_not_fit_are_refused_before_the_long_work(saved, tmp_path):
    assert "sees later steps" in refused(saved, tmp_path / "out", form="step")
    assert "there is no format 'onx'" in refused(saved, tmp_path / "out", formats=("onx",))
    assert "--formats: no format is named" in refused(saved, tmp_path / "out", formats=())
    assert "only ONNX files" in refused(saved, tmp_path / "out", formats=("pt2",), int8=True)
    assert "only ONNX files" in refused(saved, tmp_path / "a.pt2", int8=True)
    assert "says one format" in refused(saved, tmp_path / "a.pt2", formats=("onnx",))
    CAUSAL.save(saved / "checkpoint.safetensors")
    assert "has two forms" in refused(saved, tmp_path / "a.onnx")


def test_clips_without_int8_are_refused(saved, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["export", str(saved), "--out", str(tmp_path / "out"), "--data", str(tmp_path)])
    assert "add --int8" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_missing_packages_are_named_with_the_way_to_get_them(saved, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    said = refused(saved, tmp_path / "out")
    assert f"need the package {missing}" in said
    assert 'pip install "avgate[onnx]"' in said


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.fx.config, "do_not_emit_stack_traces"), reason="this torch can't leave them out")
def test_torch_notes_down_no_lines_of_code_while_it_is_hushed():
    def traced() -> bool:
        program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2),))
        return any(node.meta.get("stack_trace") for node in program.graph.nodes)

    with hushed():
        assert not traced()
    assert traced()


def test_an_operation_that_onnx_files_cannot_hold_is_an_error_with_a_way_out(monkeypatch):
    def failing(*_, **__):
        raise torch.onnx.OnnxExporterError("no ONNX function found for aten::new")

    monkeypatch.setattr(torch.onnx, "export", failing)
    with pytest.raises(AvgateError, match=r"as ONNX \(no ONNX function found for aten::new\)\n.*--formats pt2"):
        as_onnx(Program("window", None, (), (), ()), {})


def test_a_model_that_a_pretrained_checkpoint_was_trained_with_is_refused():
    checkpoint = GATED
    tuned = replace(checkpoint.recipe.model, finetune={"video": FinetuneConfig("vit", "images")})
    with pytest.raises(UsageError, match=r"trained with this model \(video\)"):
        record_window(
            replace(checkpoint, recipe=replace(checkpoint.recipe, model=tuned, backbones=("egemaps", "crops")))
        )


@pytest.mark.long
def test_a_file_with_other_numbers_is_not_written(saved, tmp_path, monkeypatch):
    def wrong(whole):
        right = run_onnx(whole)

        def over(inputs):
            out = right(inputs)
            out["targets"][..., 1] += np.float32(2e-5)
            return out

        return over

    monkeypatch.setattr(verb, "run_onnx", wrong)
    with pytest.raises(AvgateError, match=r"a\.onnx: its output 'targets' \(arousal\) differs from torch's by 2.0e-05"):
        verb.export(saved, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == [saved]


def test_unknown_where_the_model_knows_is_a_fault_and_rounding_is_none():
    assert Difference("targets", 17, np.inf, np.inf, 1e-7, "valence").fault
    assert Difference("targets", 17, 2e-5, 2e-5, 1e-7, "valence").fault
    assert not Difference("targets", 17, 9e-6, 2e-5, 1e-7, "valence").fault
    assert not Difference("gates", 1000, 9e-5, 5e-5, 6e-5, "face_attended").fault, "torch itself is as far off"


EXAMPLE = ROOT / "docs" / "examples" / "onnx_step.py"


@pytest.mark.slow
def test_the_example_in_the_docs_gives_the_estimates_of_stored_features(stepping, tmp_path):
    step = stepping / "exported" / "step.onnx"
    store, clip = FeatureStore(tmp_path), make_clip(18, absent=ABSENT)
    tracks = [make_track(m, 18, absent=ABSENT[m]) for m in COLUMNS]
    files = [store.write("clip", f"{track.backbone}-0", track, "0" * 16) for track in tracks]
    other = replace(tracks[0], fingerprint="f" * 16)
    files.append(store.write("clip", f"{other.backbone}-1", other, "0" * 16))
    said = subprocess.run([sys.executable, EXAMPLE, step, *files], capture_output=True, text=True, check=True)
    head, *rows = [line.split(",") for line in said.stdout.splitlines()]
    assert head == ["time_s", *TARGETS]
    found = np.array(rows, float)
    np.testing.assert_allclose(found[:, 0], clip.grid.times(18))
    np.testing.assert_allclose(found[:, 1:], Estimator(stepping).estimate(clip).raw, rtol=0, atol=1e-6)
    assert not said.stderr


def example_said(*args):
    """What the example says where it refuses what it was given."""
    done = subprocess.run([sys.executable, EXAMPLE, *args], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.long
def test_the_example_refuses_features_of_other_settings_several_of_the_same_and_other_forms(stepping, tmp_path):
    step, window = stepping / "exported" / "step.onnx", tmp_path / "window.onnx"
    store, tracks = FeatureStore(tmp_path), {m: make_track(m, 18) for m in COLUMNS}
    voice, face = (store.write("clip", f"{m}-0", track, "0" * 16) for m, track in tracks.items())
    other = store.write("clip", "audio-1", replace(tracks["audio"], fingerprint="f" * 16), "0" * 16)
    wanted = tracks["audio"].backbone
    assert f"0 of these files hold features with the fingerprint of {wanted}" in example_said(step, other, face)
    assert f"2 of these files hold features with the fingerprint of {wanted}" in example_said(step, voice, voice, face)
    window.write_bytes(as_onnx(record_window(CAUSAL), {"avgate.form": '"window"'}))
    assert example_said(window, voice, face) == f"{window} takes whole sequences: take step.onnx\n"


def test_the_example_is_short_and_stands_in_the_page():
    code = EXAMPLE.read_text()
    assert len(code.splitlines()) <= 40
    assert f"```python\n{code}```" in (ROOT / "docs" / "export.md").read_text()


@pytest.mark.long
def test_the_terminal_shows_what_avgate_says_and_nothing_of_the_libraries_below(saved, tmp_path):
    command = [sys.executable, "-m", "avgate", "export", saved, "--out", tmp_path / "out", "--int8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [line.partition(":")[0] for line in done.stderr.splitlines()]
    files = [f"{tmp_path}/out/window.{ending}" for ending in ("onnx", "pt2", "int8.onnx")]
    assert said[2:] == files
    assert all("..." in line for line in said[:2])
    assert "torch itself" in done.stdout
