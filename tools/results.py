"""Make docs/results.md: all fusions on rendered and on real people, clean and stressed. Run by `make results`."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from claims import claims, in_words
from commit import git_commit
from hazumi_references import rater_agreement
from summary import with_bullets

from avgate.apps.affwild2.published import AFFWILD2, COLUMNS
from avgate.apps.demo import render_with_progress
from avgate.compare.ablations import CHANGES, PARTS, PUBLISHED, ablations
from avgate.compare.comparison import compare
from avgate.compare.intervals import intervals_table
from avgate.compare.markdown import markdown_table
from avgate.compare.protocol import Protocol, Variant
from avgate.compare.tables import alone_table, gates_table, scores_table, stress_tables
from avgate.core.console import console
from avgate.core.files import atomic_write, make_folder
from avgate.corpora.hazumi import Hazumi
from avgate.corpora.rendered import RenderConfig, Rendered
from avgate.features.extract import extract
from avgate.models.fusions import FUSIONS
from avgate.models.overrides import override
from avgate.models.recipes import recipe_named

DOCS = Path(__file__).resolve().parents[1] / "docs"
HAZUMI = DOCS.parents[1] / "shared" / "data" / "hazumi"
MAIN = ("audio", "video", "concat", "rjca", "hgrjca", "rhgrjca")
"""Fusions that are stressed; all of them are compared on clean clips."""


_CLAIMS = (
    "Claims about hazumi (about rendered people where it says so): what each needs, and what was measured, mean over "
    "seeds. A pair of numbers is the CCC of impression / topic continuance. What is needed was set beforehand, from "
    "the single modalities and a first look with one seed, without any tolerance; but the claims about rhgrjca on "
    "clean clips were added only after its numbers were known."
)


@dataclass(frozen=True)
class Size:
    """How much is trained; SMALL is for trying the command out."""

    seeds: int = 3
    folds: int = 5
    ablation_seeds: int = 1
    identities: int = 24
    clips: int = 2
    seconds: float = 28.0
    rendered_fusions: tuple[str, ...] = MAIN
    settings: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ablations: bool = False


SMALL = Size(
    seeds=1,
    folds=0,
    identities=3,
    clips=2,
    seconds=5.0,
    rendered_fusions=("hgrjca", "rhgrjca"),
    settings=("train.epochs=1", "tuning=()"),
    only=("hazumi-absence", "rendered-absence"),
)


@dataclass(frozen=True)
class Plan:
    """One comparison to make.

    Attributes:
        name: name of its figure.
        corpus: kind of corpus.
        recipe: name of the recipe.
        title: its heading on the page.
        fusions: what is compared; empty where hgrjca is compared with itself, one thing changed at a time.
        stress: whether models are also scored on corrupted clips.
        settings: changes to the recipe, as path=value.
        changes: names of the things that are changed in hgrjca.
    """

    name: str
    corpus: str
    recipe: str
    title: str
    fusions: tuple[str, ...] = MAIN
    stress: bool = True
    settings: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def plans(size: Size) -> list[Plan]:
    """All comparisons, the most important first: the page is written anew after each."""
    every = tuple(f.name for f in FUSIONS)
    few, untuned = size.rendered_fusions, ("tuning=()",)
    found = [
        Plan("hazumi-clean", "hazumi", "hazumi", "real people, trained on clean clips"),
        Plan("hazumi-absence", "hazumi", "hazumi-absence", "real people, trained for absence", settings=untuned),
        Plan(
            "rendered-absence", "rendered", "demo-absence", "rendered people, trained for absence", few, True, untuned
        ),
        Plan("rendered-clean", "rendered", "demo", "rendered people, trained on clean clips", few),
        Plan("rendered-all", "rendered", "demo", "rendered people, every fusion", every, stress=False),
        Plan("hazumi-all", "hazumi", "hazumi", "real people, every fusion", every, stress=False),
        Plan("parts", "hazumi", "hazumi-absence", "what rhgrjca is made of", (), True, untuned, PARTS),
        Plan("ablations", "hazumi", "hazumi", "hgrjca with one thing changed", (), False, untuned, tuple(CHANGES)),
    ]
    wanted = [plan for plan in found if not size.only or plan.name in size.only]
    return [plan for plan in wanted if plan.fusions or size.ablations]


@dataclass(frozen=True)
class Study:
    """A finished comparison: its plan, the command that makes it alone, its results, and the name of their folder."""

    plan: Plan
    command: str
    results: dict[str, Any]
    kept: str


def run(hazumi: Path, work: Path, size: Size, workers: int | None) -> Iterator[Study]:
    """Make one study after the other; each keeps its trainings under `work`, and a second call continues from there."""
    clips, store = make_folder(work / "rendered"), work / "rendered" / "features"
    look = RenderConfig(identities=size.identities, clips_per_identity=size.clips, seconds=size.seconds)
    render_with_progress(clips, look, workers)
    demo = recipe_named("demo")
    extract(Rendered(clips).clips(), store, demo.backbones, demo.label_rate, workers=workers)
    places = {"hazumi": (hazumi, hazumi / "features", size.folds), "rendered": (clips, store, 0)}
    for plan in plans(size):
        console.print(f"[bold]{plan.title}[/]")
        recipe = override(recipe_named(plan.recipe), *plan.settings, *size.settings)
        data, features, folds = places[plan.corpus]
        seeds = size.seeds if plan.fusions else size.ablation_seeds
        protocol = Protocol(plan.corpus, data, features, folds, plan.stress)
        variants = [Variant(f, recipe.with_fusion(f)) for f in plan.fusions] or ablations(recipe, plan.changes)
        reference = "hgrjca" if plan.fusions else PUBLISHED
        # Plans of one recipe share a folder, so that what one has trained is there for the other.
        kept = plan.recipe if plan.fusions else plan.name
        results = compare(protocol, variants, range(seeds), work / kept, reference=reference, workers=workers)
        options = [f"--recipe {plan.recipe} --folds {folds} --seeds {seeds}"]
        options += ["--stress"] if plan.stress else []
        options += [f"--fusions {' '.join(plan.fusions)}" if plan.fusions else "--ablate"]
        options += [f"--set {shlex.join(plan.settings)}"] if plan.settings else []
        yield Study(
            plan, f"avgate compare --corpus {plan.corpus} --data DATA --out OUT {' '.join(options)}", results, kept
        )


def page(studies: Sequence[Study], commit: str, agreement: str, seconds: float) -> str:
    """The whole page; every number but the quoted ones comes from the studies and the raters' agreement."""
    by_plan = {study.plan.name: study.results for study in studies}
    found = claims(by_plan)
    quoted = markdown_table(
        "Quoted from the papers, not measured here: CCC on Aff-Wild2.",
        "method",
        COLUMNS,
        {method: astuple(reported) for method, reported in AFFWILD2.items()},
    )
    rows = {c.what: (c.needed, c.measured, "yes" if c.holds else "**no**") for c in found}
    parts = [
        "# What gating does: results",
        "",
        f"Made by `{' '.join(['python tools/results.py', *sys.argv[1:]])}` "
        f"(`make {'ablations' if '--ablations' in sys.argv else 'results'}`); every number but the quoted ones comes "
        "from that command.",
        f"avgate {commit}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} "
        f"cores; the last call took {seconds / 60:.0f} min and took up what earlier ones had finished. All trainings, "
        f"with what was measured on them, took {_minutes(studies)} of processor time, each on one core.",
        "",
        "## What holds and what doesn't",
        "",
        in_words(found, by_plan),
        "",
        markdown_table(_CLAIMS, "claim", ["needed", "measured", "holds"], rows),
        f"One rater against the mean of the other four agrees by a CCC of {agreement} on hazumi.",
        "",
        "## Beside them: what the papers report",
        "",
        quoted,
    ]
    for study in studies:
        results = study.results
        parts += [f"## {study.plan.title[0].upper()}{study.plan.title[1:]}", "", f"`{study.command}`", ""]
        parts += [scores_table(results), intervals_table(results)]
        if study.plan.stress:
            parts += [f"![CCC over the corrupted share of the steps](results-{study.plan.name}.png)", ""]
            parts += [t for modality in results["corrupted"] for t in stress_tables(results, modality)]
            parts += [alone_table(results), gates_table(results)]
    return with_bullets("\n".join(parts))


