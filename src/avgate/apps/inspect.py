"""`avgate inspect`: what a corpus holds, and what is missing or contradictory, before features are extracted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from avgate.core.console import progress
from avgate.core.errors import AvgateError
from avgate.core.types import Clip, LabelTrack
from avgate.corpora.base import SPLITS, Corpus
from avgate.labels.tracks import intervals
from avgate.media import Media, open_recording

_LATE_S = 0.5
"""Seconds by which the ends of labels and video may differ without a finding."""


@dataclass(frozen=True)
class ClipReport:
    """What was found out about one clip.

    Attributes:
        clip: the clip.
        labels: its labels; None where there are none or they can't be read.
        video_s: float64 [n], times of the video's frames in seconds, or start and end of sound alone; empty where it
            can't be read.
        findings: what is missing or contradictory, one sentence each.
    """

    clip: Clip
    labels: LabelTrack | None
    video_s: np.ndarray
    findings: tuple[str, ...]


def inspect(corpus: Corpus) -> list[ClipReport]:
    """Check every clip: its labels, its video's times and sound, and whether they match.

    Only the first frame of each video is decoded, and of sound alone the first second. Problems with a clip become
    findings, not errors.
    """
    clips = corpus.clips()
    with progress() as bar, ThreadPoolExecutor() as pool:
        task = bar.add_task("Inspecting", total=len(clips))
        reports = []
        for report in pool.map(lambda clip: _look(corpus, clip), clips):
            reports.append(report)
            bar.advance(task)
    return reports


def _look(corpus: Corpus, clip: Clip) -> ClipReport:
    findings: list[str] = []
    labels, video_s = None, np.zeros(0)
    try:
        if clip.labels is None:
            findings.append("it has no labels")
        else:
            labels = corpus.labels(clip)
            if np.isnan(labels.values).any(1).all():
                findings.append("at no time are the labels of all targets known")
        if corpus.tracks(clip) is None:
            recording = open_recording(clip.video)
            video_s = recording.frame_times()
            if isinstance(recording, Media):
                findings += [note for note in recording.notes if note != "The file has no sound."]
                if recording.info.audio_codec is None:
                    findings.append("its video has no sound")
                if not recording.has_frames:
                    if next(recording.sound(chunk_s=1.0), None) is None:
                        findings.append("no sound in it can be decoded: it is empty or damaged")
                    video_s = np.array([0.0, np.nan_to_num(recording.info.duration_s)])
            if labels is not None and len(video_s):
                findings += _disagreements(labels, video_s)
    except AvgateError as error:
        findings.append(f"{error.where}: {error.what}")
    return ClipReport(clip, labels, video_s, tuple(findings))


def _disagreements(labels: LabelTrack, video_s: np.ndarray) -> list[str]:
    first_s, last_s = float(labels.time_s[0]), float(intervals(labels)[1][-1])
    found = []
    if math.isfinite(last_s) and last_s > video_s[-1] + _LATE_S:
        found.append(f"its labels end at {last_s:.2f} s, its recording at {video_s[-1]:.2f} s")
    if last_s < video_s[-1] - _LATE_S:
        found.append(f"its last {video_s[-1] - last_s:.2f} s have no labels")
    if first_s > video_s[0] + _LATE_S:
        found.append(f"its first {first_s - video_s[0]:.2f} s have no labels")
    return found


def corpus_table(corpus: Corpus, reports: Sequence[ClipReport]) -> Table:
    """One row per split: clips, groups, hours, labels, and mean and standard deviation of each target."""
    table = Table(title=f"{corpus.name}: {len(reports)} clips")
    targets = corpus.targets
    for column in ("split", "clips", "groups", "length", "labels", "known", *targets):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, about in as_json(corpus, reports)["splits"].items():
        spread = [about["targets"][t] for t in targets]
        table.add_row(
            split,
            str(about["clips"]),
            str(about["groups"]),
            f"{about['video_s'] / 3600:.2f} h",
            str(about["labels"]),
            "" if about["known"] is None else f"{about['known']:.1%}",
            *("" if s is None else f"{s['mean']:+.2f} ± {s['sd']:.2f}" for s in spread),
        )
    return table


def as_json(corpus: Corpus, reports: Sequence[ClipReport]) -> dict[str, Any]:
    """The report as JSON can hold it: counts and statistics of each split, and findings of each clip."""
    splits: dict[str, Any] = {}
    for split in dict.fromkeys(r.clip.split for r in reports):
        own = [r for r in reports if r.clip.split == split]
        labels = [r.labels.values for r in own if r.labels is not None]
        values = np.concatenate(labels) if labels else np.zeros((0, len(corpus.targets)))
        known = values[~np.isnan(values).any(1)].astype(np.float64)
        splits[split] = {
            "clips": len(own),
            "groups": len({r.clip.group for r in own}),
            "video_s": float(sum(r.video_s[-1] - r.video_s[0] for r in own if len(r.video_s))),
            "labels": len(values),
            "known": len(known) / len(values) if len(values) else None,
            "targets": {
                target: {"mean": float(known[:, k].mean()), "sd": float(known[:, k].std())} if len(known) else None
                for k, target in enumerate(corpus.targets)
            },
        }
    findings = corpus.findings()
    about: dict[str, str] = getattr(corpus, "about", dict)()
    lacking = [split for split in SPLITS if split not in splits]
    if lacking and reports:
        findings["(splits)"] = [f"there is no clip for {', '.join(lacking)}: training needs train and validation"]
    for report in reports:
        if report.findings:
            findings.setdefault(report.clip.name, []).extend(report.findings)
    return {
        "corpus": corpus.name,
        "about": about,
        "targets": list(corpus.targets),
        "splits": splits,
        "findings": findings,
    }


def summary(findings: Mapping[str, Sequence[str]]) -> str:
    """How much there is to look at, in one line; a name in brackets stands for the whole corpus."""
    clips = sum(not name.startswith("(") for name in findings)
    parts = [f"{clips} clip{'s' * (clips != 1)}"] * (clips > 0) + ["the corpus as a whole"] * (clips < len(findings))
    return f"{' and '.join(parts)} to look at" if findings else "nothing is missing"
