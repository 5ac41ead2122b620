"""Recordings that users had trouble with. Pulse files: a flash and a click at every whole second + 0.5 s."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from avgate.apps.predict.many import predict
from avgate.core.types import SAMPLE_RATE, Trace
from avgate.media import Media
from avgate.report.writers.json import read_json
from tests.cases.measure import Case, Found, Measured, clicks, flashes, kept, measured

FRAME_S = 0.04
"""Of the pulse files: a flash is seen at the first frame that isn't before it."""


def _pulses(seconds: int) -> list[float]:
    return [k + 0.5 for k in range(seconds)]


def _edits(folder: Path) -> Found:
    media = Media(folder / "edit_list_two_edits.mp4")
    seen, heard, due = flashes(media), clicks(media), _pulses(10)
    apart = max(abs(s - h) for s, h in zip(seen, heard, strict=False))
    right = kept(seen, due, FRAME_S) == kept(heard, due, FRAME_S) == len(seen) == len(heard) == 10
    return f"{len(seen)} flashes, {len(heard)} clicks, at most {apart:.2f} s apart", right


def _one_packet(name: str, *, sees: bool) -> Case:
    def look(folder: Path) -> Found:
        media, due = Media(folder / name), _pulses(20)
        heard = kept(clicks(media), due, 0.02)
        seen = kept(flashes(media), [t + 0.02 for t in due], 0.02) if sees else 20
        flash = f"{seen} flashes and " if sees else ""
        return f"{flash}{heard} clicks of 20 in time", heard >= 19 and seen >= 19

    return Case("media", name, "all other clicks and flashes keep their times (within 20 ms)", look)


def _wobble(folder: Path) -> Found:
    media = Media(folder / "sound_stamps_wobble_30ms.mkv")
    pieces = list(media.sound())
    samples = np.concatenate([piece.samples for piece in pieces])
    heard = kept(clicks(media), _pulses(20), 0.03)
    whole = abs(len(samples) / SAMPLE_RATE - 20) < 0.05
    gaps = sum(b.start_s > a.start_s + len(a.samples) / SAMPLE_RATE + 1e-3 for a, b in pairwise(pieces))
    return f"{heard} clicks of 20 in time, {len(samples) / SAMPLE_RATE:.2f} s of 20 s, {gaps} gaps", (
        heard == 20 and whole and not gaps and not any("overlap" in note for note in media.notes)
    )


def _segments(folder: Path) -> Found:
    media = Media(folder / "four_short_segments_joined.ts")
    times, seen, heard = media.frame_times(), flashes(media), clicks(media)
    length = float(times[-1] - times[0]) + FRAME_S
    apart = max((abs(s - h) for s, h in zip(seen, heard, strict=False)), default=np.inf)
    return f"{length:.2f} s, {len(seen)} flashes, {len(heard)} clicks, at most {apart:.2f} s apart", (
        3.5 <= length <= 3.75 and len(seen) == len(heard) == 4 and apart < 0.06
    )


def _counts(name: str, frames: int) -> Case:
    def look(folder: Path) -> Found:
        media = Media(folder / name)
        told, decoded = media.frame_times(), np.array([frame.time_s for frame in media.frames()])
        same = len(told) == len(decoded) and np.array_equal(told, decoded)
        return f"{len(told)} times for {len(decoded)} frames{'' if same else ', others'}", same and len(told) == frames

    return Case("media", name, f"frame_times() is exactly the times of the {frames} frames that frames() gives", look)


def _negative(folder: Path) -> Found:
    media = Media(folder / "negative_start.mkv")
    seen, heard = flashes(media), clicks(media)
    apart = [s - h for s, h in zip(seen, heard, strict=False)]
    return f"the first {apart[0]:.2f} s apart, all at most {max(map(abs, apart)):.2f} s", (
        len(seen) == len(heard) == 20 and max(map(abs, apart)) <= FRAME_S
    )


def _predicted(path: Path, report: bool = False) -> tuple[Measured, list[str]]:
    with tempfile.TemporaryDirectory() as out:
        found = measured(lambda: _trace(path, Path(out), report))
        return found, sorted(file.name for file in Path(out).iterdir() if file.is_file())


def _trace(path: Path, out: Path, report: bool) -> Trace:
    predict([path], out, report=report)
    return read_json(out / f"{path.stem}.json")


def _voice(folder: Path) -> Found:
    found, _ = _predicted(folder / "right_channel_inverted.mov")
    heard = float(found.result.present["voice"].mean()) if found.error is None else 0.0
    return f"a voice in {heard:.0%} of the frames", heard > 0.3


def _muted(name: str) -> Case:
    def look(folder: Path) -> Found:
        found, _ = _predicted(folder / name)
        if found.error is not None:
            return str(found), found.clear and "silence" in str(found.error)
        trace = found.result
        said = any("silence" in note for note in trace.notes)
        heard = bool(trace.present["audio"].any())
        return f"sound {'present' if heard else 'absent'}, {'said' if said else 'not said'}", said and not heard

    return Case("media", name, "sound of zeros is absent, and that is said", look)


def _ticks(folder: Path) -> Found:
    found, files = _predicted(folder / "frames_closer_than_a_tick.mp4", report=True)
    if found.error is not None:
        return str(found), False
    distinct = bool((np.diff(found.result.time_s) > 0).all())
    drawn = any(file.endswith(".html") for file in files)
    return f"{'a' if drawn else 'no'} report, {'' if distinct else 'in'}distinct times", drawn and distinct


def _late(folder: Path) -> Found:
    found, _ = _predicted(folder / "video_starts_days_late.mp4")
    return str(found), found.clear and found.seconds < 10


MEDIA = (
    Case("media", "edit_list_two_edits.mp4", "flashes and clicks stay together at k + 0.5 s", _edits),
    _one_packet("one_sound_packet_2s_late.mkv", sees=True),
    _one_packet("one_sound_packet_300ms_early.mkv", sees=False),
    _one_packet("one_video_packet_half_a_second_early.mkv", sees=True),
    Case("media", "sound_stamps_wobble_30ms.mkv", "no silence inserted, clicks within 30 ms", _wobble),
    Case("media", "four_short_segments_joined.ts", "about 3.6 s", _segments),
    _counts("vp8_hidden_frames.webm", 75),
    _counts("mpeg1_open_gop.mpg", 150),
    Case("media", "negative_start.mkv", "flashes and clicks together from the first one", _negative),
    Case("media", "right_channel_inverted.mov", "a voice is heard", _voice),
    _muted("face_and_muted_track.mp4"),
    _muted("black_and_muted.mp4"),
    Case("media", "frames_closer_than_a_tick.mp4", "a report, and distinct times", _ticks),
    Case("media", "video_starts_days_late.mp4", "one clear error or a result, in seconds", _late),
)
