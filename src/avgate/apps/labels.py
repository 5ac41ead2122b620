"""`avgate labels`: several raters' files of one clip to one label, in any format, with how well they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from avgate.core.console import console
from avgate.core.errors import CorpusError, FeatureError, UsageError, choose
from avgate.core.files import atomic_write, refuse_overwriting
from avgate.core.timeline import Grid, resample
from avgate.core.types import LabelTrack
from avgate.labels.agreement import MERGES, Agreement, agreement
from avgate.labels.delay import MEASURES, delays
from avgate.labels.formats import LABEL_FORMATS, files_of, label_format, read_labels, write_labels
from avgate.labels.tracks import labels_on_grid, only, own_rate, stretches, values_at
from avgate.media import Media
from avgate.report.writers.base import plain

_HIGHEST_RATE = 1000.0
_DEFAULT_RATE = 10.0
"""Steps per second where labels are of stretches that last now so, now so."""

_ENOUGH_S = 120.0
"""Seconds of labels from which a delay is found without a word of doubt."""

PLOTS = (".png", ".pdf", ".svg")
"""What a plot's file name may end in."""


@dataclass(frozen=True)
class Merged:
    """One target's raters and what was made of them.

    Attributes:
        ratings: float32 [raters n] as read, on the common grid.
        raters: name of each rater.
        label: float64 [n], merged and moved to where it belongs; NaN where unknown.
        agreement: of the raters; None where there is one only.
        delay_s: by how much the label was moved to an earlier time.
        judged: per delay from 0 on, a step apart, how well it fits the features; empty where nobody asked.
    """

    ratings: np.ndarray
    raters: tuple[str, ...]
    label: np.ndarray
    agreement: Agreement | None
    delay_s: float
    judged: tuple[float, ...]


def merge(
    tracks: Mapping[str, LabelTrack],
    grid: Grid,
    *,
    how: str,
    delay: str = "0",
    features: np.ndarray | None = None,
    longest_s: float = 6.0,
) -> dict[str, Merged]:
    """Each target's label, made of all raters who rated it.

    Args:
        tracks: rater -> labels.
        grid: the clock of the result.
        how: of MERGES.
        delay: seconds, or a name of MEASURES: then the delay at which features and label fit best.
        features: float [n d] on the grid, for that.
        longest_s: longest delay that is tried.

    Raises:
        UsageError: no such way to merge, or a delay that is neither a number nor a measure.
    """
    chosen = choose("way to merge", how, MERGES)
    n = max(grid.steps(float(stretches(track)[1][-1])) for track in tracks.values())
    found = {}
    for target in dict.fromkeys(t for track in tracks.values() for t in track.targets):
        raters = tuple(rater for rater, track in tracks.items() if target in track.targets)
        # One target at a time: what is unknown of another one is no matter here.
        ratings = np.stack([labels_on_grid(only(tracks[r], [target]), grid, n)[:, 0] for r in raters])
        label = chosen(ratings)
        delay_s, judged = _delay(delay, label, features, grid, longest_s)
        shift = round(delay_s * grid.rate)
        label = np.append(label[shift:], np.full(min(shift, n), np.nan))
        if np.isnan(label).all():
            what = f"nothing is left of {target}: no step from 0 to {n / grid.rate:.1f} s has a value"
            moved = f" after a delay of {delay_s:g} s" if shift else ""
            raise CorpusError(f"{what}{moved}", hint="look at the files' times and values, or choose --targets")
        agreed = agreement(ratings) if len(raters) > 1 else None
        found[target] = Merged(ratings, raters, label, agreed, shift / grid.rate, judged)
    return found


