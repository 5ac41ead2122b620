"""The figure: a trace on one page for a paper, as PNG or PDF."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avgate.core.errors import MediaError, UsageError
from avgate.core.files import atomic_write
from avgate.core.modalities import mask_named
from avgate.core.types import Trace, VideoFrame
from avgate.report.panels import AXIS_ENDS, QUADRANTS, Panel, band_words, frame_edges, interval_words, strip_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from avgate.report.shown import Envelope

SUFFIXES = (".png", ".pdf")

DPI = 300
"""Dots per inch of PNG files, and of the strips inside PDF files."""

WIDTH, LEFT, TIMELINE, PLANE, PLANE_SIDE = 7.2, 0.62, 4.2, 5.52, 1.6
"""In inches: the page, the left edge and width of what runs over time, the left edge and side of the plane."""

CURVE, ROW, PICTURE, WAVE, TITLE, LINE, GAP = 0.95, 0.15, 0.75, 0.45, 0.2, 0.13, 0.12
"""In inches: heights of a curve, a strip, a picture, a waveform, a heading and a line of the notes; space between."""

COLOURS = {"valence": "#1c5fc0", "arousal": "#b9500b"}
GREY, RULE = "#4d5966", "#d5d0c7"

STYLE = {"font.size": 7, "axes.linewidth": 0.6, "hatch.linewidth": 0.4, "pdf.fonttype": 42}


def write_figure(
    trace: Trace, out: Path, frames: Sequence[VideoFrame] | None = None, sound: Envelope | None = None
) -> None:
    """Draw the curves, the valence-arousal plane and the strips of presence and gates.

    Unknown stretches are gaps in the curves and hatched in the strips; the trace's notes stand below. A trace of one
    frame has a mark on a scale in place of each curve.

    Args:
        trace: what to draw, at least one frame.
        out: a path that ends with .png or .pdf.
        frames: pictures to show above the curves, in order of time; a handful.
        sound: draws a waveform above the curves, over the same time.

    Raises:
        UsageError: `out` has another suffix.
        MediaError: the trace has no frame.
        OutputError: `out` can't be written.
    """
    import matplotlib as mpl

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"a figure is a {' or '.join(SUFFIXES)} file", where=out, hint=f"name it {out.stem}.png, say")
    if not len(trace):
        raise MediaError("there is no frame to draw", where=trace.source or out, hint="check that the video plays")
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a file name in another script has boxes for letters
        figure = _figure(trace, frames or (), sound)
        with atomic_write(out) as temporary:
            # Without its date, the same trace gives the same file.
            figure.savefig(temporary, dpi=DPI, metadata={"CreationDate": None} if suffix == ".pdf" else None)


def _figure(trace: Trace, frames: Sequence[VideoFrame], sound: Envelope | None) -> Figure:
    from matplotlib.figure import Figure

    panels = strip_panels(trace)
    notes = [line for note in trace.notes for line in textwrap.wrap(note, 130)]
    height = 2 * GAP + TITLE + len(notes) * LINE + (PICTURE + TITLE + GAP if frames else 0)
    height += WAVE + TITLE + GAP if sound else 0
    height += len(trace.targets) * (CURVE + TITLE + GAP) + sum(_height(panel) + TITLE + GAP for panel in panels) + 0.32
    figure = Figure(figsize=(WIDTH, height))

    def place(left: float, top: float, width: float, tall: float) -> Axes:
        """Axes at a place in inches from the page's left and top edges."""
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    def write(text: str, top: float, **style: Any) -> None:
        figure.text(0.12 / WIDTH, 1 - top / height, text, va="top", parse_math=False, **style)

    # File names needn't be valid Unicode, and fonts need what is drawn to be.
    title = (trace.source or "Untitled recording").encode("utf-8", "replace").decode()
    write(title, GAP, fontsize=9, fontweight="bold")
    top = GAP + TITLE
    for line in notes:
        write(line, top, color="#7a5200")
        top += LINE
    if frames:
        width = (WIDTH - LEFT) / len(frames)
        for k, frame in enumerate(frames):
            caption = f"{frame.time_s:.2f} s" if len(trace) > 1 else ""
            _draw_picture(place(LEFT + k * width, top + TITLE, width - GAP, PICTURE), frame, caption)
        top += TITLE + PICTURE + GAP
    waves = []
    if sound:
        waves = [place(LEFT, top + TITLE, TIMELINE, WAVE)]
        _draw_waveform(waves[0], sound)
        top += TITLE + WAVE + GAP
    if {"valence", "arousal"} <= set(trace.targets):
        _draw_plane(place(PLANE, top + TITLE, PLANE_SIDE, PLANE_SIDE), trace)
    timelines = []
    for name, values in trace.targets.items():
        if len(trace) == 1:
            _draw_value(place(LEFT, top + TITLE, TIMELINE, CURVE), trace, name)
            top += TITLE + CURVE + GAP
            continue
        timelines.append(place(LEFT, top + TITLE, TIMELINE, CURVE))
        if name in trace.raw:
            timelines[-1].plot(trace.time_s, trace.raw[name], color=COLOURS.get(name, GREY), linewidth=0.5, alpha=0.4)
        if name in trace.low:
            ends = trace.low[name], trace.high[name]
            timelines[-1].fill_between(trace.time_s, *ends, color=COLOURS.get(name, GREY), alpha=0.15, linewidth=0)
        band = f"band: {band_words(trace)}" if name in trace.low else ""
        _draw_curve(timelines[-1], trace.time_s, name, np.asarray(values, np.float64), band)
        top += TITLE + CURVE + GAP
    for panel in panels:
        timelines.append(place(LEFT, top + TITLE, TIMELINE, _height(panel)))
        _draw_strips(timelines[-1], frame_edges(trace.time_s), panel)
        top += TITLE + _height(panel) + GAP
    if len(trace) == 1:
        for axes in timelines:
            axes.set_xticks([])
        return figure
    for axes in [*waves, *timelines]:
        axes.set_xlim(*frame_edges(trace.time_s)[[0, -1]])
        axes.tick_params(length=2, labelbottom=axes is timelines[-1])
        for frame in frames:
            axes.axvline(frame.time_s, color=GREY, linewidth=0.5, linestyle=":")
    timelines[-1].set_xlabel("time (s)")
    return figure


