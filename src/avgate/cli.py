"""The command line: one function per verb. Heavy imports are inside, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from avgate.errors import AvgateError

Videos = Annotated[tuple[Path, ...], Positional, arg(metavar="VIDEO...")]
Fusion = Annotated[
    str | None, arg(help="Fusion to use instead of the recipe's: audio, video, concat, hgrjca, rjca, dca, ...")
]


def render(
    out: Path,
    identities: int | None = None,
    clips: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Make the embedded corpus: clips of a face and a voice with known valence and arousal in every frame.

    Args:
        out: Folder for the clips, their labels and the manifest.
        identities: How many different faces and voices.
        clips: Clips per identity.
        seconds: Length of a clip.
        seed: The same seed makes the same corpus.
        workers: Processes; one per core unless given.
    """
    from dataclasses import replace

    from avgate.console import console
    from avgate.corpora.rendered import RenderConfig
    from avgate.demo import render_with_progress

    given: dict[str, Any] = {"identities": identities, "clips_per_identity": clips, "seconds": seconds}
    config = replace(RenderConfig(seed=seed), **{k: v for k, v in given.items() if v is not None})
    render_with_progress(out, config, workers)
    console.print(
        f"{config.identities * config.clips_per_identity} clips in {out}; next: avgate extract --data {out}",
        soft_wrap=True,
    )


def extract(
    data: Path,
    store: Path | None = None,
    recipe: str = "demo",
    set: tuple[str, ...] = (),
    corpus: str = "rendered",
    face_model: Path | None = None,
    workers: int | None = None,
) -> None:
    """Compute the features of a corpus once and keep them; run it again to continue after an interruption.

    Args:
        data: The corpus' folder.
        store: Folder for the features; DATA/features unless given.
        recipe: Whose backbones to use.
        set: Settings to change, as path=value, such as backbones or label_rate.
        corpus: Kind of corpus.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        workers: Processes; one per core unless given.
    """
    from avgate.config import override
    from avgate.console import console
    from avgate.corpora import open_corpus
    from avgate.extract import extract as run
    from avgate.recipes import recipe_named

    wanted, clips = override(recipe_named(recipe), *set), open_corpus(corpus, data).clips()
    store = store or _features_of(data)
    model = str(face_model) if face_model else None
    done = run(clips, store, wanted.backbones, wanted.label_rate, face_model=model, workers=workers)
    console.print(
        f"{done} clips extracted, {len(clips) - done} were there; next: avgate train --data {data} --out RUN",
        soft_wrap=True,
    )


def train(
    data: Path,
    out: Path,
    recipe: str = "demo",
    fusion: Fusion = None,
    seed: int | None = None,
    set: tuple[str, ...] = (),
    store: Path | None = None,
    corpus: str = "rendered",
    accelerator: str = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true",
) -> None:
    """Train a recipe on a corpus whose features are extracted; run it again to continue after an interruption.

    Args:
        data: The corpus' folder.
        out: Folder for the run: checkpoint.safetensors, history.csv and what is needed to continue.
        recipe: Which recipe.
        fusion: Fusion to use instead of the recipe's.
        seed: Seed to use instead of the recipe's.
        set: Settings to change, as path=value: train.epochs=5 model.fusion.tau=0.5
        store: Folder of the features; DATA/features unless given.
        corpus: Kind of corpus.
        accelerator: auto, cpu, cuda, ...
        precision: Numeric precision.
    """
    from avgate.config import override
    from avgate.console import console
    from avgate.corpora import open_corpus
    from avgate.files import make_folder
    from avgate.recipes import recipe_named
    from avgate.store import FeatureStore
    from avgate.train import train as run

    wanted = recipe_named(recipe)
    if fusion:
        wanted = wanted.with_fusion(fusion)
    if seed is not None:
        wanted = override(wanted, f"train.seed={seed}")
    wanted = override(wanted, *set)
    checkpoint = run(
        open_corpus(corpus, data),
        FeatureStore(store or _features_of(data)),
        wanted,
        make_folder(out),
        accelerator=accelerator,
        precision=precision,
    )
    scores = checkpoint.scores["validation"]
    console.print(
        f"best epoch {checkpoint.trained_on['epoch']}: validation CCC {scores['raw']['mean']['ccc']:.3f} raw, "
        f"{scores['smoothed']['mean']['ccc']:.3f} smoothed -> {out / 'checkpoint.safetensors'}",
        soft_wrap=True,
    )


