"""`avgate stream`: a recording played by the clock, and estimated as if it were happening."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from avgate.apps.pace import Playback
from avgate.apps.plane import Shown
from avgate.apps.rows import STDOUT, Rows
from avgate.apps.running import Run, open_streamer
from avgate.core.errors import UsageError
from avgate.core.types import VideoFrame, Waveform
from avgate.features.tracks import prefetch
from avgate.media import Media, open_recording
from avgate.media.recording import refuse_empty, refuse_too_long
from avgate.models.intervals import DEFAULT_LEVEL

CHUNK_S = 0.01
"""Seconds of sound that come at once, as from a microphone."""

_ROUNDING_S = 1e-3
"""Less than this between two times is no gap."""

_AHEAD_S = 1.0
"""Seconds of sound that are decoded ahead."""


def stream(
    video: Path,
    out: Path = STDOUT,
    *,
    speed: float = 1.0,
    checkpoint: Path | None = None,
    face_model: Path | None = None,
    level: float = DEFAULT_LEVEL,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Play a video or sound file, and write a row for each frame as soon as it is known.

    Args:
        video: the file.
        out: CSV file, or STDOUT.
        speed: 2 is twice as fast; 0 is as fast as the machine can, and no face is skipped.
        checkpoint: None takes the weights for live use that come with avgate.
        face_model: as for Predictor.
        level: share of the true values that intervals are made to hold.
        clock: gives the time in seconds.
        sleep: waits for so many seconds.

    Returns:
        What it counted.

    Raises:
        UsageError: these are images, or `out` is the video.
        OutputError: `out` can't be written, or would replace a file that avgate didn't write.
        MediaError: the file can't be decoded, holds nothing, or is too long.
    """
    rows = Rows(out, [video])
    recording = None if video.is_dir() else open_recording(video)
    if not isinstance(recording, Media):
        raise UsageError("images have no pace to be played at", where=video, hint="avgate predict takes them")
    playback = Playback(speed, clock, sleep)
    seen, heard = recording.has_frames, recording.info.audio_codec is not None
    with rows, open_streamer(checkpoint, face_model, level, video=seen, sound=heard) as streamer:
        draw = None if rows.on_terminal else Shown.line
        run = Run(streamer, rows, playback.due_s if speed else None, draw, clock)
        with run, _pieces(recording, heard) as pieces:
            for piece in pieces:
                end_s = _end_s(piece)
                refuse_too_long(recording.name, end_s, "cut it into parts")
                run.push(piece, playback.wait(end_s))
            refuse_empty(recording, run.pace.frames)
            run.finish()
    stopped = f"The machine couldn't follow, and the playing stopped for {playback.stopped_s:.1f} s in all."
    run.say(recording.path.name, [*([stopped] if playback.stopped_s else []), *recording.notes])
    return run


def _end_s(piece: VideoFrame | Waveform) -> float:
    """When a piece has come in a live stream: sound is known when it ends."""
    return piece.end_s if isinstance(piece, Waveform) else piece.time_s


@contextmanager
def _pieces(recording: Media, heard: bool) -> Iterator[Iterator[VideoFrame | Waveform]]:
    """Frames and sound in the order in which they come, decoded ahead in threads."""
    with ExitStack() as scope:
        frames = scope.enter_context(closing(prefetch(recording.frames())))
        sound = scope.enter_context(closing(prefetch(recording.sound(CHUNK_S), round(_AHEAD_S / CHUNK_S))))
        yield _in_order(frames, sound, heard)


def _in_order(frames: Iterator[VideoFrame], sound: Iterator[Waveform], heard: bool) -> Iterator[VideoFrame | Waveform]:
    """Frames and sound by when they have come; where there is no sound, pieces without samples, so that none waits."""
    heard_s, coming = 0.0, next(sound, None)
    for frame in frames:
        while coming is not None and coming.end_s <= frame.time_s:
            yield coming
            heard_s, coming = coming.end_s, next(sound, None)
        quiet_s = frame.time_s if coming is None else min(frame.time_s, coming.start_s)
        if heard and quiet_s > heard_s + _ROUNDING_S:
            yield Waveform(np.zeros(0, np.float32), quiet_s)
            heard_s = quiet_s
        yield frame
    if coming is not None:
        yield coming
    yield from sound
