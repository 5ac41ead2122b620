"""Verbs that make, look at and prepare recordings and their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg


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

    from avgate.apps.demo import render_with_progress
    from avgate.core.console import console
    from avgate.corpora.rendered import RenderConfig

    given: dict[str, Any] = {"identities": identities, "clips_per_identity": clips, "seconds": seconds}
    config = replace(RenderConfig(seed=seed), **{k: v for k, v in given.items() if v is not None})
    render_with_progress(out, config, workers)
    console.print(
        f"{config.identities * config.clips_per_identity} clips in {out}; next: avgate extract --data {out}",
        soft_wrap=True,
    )


def inspect(
    corpus: Positional[str],
    data: Annotated[Path, arg(aliases=["--root"])],
    out: Path | None = None,
) -> None:
    """Say what a corpus holds, what is missing and what disagrees, before anyone waits for an extraction.

    Args:
        corpus: Kind of corpus: rendered, manifest (your own), affwild2, hazumi.
        data: The corpus' folder, or its list of clips.
        out: JSON file for the same.
    """
    import json

    from rich.console import Console

    from avgate.apps.inspect import as_json, corpus_table
    from avgate.apps.inspect import inspect as run
    from avgate.core.files import atomic_write, refuse_overwriting
    from avgate.corpora import open_corpus

    opened = open_corpus(corpus, data)
    if out:
        refuse_overwriting([data], {"--out": out})
    reports = run(opened)
    found = as_json(opened, reports)
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    console.print(corpus_table(opened, reports))
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
        out: File to write; its suffix says the format. Formats of one target per file become NAME.TARGET.SUFFIX.
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
        plot: Figure of all raters and the result; .png, .pdf or .svg.
        report: JSON file for agreement and delays.
    """
    import json

    from rich.console import Console

    from avgate.apps.labels import agreement_json, agreement_table
    from avgate.apps.labels import labels as run
    from avgate.core.console import console
    from avgate.core.errors import UsageError
    from avgate.core.files import atomic_write

    if not files:
        raise UsageError("there is nothing to read", hint="name one or more label files")
    found, written = run(
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
        report_to=report,
    )
    if table := agreement_table(found):
        Console(emoji=False).print(table)
    for file in written:
        console.print(f"{file}", soft_wrap=True, markup=False)
    if report:
        with atomic_write(report) as temporary:
            temporary.write_text(json.dumps(agreement_json(found), indent=1, allow_nan=False))


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
        data: The corpus' folder; of a manifest, the CSV file.
        store: Folder for the features; the folder features beside or in DATA unless given.
        recipe: Whose backbones to use; `avgate train --help` names them all.
        set: Settings to change, as path=value, such as backbones or label_rate.
        corpus: Kind of corpus: rendered, manifest (your own), affwild2, hazumi.
        face_model: face_landmarker.task, instead of mediapipe's own face mesh.
        workers: Processes; one per core unless given.
    """
    import shlex

    from avgate.core.console import console
    from avgate.corpora import open_corpus
    from avgate.features.extract import extract as run
    from avgate.features.store import features_beside
    from avgate.models.recipe import override
    from avgate.models.recipes import recipe_named

    wanted, clips = override(recipe_named(recipe), *set), open_corpus(corpus, data).clips()
    beside = features_beside(data)
    store = store or beside
    model = str(face_model) if face_model else None
    done = run(clips, store, wanted.backbones, wanted.label_rate, face_model=model, workers=workers)
    further = "".join(
        f" --{name} {value}"
        for name, value, usual in (("recipe", recipe, "demo"), ("corpus", corpus, "rendered"), ("store", store, beside))
        if value != usual
    )
    settings = f" --set {shlex.join(set)}" if set else ""
    console.print(
        f"{done} clips extracted, {len(clips) - done} were there; next: avgate train --data {data} --out RUN"
        f"{further}{settings}",
        soft_wrap=True,
        markup=False,
    )