def evaluate(
    checkpoints: Annotated[tuple[Path, ...], Positional, arg(metavar="CHECKPOINT...")],
    data: Path,
    split: str = "test",
    store: Path | None = None,
    corpus: str = "rendered",
    out: Path | None = None,
) -> None:
    """Score trained models on held-out clips: pooled CCC with bootstrap intervals, PCC, RMSE, raw and smoothed.

    Args:
        checkpoints: What to score.
        data: The corpus' folder.
        split: Which clips: train, validation or test.
        store: Folder of the features; DATA/features unless given.
        corpus: Kind of corpus.
        out: JSON file for the scores, per clip too.
    """
    from rich.console import Console

    from avgate.checkpoint import load_checkpoint
    from avgate.corpora import open_corpus
    from avgate.errors import UsageError
    from avgate.evaluate import evaluate as run
    from avgate.evaluate import table, write_results
    from avgate.store import FeatureStore

    if not checkpoints:
        raise UsageError("there is nothing to evaluate", hint="name one or more checkpoint.safetensors")
    opened, features = open_corpus(corpus, data), FeatureStore(store or _features_of(data))
    loaded = [load_checkpoint(path) for path in checkpoints]
    fusions = [checkpoint.recipe.fusion for checkpoint in loaded]
    # Several runs of one fusion are told apart by their folders.
    names = [
        f if fusions.count(f) == 1 else f"{f} ({p.parent.name})" for f, p in zip(fusions, checkpoints, strict=True)
    ]
    results = [run(c, opened, features, split, name) for c, name in zip(loaded, names, strict=True)]
    Console().print(table(results))
    if out:
        write_results(results, out)


def benchmark(
    corpus: Positional[str],
    data: Path,
    out: Path,
    recipe: str | None = None,
    fusions: tuple[str, ...] = ("audio", "video", "concat", "rjca", "hgrjca"),
    reference: str | None = None,
    ablate: bool = False,
    seeds: int = 3,
    folds: int = 5,
    stress: bool = False,
    set: tuple[str, ...] = (),
    store: Path | None = None,
    workers: int | None = None,
) -> None:
    """Compare fusions fairly: one protocol, one budget, several seeds, and a paired test of every difference.

    Args:
        corpus: Kind of corpus.
        data: The corpus' folder.
        out: Folder for runs, results.json and results.md; run it again to continue after an interruption.
        recipe: What is trained; its fusion is replaced by each of the fusions. The corpus' own recipe unless given.
        fusions: What to compare; "all" is every one.
        reference: What all others are compared with; hgrjca unless given.
        ablate: Instead of fusions, compare hgrjca with itself, one thing changed at a time.
        seeds: How many training seeds.
        folds: Cross-validation by person; 0 takes the corpus' own splits.
        stress: Also try every model on clips in which voice or face is missing or misleads.
        set: Settings to change, as path=value; tuning=() tries no other settings.
        store: Folder of the features; DATA/features unless given.
        workers: Processes; one per core unless given.
    """
    from rich.console import Console

    from avgate.ablations import PUBLISHED, ablations
    from avgate.benchmark import Protocol, Variant
    from avgate.benchmark import benchmark as run
    from avgate.config import override
    from avgate.fusions import FUSIONS, fusion_named
    from avgate.recipes import OF_CORPUS, recipe_named
    from avgate.results import markdown

    wanted = override(recipe_named(recipe or OF_CORPUS.get(corpus, "demo")), *set)
    names = [f.name for f in FUSIONS] if fusions == ("all",) else [fusion_named(name).name for name in fusions]
    variants = ablations(wanted) if ablate else [Variant(name, wanted.with_fusion(name)) for name in names]
    reference = reference or (PUBLISHED if ablate else "hgrjca")
    protocol = Protocol(corpus, data, store or _features_of(data), folds, stress)
    results = run(protocol, variants, range(seeds), out, reference=reference, workers=workers)
    Console().print(markdown(results), markup=False, soft_wrap=True)