def doubts(merged: Merged, grid: Grid) -> list[str]:
    """Why a delay that was found from features may be none: it lies at the end of what was tried, or little was there.

    How well features and label fit has a chance maximum too, which moves with every clip; minutes are needed for the
    raters' delay to stand out from it.
    """
    if not merged.judged:
        return []
    found = []
    if merged.delay_s and round(merged.delay_s * grid.rate) == len(merged.judged) - 1:
        found.append(
            f"{merged.delay_s:g} s is the longest delay that was tried, so it may be none: see the report's `fit`"
        )
    seconds = float((~np.isnan(merged.label)).sum()) / grid.rate
    if seconds < _ENOUGH_S:
        found.append(
            f"{seconds:.0f} s of labels say little of a delay; take it from minutes of them, or give it yourself"
        )
    return found


def _delay(
    delay: str, label: np.ndarray, features: np.ndarray | None, grid: Grid, longest_s: float
) -> tuple[float, tuple[float, ...]]:
    if delay not in MEASURES:
        try:
            seconds = float(delay)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < np.inf:
            hint = f"give seconds, such as 2.5, or one of {', '.join(MEASURES)} to find it from features"
            raise UsageError(f"'{delay}' is no delay", where="--delay", hint=hint)
        return seconds, ()
    if features is None:
        hint = "give --features FILE: a feature file of avgate extract, or a CSV table with a column of times"
        raise UsageError(f"to find the delay by {delay}, features are needed", where="--delay", hint=hint)
    n = min(len(label), len(features))
    judged = delays(label[:n], features[:n], grid.rate, longest_s, delay)
    if np.ptp(np.nan_to_num(judged)) == 0 and not np.isnan(judged).all():
        what = "the label fits the features no better at one delay than at another"
        raise FeatureError(
            what, where="--features", hint="give features that vary with what is rated, or a fixed --delay"
        )
    if np.isnan(judged).all():
        what = "too few steps have both features and labels at all delays"
        raise FeatureError(
            what, where="--features", hint=f"give a longer clip, or a --longest-delay below {longest_s:g} s"
        )
    return int(np.nanargmax(judged)) / grid.rate, tuple(judged.tolist())


def read_features(paths: Sequence[Path], grid: Grid) -> np.ndarray:
    """Features on a grid, float [n d]: of avgate's feature files, or of CSV tables with a column of times.

    Raises:
        FeatureError: a file can't be read as either.
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
            found.append(labels_on_grid(table, grid, grid.steps(float(stretches(table)[1][-1]))))
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
    """Read, align, merge, move and write; see the command line's help.

    Returns:
        Per target what was made, and the label files that were written.
    """
    if len(set(files)) < len(files):
        raise UsageError("a file is named twice", hint="each rater counts once")
    if not 0 < longest_s < np.inf:
        raise UsageError(f"{longest_s:g} s is no longest delay", where="--longest-delay", hint="give seconds above 0")
    named = {f.suffix.lower(): f.name for f in reversed(LABEL_FORMATS)} | {".csv": "csv"}
    format = label_format(format or choose("suffix of a label file", out.suffix.lower(), named)).name
    if plot and plot.suffix.lower() not in PLOTS:
        raise UsageError(f"'{plot}' can't be drawn", where="--plot", hint=f"its name must end in {', '.join(PLOTS)}")
    if format == "affwild2" and not video:
        what = "files of Aff-Wild2 have a row for each frame of the video"
        raise UsageError(what, where="--out", hint="give the video by --video, or a file of another kind to --out")
    if target is not None and not target.strip():
        raise UsageError("a target needs a name", where="--target")
    frames = cache(lambda: Media(video).frame_times()) if video else None  # read once, whoever asks
    read = [read_labels(file, frames=frames, limits=limits, target=target, targets=targets) for file in files]
    tracks = {name: track for name, track in zip(_names(files), read, strict=True) if track.targets}
    there = {name for track in tracks.values() for name in track.targets}
    lacking = [name for name in targets if name not in there]
    if lacking:
        raise UsageError(f"no file has labels for {', '.join(lacking)}", where="--targets", hint="name others")
    written = {f"--out ({file.name})": file for file in files_of(out, tuple(there), format)}
    refuse_overwriting([*files, *features], {**written, "--plot": plot, "--report": report_to})
    rates = [own for track in tracks.values() if (own := own_rate(track)) is not None]
    rate = (float(f"{max(rates):.6g}") if rates else _DEFAULT_RATE) if rate is None else rate
    if not 0 < rate <= _HIGHEST_RATE:
        raise UsageError(f"{rate:g} labels per second can't be written", hint=f"--rate is up to {_HIGHEST_RATE:g}")
    grid = Grid(rate)
    found = merge(
        tracks,
        grid,
        how=how,
        delay=delay,
        features=read_features(features, grid) if features else None,
        longest_s=longest_s,
    )
    for target, merged in found.items():
        for doubt in doubts(merged, grid):
            console.print(f"[yellow]{escape(target)}:[/] {doubt}", soft_wrap=True)
    files_written = write_labels(
        _track(found, grid, frames() if frames and format == "affwild2" else None), out, format
    )
    if plot:
        draw(found, grid, plot)
    return found, files_written


def _names(files: Sequence[Path]) -> list[str]:
    """The files' stems where these differ, else their paths."""
    stems = [file.stem for file in files]
    return stems if len(set(stems)) == len(stems) else [str(file) for file in files]


