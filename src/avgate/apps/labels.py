"""`avgate labels`: merge several raters' label files of one clip, in any format, and report how well they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from avgate.core.console import console
from avgate.core.errors import UsageError, choose
from avgate.core.figures import plain_names
from avgate.core.files import atomic_write, json_values, refuse_overwriting
from avgate.core.text import listed, number
from avgate.core.timeline import Grid, resample
from avgate.core.types import LabelTrack
from avgate.labels.agreement import Agreement, agreement
from avgate.labels.delay import MEASURES, delay_doubts
from avgate.labels.formats import LABEL_FORMATS, files_of, keeps_times, label_format, read_labels, write_labels
from avgate.labels.merge import Merged, merge_raters
from avgate.labels.tracks import (
    FARTHEST_S,
    from_zero,
    grid_for,
    intervals,
    labels_on_grid,
    moved_s,
    own_rate,
    steps_of,
    values_at,
)
from avgate.media import Media

_HIGHEST_RATE = 1000.0

PLOTS = (".png", ".pdf", ".svg")
"""Suffixes that a plot's file name may have."""


def read_features(paths: Sequence[Path], grid: Grid) -> np.ndarray:
    """Features of several files side by side, on one grid.

    Args:
        paths: avgate's feature files (.safetensors), or CSV tables with a column of times.
        grid: the grid of the result.

    Returns:
        float [n d], as long as the shortest; NaN where absent.

    Raises:
        FeatureError: a feature file can't be read.
        CorpusError: a table can't be read.
    """
    from avgate.features.store import read_track

    found = []
    for path in paths:
        if path.suffix == ".safetensors":
            track = read_track(path)
            n = grid.steps(track.grid.start_s + len(track.present) / track.grid.rate)
            found.append(resample(track.values, track.present, track.grid, grid, n)[0])
        else:
            table = label_format("csv").read(path, None)
            found.append(labels_on_grid(table, grid, steps_of({str(path): table}, grid)))
    n = min(len(values) for values in found)
    return np.concatenate([values[:n] for values in found], 1)


