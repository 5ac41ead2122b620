"""Video files for tests, made with PyAV, and the same clip with its clock bent or its bytes broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

TICK = Fraction(1, 90_000)


def greys(n: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """n uniform pictures, each 4 levels brighter than the one before: uint8 [height width 3]."""
    return [np.full((height, width, 3), 20 + 4 * i, np.uint8) for i in range(n)]


def order(images: Sequence[np.ndarray]) -> list[int]:
    """Which of the `greys` these pictures are, after any codec."""
    return [round((float(image.mean()) - 20) / 4) for image in images]


def tone(seconds: float, rate: int = 44_100, frequency: float = 440.0, level: float = 0.5) -> np.ndarray:
    """float64 [n]."""
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def make_clip(
    path: Path,
    images: Sequence[np.ndarray] = (),
    *,
    rate: Fraction | int = 25,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    video_options: dict[str, str] | None = None,
    sound: Sequence[tuple[float, np.ndarray]] = (),
    sound_rate: int = 44_100,
    sound_codec: str = "aac",
    layout: str = "stereo",
    container_options: dict[str, str] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Path:
    """Write a video file.

    Args:
        path: its suffix is the container.
        images: uint8 [h w 3], at a constant `rate` or at `times`.
        rate: frames per second.
        times: seconds.
        codec: FFmpeg's encoder.
        video_options: of the encoder.
        sound: pieces as (start in seconds, [n] for the same in all channels or [channels n]).
        sound_rate: samples per second.
        sound_codec: FFmpeg's encoder.
        layout: the channels.
        container_options: of the muxer.
        prepare: called with the video stream before anything is encoded.
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = audio = None
        if len(images):
            video = container.add_stream(codec, rate=rate, options=video_options or {})
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt = "yuv420p"
            if times is not None:
                video.codec_context.time_base = TICK
            prepare(video)
        if sound:
            audio = container.add_stream(sound_codec, rate=sound_rate, layout=layout)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (i, 1 / Fraction(rate)) if times is None else (round(times[i] / TICK), TICK)
            container.mux(video.encode(frame))
        for start_s, samples in sound:
            kind = audio.codec_context.format.name
            samples = np.broadcast_to(samples, (audio.codec_context.channels, np.shape(samples)[-1]))
            if kind.startswith("s16"):
                samples = np.round(samples * 32767).astype(np.int16)
            elif kind.startswith("s32"):
                samples = np.round(samples * 0x7FFFFF00).astype(np.int32)
            samples = samples.astype(np.float32) if kind.startswith("flt") else samples
            packed = samples if kind.endswith("p") else samples.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format=kind, layout=layout)
            frame.sample_rate, frame.time_base = sound_rate, Fraction(1, sound_rate)
            frame.pts = round(start_s * sound_rate)
            container.mux(audio.encode(frame))
        for stream in container.streams:
            container.mux(stream.encode(None))
    return path


def as_cover(stream: Any) -> None:
    """For make_clip's `prepare`: the picture, of codec mjpeg, is a cover and not a video."""
    stream.disposition, stream.pix_fmt = Disposition.attached_pic, "yuvj420p"


def packet_places(path: Path, kind: str = "video") -> list[tuple[int, int]]:
    """Where each packet of a stream lies in the file: its position and size in bytes."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(**{kind: 0}) if packet.size]


def break_packet(path: Path, number: int, kind: str = "video") -> None:
    """Overwrite one packet of a stream with bytes that no decoder takes."""
    position, size = packet_places(path, kind)[number]
    content = bytearray(path.read_bytes())
    content[position : position + size] = b"\xff" * size
    path.write_bytes(content)


def cut(path: Path, share: float) -> None:
    """Keep only this share of the file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def bend_clock(monkeypatch: pytest.MonkeyPatch, bend: Callable[[int, Any], None]) -> None:
    """Let `bend` change the times of every video packet (given its number) before it is decoded."""
    from avgate.media import reader

    original = reader.read_packets

    def read_packets(container: Any, streams: Any, note: Any) -> Iterator[Any]:
        number = 0
        for packet in original(container, streams, note):
            if packet.stream.type == "video" and packet.size:
                bend(number, packet)
                number += 1
            yield packet

    monkeypatch.setattr(reader, "read_packets", read_packets)
