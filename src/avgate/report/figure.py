"""The figure: a trace on one page for a paper, as PNG, PDF or SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avgate.core.errors import MediaError, UsageError
from avgate.core.figures import plain_names
from avgate.core.files import atomic_write
from avgate.core.modalities import mask_named
from avgate.core.text import printable, quoted
from avgate.core.types import Trace, VideoFrame
from avgate.report.panels import AXIS_ENDS, QUADRANTS, Panel, band_words, frame_edges, interval_words, strip_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from avgate.report.shown import Envelope

SUFFIXES = (".png", ".pdf", ".svg")

DPI = 300
"""Dots per inch of PNG files, and of the strips inside PDF and SVG files."""

WIDTH, LEFT, TIMELINE, BESIDE, PLANE, PLANE_SIDE = 7.2, 0.62, 4.2, 0.36, 5.52, 1.6
"""In inches: the page, the left edge and width of what runs over time, the room to its right for means, the left edge
and side of the plane."""

CURVE, ROW, PICTURE, WAVE, TITLE, LINE, GAP, FOOT = 0.95, 0.15, 0.75, 0.45, 0.2, 0.13, 0.12, 0.32
"""In inches: heights of a curve, a strip, a picture, a waveform, a heading and a line of the notes; space between, and
below all for the axis of time."""

COLOURS = {"valence": "#1c5fc0", "arousal": "#b9500b"}
_TITLED = 150  # most characters of a source's name that are drawn

GREY, RULE = "#4d5966", "#d5d0c7"

STYLE = {
    "font.size": 7,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text, to be edited
    "svg.hashsalt": "avgate",  # the same trace gives the same file
}


def write_figure(
    trace: Trace,
    out: Path,
    frames: Sequence[VideoFrame] | None = None,
    sound: Envelope | None = None,
    *,
    only_curves: bool = False,
) -> None:
    """Draw the curves, the valence-arousal plane and the strips of presence and gates.

    Unknown stretches are gaps in the curves and hatched in the strips; the trace's notes stand below. A trace of one
    frame has a mark on a scale in place of each curve.

    Args:
        trace: what to draw, at least one frame.
        out: a path that ends with .png, .pdf or .svg.
        frames: pictures to show above the curves, in order of time; a handful.
        sound: draws a waveform above the curves, over the same time.
        only_curves: draw the curves alone, as wide as the page; source and notes are in the file's metadata.

    Raises:
        UsageError: `out` has another suffix.
        MediaError: the trace has no frame.
        OutputError: `out` can't be written.
    """
    import matplotlib as mpl

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        what = f"a figure is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file"
        raise UsageError(what, where=out, hint=f"name it {out.stem}.png, say")
    if not len(trace):
        raise MediaError("there is no frame to draw", where=trace.source or out, hint="check that the video plays")
    with mpl.rc_context(STYLE), plain_names():
        figure = _curves(trace) if only_curves else _figure(trace, frames or (), sound)
        with atomic_write(out) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=_metadata(trace, suffix))


def _metadata(trace: Trace, suffix: str) -> dict[str, str | None]:
    """Source and notes for the file's own metadata. Without its date, the same trace gives the same file."""
    about = {"Title": _title(trace), ("Subject" if suffix == ".pdf" else "Description"): " ".join(trace.notes)}
    written = {name: printable(text) for name, text in about.items() if text}
    return written | {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})


def _title(trace: Trace) -> str:
    """What the trace is of; file names needn't be valid Unicode, and fonts need what is drawn to be."""
    return quoted(trace.source or "Untitled recording", _TITLED)


def _curves(trace: Trace) -> Figure:
    """The curves alone."""
    from matplotlib.figure import Figure

    each = CURVE + TITLE + GAP
    height, width = len(trace.targets) * each + FOOT, WIDTH - LEFT - BESIDE
    figure = Figure(figsize=(WIDTH, height))
    drawn = []
    for k, name in enumerate(trace.targets):
        bottom = height - (k + 1) * each + GAP
        drawn.append(figure.add_axes((LEFT / WIDTH, bottom / height, width / WIDTH, CURVE / height)))
        _draw_target(drawn[-1], trace, name)
    if len(trace) > 1:
        _share_time(drawn, trace)
    if trace.provenance.get("demonstration"):
        figure.text(1 - 0.05 / WIDTH, 0.03 / height, "demonstration weights", ha="right", fontsize=6, color=GREY)
    return figure