def _height(panel: Panel) -> float:
    return ROW * len(panel.rows)


def _heading(axes: Axes, title: str, more: str = "", colour: str = "black") -> None:
    axes.annotate(
        title, (0, 1), (0, 3), "axes fraction", "offset points", fontweight="bold", color=colour, parse_math=False
    )
    axes.annotate(
        more, (1, 1), (22, 3), "axes fraction", "offset points", ha="right", fontsize=6.5, color=GREY, parse_math=False
    )


def _draw_picture(axes: Axes, frame: VideoFrame, caption: str) -> None:
    axes.imshow(frame.image)
    axes.set_axis_off()
    axes.set_title(caption, fontsize=7, pad=2)


def _draw_waveform(axes: Axes, sound: Envelope) -> None:
    _heading(axes, "sound")
    heights = sound.bars(1000)
    time_s = np.linspace(0, sound.end_s, len(heights))
    axes.fill_between(time_s, -heights, heights, color=mask_named("voice").colours[0], linewidth=0)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_value(axes: Axes, trace: Trace, name: str) -> None:
    """The estimate of a single frame on its scale, with its interval."""
    colour, value, interval = COLOURS.get(name, GREY), float(trace.targets[name][0]), interval_words(trace, name)
    number = "unknown" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")
    _heading(axes, name, f"{number}; {interval}" if interval else number, colour)
    low, high = AXIS_ENDS.get(name, ("", ""))
    axes.plot([value], [0], "o", color=colour, markersize=6, zorder=3)
    if interval:
        axes.fill_betweenx([-0.25, 0.25], trace.low[name], trace.high[name], color=colour, alpha=0.15, linewidth=0)
    axes.axvline(0, color=RULE, linewidth=0.6)
    axes.set(xlim=(-1.05, 1.05), ylim=(-1, 1))
    axes.set_xticks([-1, 0, 1], [f"−1\n{low}", "0", f"+1\n{high}"])
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_position("center")
    axes.tick_params(length=2)


def _draw_curve(axes: Axes, time_s: np.ndarray, name: str, values: np.ndarray, band: str) -> None:
    colour = COLOURS.get(name, GREY)
    ends = AXIS_ENDS.get(name)
    _heading(axes, name, "; ".join(filter(None, [f"−1 {ends[0]}, +1 {ends[1]}" if ends else "", band])), colour)
    axes.axhline(0, color=RULE, linewidth=0.6)
    axes.plot(time_s, values, color=colour, linewidth=0.9)
    known = np.pad(~np.isnan(values), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    axes.plot(time_s[alone], values[alone], ".", color=colour, markersize=1.5)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.spines[["top", "right"]].set_visible(False)


def _draw_strips(axes: Axes, edges: np.ndarray, panel: Panel) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    _heading(axes, panel.title, f"pale: {panel.low}, strong: {panel.high}")
    axes.patch.set(hatch="//////", edgecolor="#b5b0a6")
    for k, row in enumerate(panel.rows):
        colours = LinearSegmentedColormap.from_list(row.hue, mask_named(row.hue).colours[::-1])
        axes.pcolormesh(edges, [k, k + 1], row.values[None], cmap=colours, vmin=0, vmax=1, rasterized=True)
        axes.axhline(k, color="white", linewidth=1.2)
        mean = "–" if np.isnan(row.mean) else f"{100 * row.mean:.0f} %"
        axes.annotate(mean, (1, k + 0.5), (4, 0), ("axes fraction", "data"), "offset points", va="center", color=GREY)
    axes.set_ylim(len(panel.rows), 0)
    axes.set_yticks(np.arange(len(panel.rows)) + 0.5, [row.label for row in panel.rows])
    axes.tick_params(axis="y", length=0)


def _draw_plane(axes: Axes, trace: Trace) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=RULE, linewidth=0.8))
    axes.axhline(0, color=RULE, linewidth=0.6)
    axes.axvline(0, color=RULE, linewidth=0.6)
    path = trace.targets["valence"], trace.targets["arousal"]
    axes.plot(*path, "o" if len(trace) == 1 else "-", color=COLOURS["valence"], linewidth=0.5, alpha=0.8)
    for (x, y), words in QUADRANTS.items():
        axes.text(0.52 * x, 0.86 * y, words, ha="center", va="center", fontsize=6, color=GREY)
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xlabel="valence", ylabel="arousal")
    axes.set_xticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.tick_params(length=2)
    axes.yaxis.labelpad = -4
