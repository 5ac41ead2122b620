"""`avgate export`: record a model, write it as files, and compare each with the model before it gets its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from avgate.apps.export.about import about
from avgate.apps.export.check import differences, differences_table, refuse_faults
from avgate.apps.export.cost import Labelled, ccc_table, moved_table
from avgate.apps.export.files import Run, Steps, as_int8, as_onnx, as_pt2, need_onnx, run_onnx, run_pt2
from avgate.apps.export.program import Form, record_step, record_window, refuse_unexportable
from avgate.core.console import Terminal, console
from avgate.core.errors import UsageError, choose
from avgate.core.files import atomic_write, output_folder, refuse_overwriting
from avgate.evaluation.examples import Example
from avgate.inference.estimator import Estimator
from avgate.models.checkpoint import DEFAULT_WEIGHTS, checkpoint_file

FORMATS = ("onnx", "pt2")


def export(
    checkpoint: Path | None,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    form: Form | Literal["both"] | None = None,
    int8: bool = False,
    labelled: Labelled | None = None,
) -> list[Path]:
    """Write a model's files, and print how far they are from it.

    Args:
        checkpoint: a checkpoint or its run's folder; None takes the weights that come with avgate.
        out: folder for the files FORM.FORMAT and FORM.int8.onnx; or one file's name, which says its format.
        formats: what to write, of FORMATS; the name of one file says it by itself.
        form: `window`, `step`, or `both`; None takes all that the model has.
        int8: whether to write ONNX files with int8 weights, too.
        labelled: clips on which the cost of int8 is measured.

    Returns:
        The files.

    Raises:
        UsageError: the model or the options don't fit, or packages are missing.
        AvgateError: a file would give other numbers than the model.
    """
    estimator = Estimator(checkpoint)
    refuse_unexportable(estimator.checkpoint)
    forms = _forms(form, estimator)
    paths = _paths(out, forms, formats, int8)
    if any(path.suffix == ".onnx" for path in paths.values()):
        need_onnx()
    source = DEFAULT_WEIGHTS if checkpoint is None else checkpoint_file(checkpoint)
    with output_folder(next(iter(paths.values())).parent):
        refuse_overwriting([source], {f"--out ({path.name})": path for path in paths.values()})
        # What is wrong with them is found out before the long work.
        examples = None if labelled is None else labelled.examples(estimator)
        for chosen in forms:
            _export_form(chosen, estimator, {kind: path for (f, kind), path in paths.items() if f == chosen}, examples)
    return list(paths.values())


def _forms(form: Form | Literal["both"] | None, estimator: Estimator) -> tuple[Form, ...]:
    causal = estimator.model.causal
    if form in ("step", "both") and not causal:
        what = "this model sees later steps, too: it has no form of one step at a time"
        raise UsageError(what, where="--form", hint="--form window, or train a causal model")
    if form in (None, "both"):
        return ("window", "step") if causal else ("window",)
    return ("step",) if form == "step" else ("window",)


def _paths(out: Path, forms: Sequence[Form], formats: Sequence[str], int8: bool) -> dict[tuple[Form, str], Path]:
    """Form and kind of a file (onnx, int8, pt2) -> its path."""
    ending = out.suffix.lstrip(".")
    single = ending in FORMATS and not out.is_dir()
    kinds = [ending] if single else [choose("format", name, {known: known for known in FORMATS}) for name in formats]
    if not kinds:
        raise UsageError("no format is named", where="--formats", hint=f"name {', '.join(FORMATS)}, or leave it out")
    if single and tuple(formats) not in ((ending,), FORMATS):
        hint = "give --out a folder's name, or leave --formats out"
        raise UsageError(f"'{out.name}' says one format, and --formats another", where="--out", hint=hint)
    if single and len(forms) > 1:
        hint = "give --out a folder's name, or --form window or --form step"
        raise UsageError("the model has two forms, and this is the name of one file", where="--out", hint=hint)
    if int8 and "onnx" not in kinds:
        raise UsageError("only ONNX files can have int8 weights", where="--int8", hint="add onnx to --formats")
    endings = {"onnx": ".onnx", "int8": ".int8.onnx", "pt2": ".pt2"}
    wanted = [kind for kind in endings if kind in kinds or (kind == "int8" and int8)]
    return {
        (form, kind): out.with_suffix(endings[kind]) if single else out / f"{form}{endings[kind]}"
        for form in forms
        for kind in wanted
    }


def _export_form(
    form: Form, estimator: Estimator, paths: Mapping[str, Path], examples: Sequence[Example] | None
) -> None:
    """Write the files of one form: kind -> path."""
    checkpoint = estimator.checkpoint
    console.say(f"recording the model in its form '{form}' and writing it takes a minute or two ...")
    program = record_window(checkpoint) if form == "window" else record_step(checkpoint)
    metadata = about(program, estimator)
    files: dict[str, bytes] = {}
    if "onnx" in paths:
        files["onnx"] = as_onnx(program, metadata)
    if "pt2" in paths:
        files["pt2"] = as_pt2(program, metadata)

    def over(run: Run) -> Run:
        return Steps(run, program) if form == "step" else run

    runs = {kind: over(run_onnx(whole) if kind == "onnx" else run_pt2(whole, program)) for kind, whole in files.items()}
    console.say("comparing each file with the model ...")
    columns = dict.fromkeys(program.outputs, checkpoint.targets) | {"gates": program.gates}
    for kind, found in differences(runs, program, checkpoint, columns).items():
        Terminal().print(differences_table(paths[kind].name, found))
        refuse_faults(paths[kind].name, found)
    if "int8" in paths:
        files["int8"] = as_int8(files["onnx"], metadata)
        pair = {paths[k].name: (files[k], over(run_onnx(files[k]))) for k in ("onnx", "int8")}
        if examples is None:
            Terminal().print(moved_table(pair, program, estimator))
        else:
            Terminal().print(ccc_table(pair, program, estimator, examples))
    for kind, whole in files.items():
        with atomic_write(paths[kind]) as temporary:
            temporary.write_bytes(whole)
        console.say(f"{paths[kind]}: {len(whole):,} bytes")
