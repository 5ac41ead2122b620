"""The report's HTML page, without the video's bytes."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import statistics
import string
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import metadata, resources

import numpy as np

from avgate.core.files import json_values
from avgate.core.modalities import MASKS, in_order, mask_named
from avgate.core.types import Trace
from avgate.report.panels import (
    AXIS_ENDS,
    QUADRANTS,
    Panel,
    Row,
    band_words,
    frame_edges,
    interval_words,
    known_mean,
    strip_panels,
)
from avgate.report.writers.base import TIME_DECIMALS, rounded

DRAWN_DECIMALS = 4
"""Decimals of the values in the page: a pixel is about a hundredth, and two decimals are shown in words."""

WARNING = '<a class="warn" href="#notes" title="Read the notes first" aria-label="Read the notes">!</a>'
MISSING = '<span class="gaps"><span class="unknown"></span>missing</span>'


def page(trace: Trace, frame_size: tuple[int, int] | None, still: bytes | None = None) -> tuple[str, str]:
    """The page of a trace in two parts; the video's bytes go between them.

    It loads nothing from anywhere and runs no script but its own; nothing in the trace can become a tag or a script.

    Args:
        trace: what to show, at least one frame.
        frame_size: width and height of the video in pixels, to keep its place free; None without a video.
        still: a JPEG that is shown in place of a video.
    """
    panels = strip_panels(trace)
    scripts = {"plots_js": _template("report_plots.js"), "js": _template("report.js")}
    # Only these very scripts may run, and nothing may be loaded: a second line of defence behind escaping.
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts.values())
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; media-src blob:"
    places = scripts | {
        "policy": policy,
        "css": _hues() + _template("report.css"),
        "version": escape(metadata.version("avgate")),
        "source": escape(trace.source or "Untitled recording"),
        "notes": _notes(trace.notes),
        "warning": WARNING if trace.notes else "",
        "summary": "".join(_pair(name, value) for name, value in _summary(trace)),
        "kind": "single" if len(trace) == 1 else "moving",
        "video": _picture(frame_size, still),
        "plane": _template("report_plane.html") if {"valence", "arousal"} <= set(trace.targets) else "",
        "readout": _readout(panels),
        "bar_values": " ".join(
            f'<span>{escape(name)} <b data-curve="{k}"></b></span>' for k, name in enumerate(trace.targets)
        ),
        "raw_words": _more_lines(trace),
        "no_video": "" if frame_size else " hidden",
        "panels": "".join(_panel(panel) for panel in panels),
        "provenance": _table(json_values(trace.provenance)) if trace.provenance else "<p>Nothing was recorded.</p>",
        "last_frame": str(len(trace) - 1),
        "data": _data(trace, panels, pictured=frame_size is not None or still is not None),
    }
    if len(trace) == 1:
        places["curves"] = _values(trace)
    else:
        about = places | {"rows": str(len(trace.targets)), "label": escape(_curves_label(trace))}
        places["curves"] = string.Template(_template("report_curves.html")).substitute(about)
    head, tail = _template("report.html").split("$video_data")
    return string.Template(head).substitute(places), tail


def _data(trace: Trace, panels: Iterable[Panel], *, pictured: bool) -> str:
    """What the scripts draw, as JSON that can stand inside a script element."""
    data = {
        "time": json_values(rounded(trace.time_s, TIME_DECIMALS)),
        "end": float(frame_edges(trace.time_s)[-1]),
        "curves": [
            {"name": name, "values": _numbers(values)}
            | {
                kind: _numbers(of[name]) if name in of else None
                for kind, of in (("raw", trace.raw), ("low", trace.low), ("high", trace.high))
            }
            for name, values in trace.targets.items()
        ],
        "words": AXIS_ENDS,
        "band": band_words(trace),
        "panels": [
            {
                "name": panel.name,
                "rows": [
                    {
                        "label": row.label,
                        "hue": _hue(row),
                        "place": place,
                        "mean": json_values(row.mean),
                        "values": _numbers(row.values),
                    }
                    for row, place in zip(panel.rows, _places(panel), strict=True)
                ],
            }
            for panel in panels
        ],
        "boxes": _boxes(trace) if pictured else None,
        "corners": [[*signs, words] for signs, words in QUADRANTS.items()],
    }
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hue(row: Row) -> str:
    """Name of the row's colours in the style sheet."""
    return row.hue if any(mask.name == row.hue for mask in MASKS) else "other"


def _hues() -> str:
    """The colours of all masks as variables of the style sheet: --NAME and --NAME-pale, by day and by night."""
    masks = [*MASKS, mask_named("other")]
    day = "".join(f"--{m.name}: {m.colours[0]}; --{m.name}-pale: {m.colours[1]}; " for m in masks)
    night = "".join(f"--{m.name}: {m.dark_colours[0]}; --{m.name}-pale: {m.dark_colours[1]}; " for m in masks)
    return f":root {{ {day}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {night}}} }}\n"


def _places(panel: Panel) -> list[float]:
    """Where each row begins, in rows from the top: half a row parts the modalities where each has several."""
    hues = [row.hue for row in panel.rows]
    apart = len(hues) > 2 * len(set(hues)) - 1
    return [k + 0.5 * apart * sum(a != b for a, b in itertools.pairwise(hues[: k + 1])) for k in range(len(hues))]


def _numbers(values: np.ndarray) -> list[float | None]:
    return json_values(rounded(values, DRAWN_DECIMALS))