def _figure(trace: Trace, frames: Sequence[VideoFrame], sound: Envelope | None) -> Figure:
    from matplotlib.figure import Figure

    panels = strip_panels(trace)
    notes = [line for note in trace.notes for line in textwrap.wrap(printable(note), 130)]
    height = 2 * GAP + TITLE + len(notes) * LINE + (PICTURE + TITLE + GAP if frames else 0)
    height += WAVE + TITLE + GAP if sound else 0
    height += len(trace.targets) * (CURVE + TITLE + GAP) + sum(_height(panel) + TITLE + GAP for panel in panels) + FOOT
    figure = Figure(figsize=(WIDTH, height))

    def place(left: float, top: float, width: float, tall: float) -> Axes:
        """Axes at a place in inches from the page's left and top edges."""
        return figure.add_axes((left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height))

    def write(text: str, top: float, **style: Any) -> None:
        figure.text(0.12 / WIDTH, 1 - top / height, text, va="top", **style)

    write(_title(trace), GAP, fontsize=9, fontweight="bold")
    top = GAP + TITLE
    for line in notes:
        write(line, top, color="#7a5200")
        top += LINE
    if frames:
        width = (WIDTH - LEFT) / len(frames)
        for k, frame in enumerate(frames):
            caption = f"{frame.time_s:.2f} s" if len(trace) > 1 else ""
            axes = place(LEFT + k * width, top + TITLE, width - GAP, PICTURE)
            _draw_picture(axes, frame, caption, _box_at(trace, frame.time_s))
        top += TITLE + PICTURE + GAP
    waves = []
    if sound:
        waves = [place(LEFT, top + TITLE, TIMELINE, WAVE)]
        _draw_waveform(waves[0], sound)
        top += TITLE + WAVE + GAP
    if {"valence", "arousal"} <= set(trace.targets):
        _draw_plane(place(PLANE, top + TITLE, PLANE_SIDE, PLANE_SIDE), trace)
    timelines = []
    for name in trace.targets:
        axes = place(LEFT, top + TITLE, TIMELINE, CURVE)
        _draw_target(axes, trace, name)
        timelines += [axes] if len(trace) > 1 else []
        top += TITLE + CURVE + GAP
    for panel in panels:
        timelines.append(place(LEFT, top + TITLE, TIMELINE, _height(panel)))
        _draw_strips(timelines[-1], frame_edges(trace.time_s), panel)
        top += TITLE + _height(panel) + GAP
    if len(trace) == 1:
        for axes in timelines:
            axes.set_xticks([])
        return figure
    _share_time([*waves, *timelines], trace)
    for axes in [*waves, *timelines]:
        for frame in frames:
            axes.axvline(frame.time_s, color=GREY, linewidth=0.5, linestyle=":")
    return figure


def _share_time(timelines: Sequence[Axes], trace: Trace) -> None:
    """One axis of time for all that runs over it, written below the last."""
    for axes in timelines:
        axes.set_xlim(*frame_edges(trace.time_s)[[0, -1]])
        axes.tick_params(length=2, labelbottom=axes is timelines[-1])
    timelines[-1].set_xlabel("time (s)")


def _height(panel: Panel) -> float:
    return ROW * len(panel.rows)


def _heading(axes: Axes, title: str, more: str = "", colour: str = "black") -> None:
    axes.annotate(title, (0, 1), (0, 3), "axes fraction", "offset points", fontweight="bold", color=colour)
    axes.annotate(more, (1, 1), (22, 3), "axes fraction", "offset points", ha="right", fontsize=6.5, color=GREY)


def _box_at(trace: Trace, time_s: float) -> np.ndarray | None:
    """The followed person's face in the frame that begins at a time or is on show then; None where it isn't known."""
    row = max(0, int(np.searchsorted(trace.time_s, time_s + 1e-6, side="right")) - 1)
    return None if trace.face_box is None or np.isnan(trace.face_box[row]).any() else trace.face_box[row]


def _draw_picture(axes: Axes, frame: VideoFrame, caption: str, box: np.ndarray | None) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(frame.image)
    axes.set_axis_off()
    axes.set_title(caption, fontsize=7, pad=2)
    if box is not None:
        x0, y0, x1, y1 = box * np.tile(frame.image.shape[1::-1], 2)
        colour = mask_named("face").dark_colours[0]
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1))


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


def _draw_target(axes: Axes, trace: Trace, name: str) -> None:
    """A target over time with its interval; of a single frame, on its scale."""
    if len(trace) == 1:
        _draw_value(axes, trace, name)
        return
    colour, ends, time_s = COLOURS.get(name, GREY), AXIS_ENDS.get(name), trace.time_s
    if name in trace.raw:
        axes.plot(time_s, trace.raw[name], color=colour, linewidth=0.5, alpha=0.4)
    if name in trace.low:
        axes.fill_between(time_s, trace.low[name], trace.high[name], color=colour, alpha=0.15, linewidth=0)
    band = f"band: {band_words(trace)}" if name in trace.low else ""
    _heading(axes, name, "; ".join(filter(None, [f"−1 {ends[0]}, +1 {ends[1]}" if ends else "", band])), colour)
    axes.axhline(0, color=RULE, linewidth=0.6)
    values = np.asarray(trace.targets[name], np.float64)
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
    from matplotlib.patheffects import withStroke

    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=RULE, linewidth=0.8))
    axes.axhline(0, color=RULE, linewidth=0.6)
    axes.axvline(0, color=RULE, linewidth=0.6)
    path = trace.targets["valence"], trace.targets["arousal"]
    axes.plot(*path, "o" if len(trace) == 1 else "-", color=COLOURS["valence"], linewidth=0.5, alpha=0.8)
    for (x, y), words in QUADRANTS.items():
        sides: dict[str, Any] = {"ha": "right" if x > 0 else "left", "va": "top" if y > 0 else "bottom"}
        halo = [withStroke(linewidth=1.5, foreground="white")]  # the path may run below
        axes.text(1.05 * x, 1.05 * y, words, fontsize=6, color=GREY, path_effects=halo, **sides)
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xlabel="valence", ylabel="arousal")
    axes.set_xticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.set_yticks([-1, 0, 1], ["−1", "0", "+1"])
    axes.tick_params(length=2)
    axes.yaxis.labelpad = -4
