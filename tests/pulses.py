"""Files with a white flash and a click in every second, and where these are when the file is read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from avgate.core.types import SAMPLE_RATE
from avgate.media import Media
from tests.clips import make_clip, tone

FPS = 25
FIRST_S = 0.52
"""Seconds after each whole one at which a flash and a click begin: that of a frame."""

_SOUND_S = 0.02  # seconds of sound per packet, where the codec leaves the choice
_LENGTH_S = 0.05


def make_pulses(path: Path, seconds: float, sound_codec: str = "pcm_s16le", **more) -> Path:
    """A file of 32x32 pixels at 25 frames a second, with flashes of one frame and 1 kHz clicks of 50 ms."""
    images = [
        np.full((32, 32, 3), 235 if i % FPS == FIRST_S * FPS else 16, np.uint8) for i in range(int(seconds * FPS))
    ]
    at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    clicking = (at % 1 >= FIRST_S) & (at % 1 < FIRST_S + _LENGTH_S)
    samples = np.where(clicking, tone(seconds, SAMPLE_RATE, 1000, 0.9), 0.0)
    step = round(_SOUND_S * SAMPLE_RATE)
    sound = [(i / SAMPLE_RATE, samples[i : i + step]) for i in range(0, len(samples), step)]
    given = {"sound_codec": sound_codec, "sound_rate": SAMPLE_RATE, "layout": "mono", **more}
    return make_clip(path, images, rate=FPS, sound=sound, **given)


def bend_stamps(path: Path, late_s: Callable[[str, int], float]) -> Path:
    """Make the packets' times of a Matroska file `late_s(kind of stream, number)` seconds later (up to 30)."""
    content = bytearray(path.read_bytes())
    numbers = {"video": 0, "audio": 0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                kind = packet.stream.type
                place = slice(packet.pos + 1, packet.pos + 3)  # of the block's time, in ms from that of its cluster
                relative = int.from_bytes(content[place], "big", signed=True)
                late = round(1000 * late_s(kind, numbers[kind]))
                content[place] = (relative + late).to_bytes(2, "big", signed=True)
                numbers[kind] += 1
    path.write_bytes(content)
    return path


def edit(path: Path, *spans: tuple[float, float]) -> Path:
    """Give an MP4 whose index is at its end edit lists that play these spans, each from and to in seconds."""
    content = path.read_bytes()
    moov = content.rindex(b"moov") - 4
    index = content[moov:]
    at = index.index(b"mvhd") + 16
    movie_scale = int.from_bytes(index[at : at + 4], "big")

    def edited(atom: bytes, scale: int) -> bytes:
        """The atom with other edit lists; `scale` is the ticks per second of its track."""
        kind, body = atom[4:8], atom[8:]
        if kind == b"elst":
            begin = int.from_bytes(body[12:16], "big")
            entries = [(round((b - a) * movie_scale), begin + round(a * scale), 1 << 16) for a, b in spans]
            body = body[:4] + struct.pack(">I", len(spans)) + b"".join(struct.pack(">III", *entry) for entry in entries)
        elif kind in (b"moov", b"trak", b"edts"):
            if kind == b"trak":
                at = atom.index(b"mdhd") + 16
                scale = int.from_bytes(atom[at : at + 4], "big")
            parts, at = [], 0
            while at < len(body):
                size = int.from_bytes(body[at : at + 4], "big")
                parts.append(edited(body[at : at + size], scale))
                at += size
            body = b"".join(parts)
        return struct.pack(">I", len(body) + 8) + kind + body

    path.write_bytes(content[:moov] + edited(index, 0))
    return path


def pulses(media: Media) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds at which flashes and clicks begin."""
    frames = [(frame.time_s, frame.image.mean() > 128) for frame in media.frames()]
    flashes = [t for (t, lit), (_, before) in zip(frames, [(0.0, False), *frames], strict=False) if lit and not before]
    clicks: list[float] = []
    last_s = -np.inf
    for piece in media.sound():
        for i in np.flatnonzero(np.abs(piece.samples) > 0.3):
            time_s = piece.start_s + i / SAMPLE_RATE
            if time_s - last_s > 0.2:
                clicks.append(time_s)
            last_s = time_s
    return np.array(flashes), np.array(clicks)
