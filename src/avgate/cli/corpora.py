"""Verbs for corpora: make one, look at it, merge its labels, extract its features."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from avgate.cli.options import (
    SEED,
    ClusterAddress,
    Corpus,
    Data,
    EngineName,
    FaceModel,
    FacesEvery,
    Recipe,
    Set,
    Store,
    Within,
    Workers,
    default,
)


def render(
    out: Path,
    identities: Annotated[int, Within(3, 10_000, 14)] = 14,
    clips: Annotated[int, Within(1, 1000, 2)] = 2,
    seconds: Annotated[float, Within(0.64, 3600, 28)] = 28.0,
    seed: Annotated[int, SEED] = 0,
    workers: Workers = None,
) -> None:
    """Render a synthetic corpus: clips of a face and a voice, with the valence and arousal of every frame.

    For example: avgate render --out corpus

    Args:
        out: Folder for the clips, their labels and the manifest.
        identities: How many people (faces with voices), at least 3.
        clips: Clips of each person.
        seconds: Length of a clip in seconds.
        seed: The same seed makes the same corpus.
    """
    from avgate.apps.demo import render_with_progress
    from avgate.core.console import console
    from avgate.corpora.rendered import RenderConfig

    config = RenderConfig(identities=identities, clips_per_identity=clips, seconds=seconds, seed=seed)
    render_with_progress(out, config, workers)
    console.say(f"{identities * clips} clips in {out}; next: avgate extract --data {shlex.quote(str(out))}")


def inspect(data: Data, corpus: Corpus = "rendered", out: Annotated[Path | None, default("none")] = None) -> None:
    """Say what a corpus holds, and what is missing or contradictory, before its features are extracted.

    For example: avgate inspect --corpus manifest --data clips.csv

    Args:
        out: JSON file to write the same to.
    """
    from avgate.apps.inspect import as_json, corpus_table, summary
    from avgate.apps.inspect import inspect as run
    from avgate.core.console import Terminal
    from avgate.core.files import refuse_overwriting, write_json
    from avgate.corpora import open_corpus

    opened = open_corpus(corpus, data)
    if out:
        refuse_overwriting([data], {"--out": out})
    reports = run(opened)
    found = as_json(opened, reports)
    console = Terminal(soft_wrap=True)
    console.print(corpus_table(opened, reports))
    for what, says in found["about"].items():
        console.say(f"{what}: {says}")
    for clip, findings in found["findings"].items():
        console.say(f"{clip}: {'; '.join(findings)}")
    console.say(summary(found["findings"]))
    if out:
        write_json(out, found)


def labels(
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="FILE...", help_behavior_hint="(one or more)")],
    out: Path,
    how: Literal["mean", "ewe", "raaw"] = "ewe",
    rate: Annotated[float | None, default("that of the fastest rater"), Within(0.001, 1000, 10)] = None,
    delay: str = "0",
    features: Annotated[tuple[Path, ...], default("none")] = (),
    longest_delay: Annotated[float, Within(0.001, 60, 6)] = 6.0,
    limits: Annotated[tuple[float, float] | None, default("what the files say, else -1 1"), Within(-1e9, 1e9)] = None,
    target: Annotated[str | None, default("as in the files")] = None,
    targets: Annotated[tuple[str, ...], default("all")] = (),
    video: Annotated[Path | None, default("none")] = None,
    format: Annotated[str | None, default("by the suffix of OUT")] = None,
    plot: Annotated[Path | None, default("none")] = None,
    report: Annotated[Path | None, default("none")] = None,
) -> None:
    """Merge several raters' label files of one clip and say how well they agree, or convert one format to another.

    Reads NOVA, ELAN, Praat, CARMA, DARMA, MuSe, Aff-Wild2 and CSV tables. Files with the same target are raters of it.

    For example: avgate labels anna.eaf ben.eaf --out merged.csv

    Args:
        files: Label files, one or more per rater.
        out: File to write; its suffix says the format. Formats of one target per file become NAME.TARGET.SUFFIX.
        how: Mean of the raters, EWE (weighted by correlation with the mean), or RAAW (warped onto each other first).
        rate: Labels per second in the result.
        delay: Raters' reaction time in seconds; or mi or ccc, which find the one at which labels fit the features best.
        features: For mi and ccc: feature files of avgate extract, or CSV tables with a column of times.
        longest_delay: For mi and ccc: longest reaction time to try, in seconds.
        limits: Lowest and highest possible value in the files.
        target: Name of the target, for files of one target.
        targets: Which targets to take.
        video: The video, whose frames are the clock of Aff-Wild2's files.
        format: Format to write: nova, nova-binary, elan, textgrid, carma, muse, ...
        plot: Figure of all raters and the result; .png, .pdf or .svg.
        report: JSON file for agreement and delays.
    """
    from avgate.apps.labels import agreement_json, agreement_table
    from avgate.apps.labels import labels as run
    from avgate.core.console import Terminal, console
    from avgate.core.errors import UsageError
    from avgate.core.files import write_json

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
        Terminal().print(table)
    for file in written:
        console.say(f"{file}")
    if report:
        write_json(report, agreement_json(found))


def extract(
    data: Data,
    corpus: Corpus = "rendered",
    store: Store = None,
    recipe: Recipe = "demo",
    set: Set = (),
    face_model: FaceModel = None,
    faces_every: FacesEvery = 1,
    workers: Workers = None,
    engine: EngineName = "local",
    address: ClusterAddress = None,
) -> None:
    """Extract the features of a corpus and keep them; run it again to continue after an interruption.

    Of the recipe and its settings, only backbones and label_rate matter here.

    For example: avgate extract --corpus manifest --data clips.csv --set 'backbones=("egemaps","blendshapes")'
    """
    from avgate.core.cluster import Engine
    from avgate.core.console import console
    from avgate.core.errors import CorpusError
    from avgate.corpora import open_corpus
    from avgate.features.extract import extract as run
    from avgate.features.store import features_beside
    from avgate.models.overrides import override
    from avgate.models.recipes import recipe_named

    wanted, clips = override(recipe_named(recipe), *set), open_corpus(corpus, data).clips()
    if not clips:
        hint = f"`avgate inspect --corpus {corpus} --data {shlex.quote(str(data))}` says what is missing"
        raise CorpusError("there is no clip to extract", where=data, hint=hint)
    beside = features_beside(data)
    store = store or beside
    model = str(face_model) if face_model else None
    done = run(
        clips,
        store,
        wanted.backbones,
        wanted.label_rate,
        face_model=model,
        faces_every=faces_every,
        workers=workers,
        engine=Engine(engine, address),
    )
    further = "".join(
        f" --{name} {shlex.quote(str(value))}"
        for name, value, usual in (("recipe", recipe, "demo"), ("corpus", corpus, "rendered"), ("store", store, beside))
        if value != usual
    )
    settings = f" --set {shlex.join(set)}" if set else ""
    train = f"; next: avgate train --data {shlex.quote(str(data))} --out RUN{further}{settings}"
    labelled = any(clip.labels is not None for clip in clips)
    console.say(f"{done} clips extracted, {len(clips) - done} were there{train if labelled else ''}")
