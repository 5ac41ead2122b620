"""Somebody's own corpus: a manifest, small videos with sound, and labels in one format per clip."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from avgate.core.types import LabelTrack
from avgate.labels.formats import write_labels
from tests.clips import greys, make_clip, tone

Row = dict[str, str]
SECONDS, RATE = 2, 25


def write_own_corpus(root: Path) -> Path:
    """Four clips of three people: labels as table, EAF, two NOVA files, and Aff-Wild2 text; returns the manifest."""
    formats = [("anna", "train", "csv"), ("anna", "train", "elan"), ("ben", "validation", "nova")]
    formats.append(("cleo", "test", "affwild2"))
    rows = []
    (root / "labels").mkdir(parents=True)
    (root / "videos").mkdir()
    for i, (group, split, name) in enumerate(formats):
        clip = f"clip{i}"
        make_clip(root / "videos" / f"{clip}.mp4", greys(SECONDS * RATE), sound=[(0.0, tone(SECONDS))])
        time_s = np.arange(SECONDS * RATE) / RATE
        values = np.stack([np.sin(time_s + i), np.cos(time_s + i)], 1).astype(np.float32)
        values[3] = np.nan
        suffix = {"csv": ".csv", "elan": ".eaf", "nova": ".annotation", "affwild2": ".txt"}[name]
        labels = LabelTrack(time_s, values, ("valence", "arousal"))
        files = write_labels(labels, root / "labels" / f"{clip}{suffix}", name)
        cell = "; ".join(f.relative_to(root).as_posix() for f in files)
        rows.append({"clip": clip, "video": f"videos/{clip}.mp4", "labels": cell, "split": split, "group": group})
    write_rows(root / "manifest.csv", rows)
    return root / "manifest.csv"


def write_rows(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def edit(path: Path, change: Callable[[list[Row]], object]) -> None:
    """Change a manifest in place."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    write_rows(path, rows)