def inspect(
    corpus: Positional[str],
    data: Annotated[Path, arg(aliases=["--root"])],
    out: Path | None = None,
) -> None:
    """Say what a corpus holds, what is missing and what disagrees, before anyone waits for an extraction.

    Args:
        corpus: Kind of corpus.
        data: The corpus' folder, or its list of clips.
        out: JSON file for the same.
    """
    import json

    from rich.console import Console

    from avgate.corpora import open_corpus
    from avgate.files import atomic_write
    from avgate.inspect import inspect as run
    from avgate.inspect import plain, summary

    opened = open_corpus(corpus, data)
    reports = run(opened)
    found = plain(opened, reports)
    console = Console(soft_wrap=True, highlight=False)
    console.print(summary(opened, reports))
    for clip, findings in found["findings"].items():
        console.print(f"{clip}: {'; '.join(findings)}", markup=False)
    console.print("nothing is missing" if not found["findings"] else f"{len(found['findings'])} clips to look at")
    if out:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(found, indent=1, allow_nan=False))


def labels(
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE...")],
    out: Path,
    how: Literal["mean", "ewe", "raaw"] = "ewe",
    rate: float | None = None,
    delay: str = "0",
    features: tuple[Path, ...] = (),
    longest_delay: float = 6.0,
    limits: tuple[float, float] | None = None,
    target: str | None = None,
    targets: tuple[str, ...] = (),
    video: Path | None = None,
    format: str | None = None,
    plot: Path | None = None,
    report: Path | None = None,
) -> None:
    """Make one label of several raters' files of a clip, say how well they agree, or turn one format into another.

    Reads NOVA, ELAN, Praat, CARMA, DARMA, MuSe, Aff-Wild2 and CSV tables. Files with the same target are raters of it.

    Args:
        files: Label files, one or more per rater.
        out: File to write; its suffix says the format.
        how: Mean of the raters, EWE (weighted by correlation with the mean), or RAAW (warped onto each other first).
        rate: Labels per second in the result; that of the fastest rater unless given.
        delay: Seconds by which raters lag behind, or mi or ccc: the lag at which labels fit the features best.
        features: For that: feature files of avgate extract, or CSV tables with a column of times.
        longest_delay: Longest lag to try, in seconds.
        limits: Lowest and highest value in the files, if not -1 and 1 and the files don't say so themselves.
        target: What the files' only target is called.
        targets: Which targets to take; all unless given.
        video: The video, whose frames are the clock of Aff-Wild2's files.
        format: Format to write, where the suffix doesn't say: nova, nova-binary, elan, textgrid, carma, muse, ...
        plot: Figure of all raters and the result; .png or .pdf.
        report: JSON file for agreement and delays.
    """
    import json

    from rich.console import Console

    from avgate.errors import UsageError
    from avgate.files import atomic_write
    from avgate.labels import labels as run
    from avgate.labels import report as about
    from avgate.labels import table

    if not files:
        raise UsageError("there is nothing to read", hint="name one or more label files")
    found = run(
        files,
        out,
        how=how,
        rate=rate,
        delay=delay,
        features=features,
        longest_s=longest_delay,
        limits=limits,
        target=target,
        targets=targets,
        video=video,
        format=format,
        plot=plot,
    )
    Console().print(table(found))
    if report:
        with atomic_write(report) as temporary:
            temporary.write_text(json.dumps(about(found), indent=1, allow_nan=False))


def reproduce(
    corpus: Annotated[Literal["affwild2"], Positional],
    data: Path,
    out: Path,
    recipe: str = "affwild2-hgrjca",
    folds: int = 6,
    set: tuple[str, ...] = (),
    sample: Path | None = None,
    store: Path | None = None,
    face_model: Path | None = None,
    workers: int | None = None,
    accelerator: str = "auto",
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true",
) -> None:
    """Extract, train and evaluate as the papers do, and print the result beside what they report.

    Args:
        corpus: Kind of corpus.
        data: The release's folder.
        out: Folder for runs, results.json and submission.csv; run it again to continue after an interruption.
        recipe: affwild2-jca, -rjca, -grjca, -hgrjca, -rhgrjca or -lfan.
        folds: How many folds; the first is the official split.
        set: Settings to change, as path=value.
        sample: The challenge's sample file; then submission.csv joins all folds.
        store: Folder of the features; DATA/features unless given.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        workers: Processes for the extraction; one per core unless given.
        accelerator: auto, cpu, cuda, ...
        precision: Numeric precision.
    """
    from rich.console import Console

    from avgate.config import override
    from avgate.files import make_folder
    from avgate.recipes import recipe_named
    from avgate.reproduce import reproduce as run
    from avgate.reproduce import table

    results = run(
        data,
        make_folder(out),
        override(recipe_named(recipe), *set),
        folds=folds,
        store=store,
        sample=sample,
        face_model=str(face_model) if face_model else None,
        workers=workers,
        accelerator=accelerator,
        precision=precision,
    )
    Console().print(table(results))