def _minutes(studies: Sequence[Study]) -> str:
    """Processor time of all trainings; those that two studies share are counted once."""
    rows = {(s.kept, name): row["seconds"] for s in studies for name, row in s.results["fusions"].items()}
    known = [seconds for seconds in rows.values() if seconds is not None]
    missing = len(rows) - len(known)
    return f"{sum(known) / 60:.0f} min{f' (without {missing} models, whose time is unknown)' if missing else ''}"


def _agreement(hazumi: Path) -> str:
    corpus = Hazumi(hazumi)
    agreement = rater_agreement([corpus.session(clip) for clip in corpus.clips()])
    return " / ".join(f"{x:.3f}" for x in agreement.values())


def main() -> None:
    """Make every study, or continue where an earlier call stopped, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hazumi", type=Path, default=HAZUMI, help="folder that holds clones of Hazumi's repositories")
    parser.add_argument("--work", type=Path, default=DOCS.parent / "work" / "results", help="folder for all trainings")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for results.md and its figures")
    parser.add_argument("--ablations", action="store_true", help="also what each part of hgrjca and rhgrjca is worth")
    parser.add_argument("--small", action="store_true", help="a few minutes' worth, to see that the command works")
    parser.add_argument("--workers", type=int, help="processes; one per core unless given")
    given = parser.parse_args()
    if not given.hazumi.is_dir():
        raise SystemExit(
            f"there is no {given.hazumi}: give the folder that holds clones of Hazumi's repositories, --hazumi"
        )
    size = replace(SMALL if given.small else Size(), ablations=given.ablations)
    began, studies, out = time.monotonic(), [], make_folder(given.out)
    # The commit first: as soon as the page is written, the folder differs from it.
    commit, agreement = git_commit(), _agreement(given.hazumi)
    for study in run(given.hazumi, given.work, size, given.workers):
        studies.append(study)
        if study.plan.stress:
            with atomic_write(out / f"results-{study.plan.name}.png") as temporary:
                shutil.copyfile(given.work / study.kept / "curves.png", temporary)
        with atomic_write(out / "results.md") as temporary:
            temporary.write_text(page(studies, commit, agreement, time.monotonic() - began))


if __name__ == "__main__":
    main()
