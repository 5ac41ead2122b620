"""The command line: help that answers at once, one spelling in all verbs, and old spellings that keep working."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from avgate import cli
from avgate.cli import models, options
from avgate.core.errors import UsageError
from avgate.corpora.rendered import RenderConfig
from avgate.labels.formats import LABEL_FORMATS
from avgate.media.opening import FASTEST_FPS, SLOWEST_FPS
from avgate.models.intervals import LEVELS
from avgate.report.writers import WRITERS
from tests.own_corpus import write_own_corpus

every_verb = pytest.mark.parametrize("verb", cli.VERBS)
SHARED = {
    "data": options.Data,
    "store": options.Store,
    "set": options.Set,
    "fusion": options.Fusion,
    "accelerator": options.Accelerator,
    "precision": options.Precision,
    "devices": options.Devices,
    "nodes": options.Nodes,
    "strategy": options.Strategy,
    "workers": options.Workers,
    "engine": options.EngineName,
    "address": options.ClusterAddress,
    "face_model": options.FaceModel,
    "faces_every": options.FacesEvery,
    "checkpoints": options.Checkpoints,
    "level": options.Level,
}
"""Parameter -> its one type and help, whatever the verb."""


def said_by(capsys, *args):
    """What a command line that exits prints, on one line and without boxes."""
    with pytest.raises(SystemExit):
        cli.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return " ".join(re.sub("[│╭╮╰╯─]", " ", captured.out + captured.err).split())


def called(monkeypatch, *args):
    """The arguments that a command line leads to, without running the verb."""
    found = {}
    for name, verb in cli.VERBS.items():

        def catch(__name=name, **given):
            found[__name] = given

        catch.__signature__, catch.__annotations__ = inspect.signature(verb), get_type_hints(verb, include_extras=True)
        catch.__doc__ = verb.__doc__
        monkeypatch.setitem(cli.VERBS, name, catch)
    cli.main([str(arg) for arg in args])
    return found


def test_help_of_the_command_line_comes_without_loading_torch_or_mediapipe():
    code = "import sys; from avgate.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'mediapipe', 'cv2', 'av'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    for verb in cli.VERBS:
        assert f"• {verb}" in said
    assert "• compare (benchmark)" in said
    assert "For example" not in said, "examples are in the help of each verb"


@every_verb
def test_every_verb_shows_an_example_and_explains_every_option(verb, capsys):
    said = said_by(capsys, verb, "--help")
    assert f"For example: avgate {verb} " in said
    documented = set(re.findall(r"^ {8}(\w+):", cli.VERBS[verb].__doc__ or "", re.M))
    for name in inspect.signature(cli.VERBS[verb]).parameters:
        assert name in documented or name in {*SHARED, "corpus", "recipe"}, f"{name} has no help"
    assert "(default: None)" not in said
    assert "(default: )" not in said


@every_verb
def test_options_that_verbs_share_are_the_same_in_all(verb):
    hints = get_type_hints(cli.VERBS[verb], include_extras=True)
    if verb in ("export", "serve", "work"):  # a corpus that need not be, and the server's own folder
        del hints["data"]
    if verb == "work":  # the server's setting, which leaves a core to others
        del hints["workers"]
    assert {name: hints[name] for name in SHARED if name in hints} == {n: t for n, t in SHARED.items() if n in hints}
    if "data" in hints and verb not in ("reproduce", "submit"):
        assert hints["corpus"] == options.Corpus
        assert inspect.signature(cli.VERBS[verb]).parameters["corpus"].default == "rendered"


def test_the_help_of_predict_names_every_format():
    described = re.sub(r"\s+", " ", cli.VERBS["predict"].__doc__)
    for every_format in (*WRITERS, *LABEL_FORMATS):
        assert re.search(rf"\b{every_format.name}\b", described), every_format.name


def test_the_help_of_render_shows_the_defaults_of_its_config():
    defaults = {name: p.default for name, p in inspect.signature(cli.VERBS["render"]).parameters.items()}
    config = RenderConfig()
    assert (defaults["identities"], defaults["clips"]) == (config.identities, config.clips_per_identity)
    assert (defaults["seconds"], defaults["seed"]) == (config.seconds, config.seed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("inspect affwild2 --root FOLDER", "inspect --corpus affwild2 --data FOLDER"),
        ("inspect affwild2 --root=FOLDER", "inspect --corpus affwild2 --data FOLDER"),
        ("inspect affwild2 --data FOLDER", "inspect --corpus affwild2 --data FOLDER"),
        ("benchmark hazumi --data D --out O --stress", "compare --corpus hazumi --data D --out O --stress"),
        ("benchmark --corpus hazumi --data D --out O", "compare --corpus hazumi --data D --out O"),
        ("compare hazumi --data D --out O", "compare --corpus hazumi --data D --out O"),
    ],
)
def test_command_lines_of_earlier_versions_mean_what_they_meant(old, new, monkeypatch):
    found = called(monkeypatch, *old.split())
    assert found == called(monkeypatch, *new.split())
    (given,) = found.values()
    assert given["corpus"] in ("affwild2", "hazumi")


def test_a_corpus_that_does_not_exist_is_answered_with_a_guess_in_either_spelling(tmp_path, capsys):
    for args in (["hazuni", "--root", tmp_path], ["--corpus", "hazuni", "--data", tmp_path]):
        assert "did you mean 'hazumi'" in said_by(capsys, "inspect", *args)


def test_a_misspelt_verb_gets_a_guess_and_the_exit_code_of_wrong_options(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian", "--data", "x"])
    assert ended.value.code == UsageError.exit_code
    assert "did you mean 'train'" in capsys.readouterr().err


def test_missing_and_wrong_options_are_named(capsys):
    assert "--data PATH" in said_by(capsys, "extract")
    assert "Error parsing --jobs/--workers" in said_by(capsys, "extract", "--data", "x", "--workers", "many")
    assert "--gpu" in said_by(capsys, "extract", "--data", "x", "--gpu")


@pytest.mark.slow
def test_inspect_reads_a_corpus_in_the_spelling_of_old_and_of_today(tmp_path, capsys):
    manifest = write_own_corpus(tmp_path / "own")
    cli.main(["inspect", "manifest", "--root", str(manifest)])
    old = capsys.readouterr().out
    cli.main(["inspect", "--corpus", "manifest", "--data", str(manifest)])
    assert capsys.readouterr().out == old
    assert "manifest: 4 clips" in old


@pytest.mark.parametrize(
    ("fusions", "paths", "names"),
    [
        (["rjca", "hgrjca"], ["a", "b"], ["rjca", "hgrjca"]),
        (["rjca", "rjca"], ["a", "b/checkpoint.safetensors"], ["rjca (a)", "rjca (b)"]),
        (["rjca", "rjca", "ca"], ["x/a", "y/a", "y/a"], ["rjca (x/a)", "rjca (y/a)", "ca"]),
        (["ca", "ca"], [".", "a"], ["ca (here)", "ca (a)"]),
    ],
)
def test_models_of_one_fusion_are_told_apart_by_their_runs(fusions, paths, names, tmp_path, monkeypatch):
    here = tmp_path / "here"
    for path in paths:
        folder = here / path.removesuffix("/checkpoint.safetensors")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.safetensors").touch()
    monkeypatch.chdir(here)
    assert models._names(fusions, [Path(path) for path in paths]) == names


def test_an_empty_argument_is_refused_and_not_taken_for_the_current_folder(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["predict", "", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "argument 2 is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def numbers_of(verb):
    """The options of a verb that take numbers: name -> their annotations."""
    for name, hint in get_type_hints(cli.VERBS[verb], include_extras=True).items():
        of, *more = (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)
        if {int, float} & {of, *get_args(of)}:
            yield name, more


@every_verb
def test_every_number_has_a_range(verb):
    for name, more in numbers_of(verb):
        ranges = [part for part in more if isinstance(part, options.Within)]
        assert len(ranges) == 1, name
        for wrong in (math.nan, math.inf, -math.inf, ranges[0].low - 1, 2 * ranges[0].high + 1):
            with pytest.raises(UsageError, match="out of range") as caught:
                ranges[0].refuse(name, wrong)
            assert f"{ranges[0].low:.10g} to {ranges[0].high:.10g}" in caught.value.hint
        ranges[0].refuse(name, ranges[0].low)
        ranges[0].refuse(name, ranges[0].high)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["render", "--out", "new", "--seconds", "nan"], "--seconds: nan is out of range -> give 0.64 to 3600"),
        (["render", "--out", "new", "--seed", "-1"], "--seed: -1 is out of range -> give 0 to 4294967295"),
        (["predict", "x.mp4", "--out", "new", "--level", "80"], "give 0.5 to 0.99; 80 % is 0.8"),
        (["evaluate", "run", "--data", "new", "--level", "0.4"], "give 0.5 to 0.99, such as 0.9"),
        (["predict", "x.mp4", "--out", "new", "--fps", "inf"], "--fps: inf is out of range"),
        (["extract", "--data", "new", "--workers", "0"], "--workers: 0 is out of range -> give 1 to 1024"),
        (["labels", "x.csv", "--out", "new", "--limits", "-1", "nan"], "--limits: nan is out of range"),
        (["compare", "--data", "new", "--out", "new", "--seeds", "0"], "--seeds: 0 is out of range -> give 1 to 1000"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_option_and_the_range(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in said_by(capsys, *args)
    assert not list(tmp_path.iterdir())


def test_ranges_are_those_of_what_takes_the_numbers():
    ranges = {name: next(p for p in more if isinstance(p, options.Within)) for name, more in numbers_of("predict")}
    assert (ranges["fps"].low, ranges["fps"].high) == (SLOWEST_FPS, FASTEST_FPS)
    assert (ranges["level"].low, ranges["level"].high) == (LEVELS[0], LEVELS[-1])
    (seconds,) = [more[0] for name, more in numbers_of("render") if name == "seconds"]
    assert RenderConfig(seconds=seconds.low).frames == 16