def labels(
    files: Sequence[Path],
    out: Path,
    *,
    how: str = "ewe",
    rate: float | None = None,
    delay: str = "0",
    features: Sequence[Path] = (),
    longest_s: float = 6.0,
    limits: tuple[float, float] | None = None,
    target: str | None = None,
    targets: Sequence[str] = (),
    video: Path | None = None,
    format: str | None = None,
    plot: Path | None = None,
    report_to: Path | None = None,
) -> tuple[dict[str, Merged], list[Path]]:
    """Read label files, merge their raters, and write the result, with a plot if asked for.

    Args:
        files: label files, one or more per rater.
        out: file to write; its suffix says the format.
        how: a name in `labels.merge.MERGES`.
        rate: labels per second in the result; unless given, one file keeps its times, and several have `grid_for`'s.
        delay: seconds as text, or a name in `labels.delay.MEASURES`.
        features: files of features, to find the delay.
        longest_s: longest delay to try, in seconds.
        limits: lowest and highest value in the files, see `read_labels`.
        target: name for the files' only target.
        targets: targets to take; all unless given.
        video: the video, whose frame times Aff-Wild2's files need.
        format: format to write, where the suffix doesn't say.
        plot: figure of raters and result.
        report_to: the JSON report that the caller will write; only checked here, so that it overwrites no input.

    Returns:
        Target -> raters and merged label, and the label files that were written.

    Raises:
        UsageError: options that contradict each other or the files.
        CorpusError: a label file is missing or wrong, or nothing is left of a target.
        FeatureError: no delay can be found from these features.
        OutputError: a file can't be written.
    """
    if len(set(files)) < len(files):
        raise UsageError("a file is named twice", hint="each rater counts once")
    if not 0 < longest_s < np.inf:
        what = f"the longest delay can't be {longest_s:g} s"
        raise UsageError(what, where="--longest-delay", hint="give seconds above 0")
    named = {f.suffix.lower(): f.name for f in reversed(LABEL_FORMATS)} | {".csv": "csv"}
    format = label_format(format or choose("suffix of a label file", out.suffix.lower(), named)).name
    if plot and plot.suffix.lower() not in PLOTS:
        raise UsageError(f"'{plot}' can't be drawn", where="--plot", hint=f"its name must end in {', '.join(PLOTS)}")
    if format == "affwild2" and not video:
        what = "Aff-Wild2's label files have one row per video frame, so the video is needed"
        raise UsageError(what, where="--out", hint="give the video by --video, or choose another format for --out")
    if target is not None and not target.strip():
        raise UsageError("a target needs a name", where="--target")
    frames = cache(lambda: Media(video).frame_times()) if video else None  # read at most once
    read = [read_labels(file, frames=frames, limits=limits, target=target, targets=targets) for file in files]
    for file, track in zip(files, read, strict=True):
        for note in _notes(track):
            console.say((f"{file.name}:", "yellow"), f" {note}")
    tracks = {name: from_zero(track) for name, track in zip(_names(files), read, strict=True) if track.targets}
    there = {name for track in tracks.values() for name in track.targets}
    lacking = [name for name in targets if name not in there]
    if lacking:
        what = f"no file has labels for {', '.join(lacking)}"
        raise UsageError(what, where="--targets", hint=f"the files have {listed(sorted(there)) or 'none of them'}")
    written = {f"--out ({file.name})": file for file in files_of(out, tuple(there), format)}
    refuse_overwriting([*files, *features], {**written, "--plot": plot, "--report": report_to})
    if rate is not None and not 0 < rate <= _HIGHEST_RATE:
        raise UsageError(f"{rate:g} labels per second can't be written", hint=f"--rate is up to {_HIGHEST_RATE:g}")
    late = _checked_delay(delay, features)
    late_s = 0.0 if isinstance(late, str) else late
    grid = grid_for(tracks, rate, delay_s=late_s, at_zero=label_format(format).suffix == ".annotation")
    # One file's labels keep their times, unless these are to change, or the format has regular steps.
    alone = next(iter(tracks.values())) if len(tracks) == 1 and rate is None and late == 0 else None
    if alone is None or not (format == "affwild2" or keeps_times(alone, format)):
        alone = None
        for name, track in tracks.items():
            if moved := _moved(track, grid):
                console.say((f"{name}:", "yellow"), f" {moved}")
    found = merge_raters(
        tracks,
        grid,
        how=how,
        delay=late,
        features=read_features(features, grid) if features else None,
        longest_s=longest_s,
    )
    for name, merged in found.items():
        if late_s and abs(merged.delay_s - late_s) > FARTHEST_S + 1e-6:
            what = f"moved by {merged.delay_s:g} s, not {late_s:g}, since steps are {1 / grid.rate:g} s"
            console.say((f"{name}:", "yellow"), f" {what}: give a higher --rate")
        if merged.unheard:
            what = f"not counted, because they contradict the mean of all raters: {listed(merged.unheard)}"
            console.say((f"{name}:", "yellow"), f" {what}")
        agreed = _agreement(merged)
        if agreed is not None and agreed.pairs < 0:
            what = f"the raters contradict each other (CCC of pairs {agreed.pairs:.3f}), so their label means little"
            console.say((f"{name}:", "yellow"), f" {what}")
        if delay in MEASURES:
            console.say(f"{name}: moved {merged.delay_s:g} s earlier, the delay that {delay} found")
        for doubt in delay_doubts(merged.fit, merged.delay_s, merged.label, grid.rate):
            console.say((f"{name}:", "yellow"), f" {doubt}")
    result = _track(found, grid) if alone is None else alone
    if frames and format == "affwild2":
        result = LabelTrack(frames(), values_at(result, frames()).astype(np.float32), result.targets)
    files_written = write_labels(result, out, format)
    if plot:
        plot_labels(found, grid, plot)
    return found, files_written


def _notes(track: LabelTrack) -> list[str]:
    """What the user must know of a file: its own notes, and what of it isn't merged."""
    early = int((intervals(track)[1] <= 0).sum())
    notes = [*track.notes, *(["left out: it has none of these --targets"] if not track.targets else [])]
    return [*notes, f"left out: {early} labels before 0 s"] if early else notes


