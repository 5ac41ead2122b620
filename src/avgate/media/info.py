"""What a container states about its streams, without decoding them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from avgate.media.container import Streams, length_s, origin_s


@dataclass(frozen=True)
class MediaInfo:
    """What the container states about its video and sound. Of a file without video, all that is of the video is empty.

    Attributes:
        path: the file.
        container: FFmpeg's name of the format.
        width: width in pixels of the upright frame, as `Media.frames` gives it; 0 where there is no video.
        height: height in pixels of the upright frame.
        rotation: degrees counter-clockwise (0, 90, 180, 270) by which stored frames are turned to be upright.
        video_codec: name of the codec, None where there is no video.
        average_rate: frames per second, None where not stated.
        frames_hint: number of frames as stated, None where not stated.
        video_start_s: time of the first frame in seconds.
        duration_s: length of the video, or else of the sound, in seconds as stated; NaN where not stated.
        audio_codec: name of the codec, None where there is no sound.
        audio_rate: samples per second as stored, None where there is no sound.
        audio_start_s: start of the sound in seconds, with the video's zero; None where unknown.
        audio_duration_s: length of the sound in seconds, None where unknown.
    """

    path: Path
    container: str
    width: int
    height: int
    rotation: int
    video_codec: str | None
    average_rate: float | None
    frames_hint: int | None
    video_start_s: float
    duration_s: float
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_start_s: float | None = None
    audio_duration_s: float | None = None


def stated_info(path: Path, container: Any, streams: Streams) -> MediaInfo:
    """All that can be said before a frame is decoded."""
    video, audio = streams
    duration_s = length_s(streams.main)
    if duration_s is None:
        duration_s = math.nan if container.duration is None else container.duration / av.time_base
    audio_start = None if audio is None else audio.start_time
    return MediaInfo(
        path=path,
        container=container.format.name,
        width=0,
        height=0,
        rotation=0,
        video_codec=None if video is None else video.codec_context.name,
        average_rate=None if video is None or not video.average_rate else float(video.average_rate),
        frames_hint=None if video is None else video.frames or None,
        video_start_s=0.0,
        duration_s=duration_s,
        audio_codec=None if audio is None else audio.codec_context.name,
        audio_rate=None if audio is None else audio.codec_context.sample_rate,
        audio_start_s=None if audio_start is None else float(audio_start * audio.time_base) - origin_s(container),
        audio_duration_s=None if audio is None else length_s(audio),
    )