def _boxes(trace: Trace) -> list[list[int] | None] | None:
    """The followed face in every frame: left, top, width and height in thousandths of the picture."""
    if trace.face_box is None:
        return None
    corners = np.nan_to_num(1000 * trace.face_box).round().astype(int)
    boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    return [None if gone else box for gone, box in zip(np.isnan(trace.face_box).any(1), boxes, strict=True)]


def _summary(trace: Trace) -> list[tuple[str, str]]:
    """Names and values (HTML) of the numbers at the top."""
    edges, pairs, mean = frame_edges(trace.time_s), [], ""
    if len(trace) > 1:
        rate = f"<small>{(len(trace) - 1) / (edges[-2] - edges[0]):.4g} a second</small>"
        pairs = [("duration", _clock(float(edges[-1] - edges[0]))), ("frames", f"{len(trace):,} {rate}")]
        mean = "mean "
    for name in in_order(list(trace.present)):
        pairs.append((escape(mask_named(name).share), _percent(statistics.fmean(map(bool, trace.present[name])))))
    for name, values in trace.targets.items():
        pairs.append((f"{mean}{escape(name)}", _signed(known_mean(np.asarray(values, np.float64)))))
    unknown = np.logical_or.reduce([np.isnan(values) for values in trace.targets.values()])
    pairs.append(("without an estimate", _percent(float(unknown.mean()))))
    return pairs


def _notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    return f'<div class="notes" id="notes" role="note">{"".join(f"<div>{escape(note)}</div>" for note in notes)}</div>'


def _picture(frame_size: tuple[int, int] | None, still: bytes | None) -> str:
    if still is not None:
        picture = f'<img id="still" alt="The image" src="data:image/jpeg;base64,{base64.b64encode(still).decode()}">'
    elif frame_size is not None:
        picture = _video(*frame_size)
    else:
        return ""
    return f'<div class="picture" id="picture">{picture}<div class="followed" id="followed" hidden></div></div>'


def _values(trace: Trace) -> str:
    """The estimate of a single frame: numbers instead of curves."""
    pairs = "".join(
        _pair(escape(name), f'<b data-curve="{k}"></b> <small>{interval_words(trace, name)}</small>')
        for k, name in enumerate(trace.targets)
    )
    return (
        '<section class="card"><h2>The estimate</h2><p>Both numbers go from −1 to +1, and 0 is neutral. They describe '
        "what is <em>expressed</em>, which needn’t be what the person feels.</p>"
        f'<dl class="summary">{pairs}</dl></section>'
    )


def _video(width: int, height: int) -> str:
    size = f'width="{width}" height="{height}"'
    return (
        f'<video id="video" playsinline preload="auto" {size} aria-label="Recording"></video>'
        '<p class="notes" id="video-trouble" hidden>This browser can’t play the embedded video. '
        "Everything else on this page works.</p>"
    )


def _readout(panels: Iterable[Panel]) -> str:
    pairs = []
    for panel in panels:
        for k, row in enumerate(panel.rows if panel.name == "presence" else ()):
            states = f'data-no="{mask_named(row.hue).absent}" data-yes="{mask_named(row.hue).present}"'
            pairs.append(_pair(escape(row.label), "", f' data-present="{k}" {states}'))
    return "".join(pairs)


def _panel(panel: Panel) -> str:
    gaps = any(np.isnan(row.values).any() for row in panel.rows)
    label = "; ".join(f"{row.label}: {_percent(row.mean)} on average" for row in panel.rows)
    title, place = f"{panel.name}-title", f'id="plot-{panel.name}" style="--rows: {_places(panel)[-1] + 1}"'
    return (
        f'<section class="card" aria-labelledby="{title}"><h2 id="{title}">{escape(panel.title)}</h2>'
        f"<p>{escape(panel.text)}</p>"
        f'<div class="legend"><span>{escape(panel.low)}</span><span class="ramp"></span>'
        f"<span>{escape(panel.high)}</span>{MISSING if gaps else ''}</div>"
        f'<div class="plot" {place} role="img" aria-label="{escape(label)}"></div></section>'
    )


def _more_lines(trace: Trace) -> str:
    """What else is drawn beside each curve, in words."""
    words = " The faint line is the estimate before it was smoothed." if trace.raw else ""
    band = band_words(trace)
    return words + (f" The band is the {escape(band)}: about so many of the true values lie in it." if band else "")


def _curves_label(trace: Trace) -> str:
    means = [f"{name} {_signed(known_mean(np.asarray(values, np.float64)))}" for name, values in trace.targets.items()]
    return f"Curves over time; on average {', '.join(means)}"


def _table(values: Mapping[str, object]) -> str:
    rows = (f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in _flat(values))
    return f"<table>{''.join(rows)}</table>"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as names with dots in them and their texts."""
    for name, value in values.items():
        if name == "type":  # a config's tag, for files
            continue
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield prefix + name, f"{value:.{DRAWN_DECIMALS}g}"
        elif isinstance(value, str):
            yield prefix + name, value
        else:
            yield prefix + name, "unknown" if value is None else json.dumps(value, ensure_ascii=False)


def _pair(name: str, value: str, attributes: str = "") -> str:
    return f"<div><dt>{name}</dt><dd{attributes}>{value}</dd></div>"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds, 1), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours:.0f}:{minutes:02.0f}:{rest:04.1f}" if hours else f"{minutes:.0f}:{rest:04.1f}"


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _template(name: str) -> str:
    return resources.files("avgate.report").joinpath("web", name).read_text("utf-8")