def _checked_delay(delay: str, features: Sequence[Path]) -> float | str:
    """The delay in seconds, or the measure to find it by; UsageError for anything else."""
    if delay in MEASURES:
        if not features:
            hint = "give --features FILE: a feature file of avgate extract, or a CSV table with a column of times"
            raise UsageError(f"to find the delay by {delay}, features are needed", where="--delay", hint=hint)
        return delay
    seconds = number(delay)
    if seconds is None or seconds < 0:
        hint = f"give seconds, such as 2.5, or one of {', '.join(MEASURES)} to find the delay from features"
        raise UsageError(f"the delay can't be '{delay}'", where="--delay", hint=hint)
    return seconds


def _names(files: Sequence[Path]) -> list[str]:
    """Names of the raters: the files' stems where these differ, else their paths."""
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _moved(track: LabelTrack, grid: Grid) -> str | None:
    """By how much a grid moves labels that are no denser than its steps; None where it is next to nothing."""
    moved = moved_s(track, grid)
    if moved <= FARTHEST_S + 1e-6 or (own_rate(track) or 0) > 1.01 * grid.rate:
        return None
    what = f"labels were moved by up to {moved:.2g} s, onto steps of {1 / grid.rate:g} s"
    return f"{what}: a higher --rate moves them less"


def _track(found: Mapping[str, Merged], grid: Grid) -> LabelTrack:
    """The merged labels of all targets: one interval per grid step."""
    values = np.stack([merged.label for merged in found.values()], 1).astype(np.float32)
    edges = grid.start_s + np.arange(len(values) + 1) / grid.rate
    return LabelTrack(edges[:-1], values, tuple(found), edges[1:])


def agreement_json(found: Mapping[str, Merged]) -> dict[str, Any]:
    """Agreement, delay and `fit` of each target, as JSON can hold them; `fit` has one number per delay tried."""
    return {
        target: json_values(
            {
                "raters": m.raters,
                "agreement": None if (agreed := _agreement(m)) is None else vars(agreed),
                "delay_s": m.delay_s,
                "fit": m.fit,
            }
        )
        for target, m in found.items()
    }


def agreement_table(found: Mapping[str, Merged]) -> Table | None:
    """One row per target: raters, their agreement and delay; None where no target has two raters."""
    agreed_on = {target: _agreement(m) for target, m in found.items()}
    if not any(agreed_on.values()):
        return None
    shown = Table(title="Agreement of raters")
    for column in ("target", "raters", "CCC of pairs", "CCC with the others", "Cronbach's alpha", "delay"):
        shown.add_column(column, justify="left" if column == "target" else "right")
    for target, m in found.items():
        agreed = agreed_on[target]
        cells = ["", "", ""]
        if agreed:
            lowest, highest = min(agreed.others), max(agreed.others)
            alpha = "–" if agreed.alpha != agreed.alpha else f"{agreed.alpha:.3f}"
            cells = [f"{agreed.pairs:.3f}", f"{lowest:.3f} to {highest:.3f}", alpha]
        shown.add_row(target, str(len(m.raters)), *cells, f"{m.delay_s:.2f} s")
    return shown


def _agreement(merged: Merged) -> Agreement | None:
    return agreement(merged.ratings) if len(merged.raters) > 1 else None


def plot_labels(found: Mapping[str, Merged], grid: Grid, path: Path) -> None:
    """Plot one panel per target: all raters, and the merged label."""
    from matplotlib.figure import Figure

    with plain_names():
        figure = Figure(figsize=(10, 2.6 * len(found)), layout="constrained")
        axes = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
        for axis, (target, m) in zip(axes, found.items(), strict=True):
            time_s = grid.times(len(m.label))
            for rater, rating in zip(m.raters, m.ratings, strict=True):
                axis.plot(time_s, rating, lw=0.9, alpha=0.7, label=rater)
            moved = f", moved by {m.delay_s:g} s" if m.delay_s else ""
            axis.plot(time_s, m.label, color="black", lw=1.8, label=f"label{moved}")
            axis.set_ylabel(target)
            axis.set_ylim(-1.05, 1.05)
            axis.grid(alpha=0.3)
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
        axes[-1].set_xlabel("time (s)")
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=130)