def submit(
    checkpoints: Annotated[tuple[Path, ...], Positional, arg(metavar="CHECKPOINT...")],
    data: Path,
    sample: Path,
    out: Path,
    store: Path | None = None,
) -> None:
    """Write Aff-Wild2's test results as the challenge wants them: the rows and order of its sample file.

    Args:
        checkpoints: Trained models; several are joined by CCC centring.
        data: The release's folder.
        sample: The challenge's sample file.
        out: File to write.
        store: Folder of the features; DATA/features unless given.
    """
    from avgate.checkpoint import load_checkpoint
    from avgate.console import console
    from avgate.corpora import open_corpus
    from avgate.errors import UsageError
    from avgate.store import FeatureStore
    from avgate.submission import submit as run

    if not checkpoints:
        raise UsageError("there is nothing to submit", hint="name one or more checkpoint.safetensors")
    features = FeatureStore(store or _features_of(data))
    loaded = [load_checkpoint(path) for path in checkpoints]
    filled = run(loaded, open_corpus("affwild2", data), features, sample, out)
    for video, count in filled.items():
        console.print(f"[yellow]{video}:[/] {count} frames without an estimate were interpolated")
    console.print(f"{out} is written and has the rows of {sample}", soft_wrap=True)


def check_submission(submission: Annotated[Path, Positional], sample: Path) -> None:
    """Refuse an Aff-Wild2 submission that isn't what the challenge's sample file asks for, naming the row.

    Args:
        submission: The file to check.
        sample: The challenge's sample file.
    """
    from avgate.console import console
    from avgate.submission import check_submission as run

    console.print(f"{submission}: {run(submission, sample)} rows, as asked for", soft_wrap=True)


def predict(
    videos: Videos,
    out: Path,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    report: bool = True,
    formats: tuple[str, ...] = ("csv", "json"),
) -> None:
    """Turn videos of a person into valence and arousal, frame by frame: NAME.csv, NAME.json, NAME.html and NAME.png.

    Args:
        videos: Video files.
        out: Folder for the results.
        checkpoint: A trained model; the demonstration weights unless given.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        report: Write the HTML and PNG reports too.
        formats: Data files to write.
    """
    from avgate.errors import UsageError
    from avgate.predict import predict as run

    if not videos:
        raise UsageError("there is nothing to predict", hint="name one or more video files")
    run(videos, out, checkpoint=checkpoint, face_model=face_model, report=report, formats=formats)


def report(trace: Annotated[Path, Positional], out: Path, video: Path | None = None) -> None:
    """Draw the report of a trace that `avgate predict` wrote, as HTML, or PNG or PDF for a paper.

    Args:
        trace: The NAME.json of a prediction.
        out: File to write; .html, .png or .pdf decides what it is.
        video: The video, to be shown in an HTML report.
    """
    from avgate.report import report as run

    run(trace, out, video)


def demo(out: Path = Path("demo"), workers: int | None = None) -> None:
    """See it work: render a corpus, extract, train four fusions, compare them on unseen identities, write a report.

    Args:
        out: Folder for everything the demonstration makes.
        workers: Processes; one per core unless given.
    """
    from avgate.console import console
    from avgate.demo import demo as run
    from avgate.files import make_folder

    run(make_folder(out), workers=workers)
    console.print(f"Report: {out / 'report.html'} (open it in a browser)")


VERBS = {
    f.__name__.replace("_", "-"): f
    for f in (
        demo,
        predict,
        report,
        render,
        inspect,
        labels,
        extract,
        train,
        evaluate,
        reproduce,
        submit,
        check_submission,
        benchmark,
    )
}


def main(args: list[str] | None = None) -> None:
    """Run the command line; AvgateErrors become one message and their exit code, Ctrl-C ends with 130."""
    from avgate.console import console

    if (sys.argv[1:] if args is None else args) == ["--version"]:
        from importlib.metadata import version

        print(f"avgate {version('avgate')}")
        return
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="avgate",
            description="Per-frame valence and arousal from face and voice, and everything around it.",
            args=args,
        )
    except AvgateError as error:
        console.print(f"[bold red]error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("[bold]interrupted:[/] what is finished is kept; the same command continues from there.")
        sys.exit(130)


def _features_of(data: Path) -> Path:
    """Where a corpus' features are unless told otherwise: beside its clips."""
    return (data.parent if data.is_file() else data) / "features"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