def _track(found: Mapping[str, Merged], grid: Grid, frames: np.ndarray | None) -> LabelTrack:
    """The labels as stretches of a step each, or at the times of a video's frames."""
    values = np.stack([merged.label for merged in found.values()], 1).astype(np.float32)
    start_s = np.arange(len(values)) / grid.rate
    whole = LabelTrack(start_s, values, tuple(found), np.append(start_s[1:], len(values) / grid.rate))
    if frames is None:
        return whole
    return LabelTrack(frames, values_at(whole, frames).astype(np.float32), whole.targets)


def report(found: Mapping[str, Merged]) -> dict[str, Any]:
    """Agreement and delays as JSON can hold them; `fit` has a number per delay from 0 on, a step apart."""
    return {
        target: plain(
            {
                "raters": m.raters,
                "agreement": None if m.agreement is None else vars(m.agreement),
                "delay_s": m.delay_s,
                "fit": m.judged,
            }
        )
        for target, m in found.items()
    }


def table(found: Mapping[str, Merged]) -> Table:
    """One row per target: raters, their agreement, and by how much the label was moved."""
    shown = Table(title="Agreement of raters")
    for column in ("target", "raters", "CCC of pairs", "CCC with the others", "Cronbach's alpha", "delay"):
        shown.add_column(column, justify="left" if column == "target" else "right")
    for target, m in found.items():
        agreed = m.agreement
        cells = ["", "", ""]
        if agreed:
            lowest, highest = min(agreed.others), max(agreed.others)
            cells = [f"{agreed.pairs:.3f}", f"{lowest:.3f} to {highest:.3f}", f"{agreed.alpha:.3f}"]
        shown.add_row(escape(target), str(len(m.raters)), *cells, f"{m.delay_s:.2f} s")
    return shown


def draw(found: Mapping[str, Merged], grid: Grid, path: Path) -> None:
    """One panel per target: all raters, and the label made of them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6 * len(found)), layout="constrained")
    axes = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (target, m) in zip(axes, found.items(), strict=True):
        time_s = grid.times(len(m.label))
        for rater, rating in zip(m.raters, m.ratings, strict=True):
            axis.plot(time_s, rating, lw=0.9, alpha=0.7, label=_literal(rater))
        moved = f", moved by {m.delay_s:g} s" if m.delay_s else ""
        axis.plot(time_s, m.label, color="black", lw=1.8, label=f"label{moved}")
        axis.set_ylabel(_literal(target))
        axis.set_ylim(-1.05, 1.05)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    axes[-1].set_xlabel("time (s)")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _literal(text: str) -> str:
    """A name that matplotlib shows as it is, whatever dollar signs are in it."""
    return text.replace("$", r"\$")
