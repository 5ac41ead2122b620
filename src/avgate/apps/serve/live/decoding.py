"""Images and sound of a live stream, decoded; nothing is believed of what a client sends."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler

from avgate.apps.serve.live.messages import BAD, RATES, Hello, Limits, Piece, Refused, refuse_size, too_many_pixels
from avgate.core.types import SAMPLE_RATE, Waveform

MOST_SCANS = 64
"""Scans of a JPEG; a browser's have up to ten. Each costs the time of a whole picture, however few bytes it has."""

_BLANK = np.zeros((1, 1, 3), np.uint8)


class Ear:
    """Sound as it comes over the network to mono pieces at 16 kHz.

    Args:
        hello: what comes.
    """

    def __init__(self, hello: Hello):
        self._rate = RATES[-1] if hello.audio == "opus" else hello.rate
        self._decoder: Any = None
        if hello.audio == "opus":
            self._decoder = av.CodecContext.create("libopus", "r")
            self._decoder.sample_rate, self._decoder.layout, self._decoder.format = self._rate, "mono", "s16"
        self._resampler: AudioResampler | None = None
        if self._rate != SAMPLE_RATE:
            self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        self._in = self._out = 0  # samples that went into the resampler, and that came out

    def hear(self, piece: Piece) -> Waveform:
        """The sound of one message; without a payload, it says up to when there is no further sound."""
        if not piece.payload:
            return Waveform(np.zeros(0, np.float32), piece.time_s)
        if self._decoder is not None:
            return self._resampled(self._decoded(piece), piece.time_s)
        samples = np.frombuffer(piece.payload, "<i2")
        if self._resampler is None:
            return Waveform((samples / 2.0**15).astype(np.float32), piece.time_s)
        return self._resampled([av.AudioFrame.from_ndarray(samples[None], "s16", "mono")], piece.time_s)

    def _decoded(self, piece: Piece) -> Sequence[Any]:
        try:
            return self._decoder.decode(av.Packet(bytes(piece.payload)))
        except av.FFmpegError as error:
            hint = "send each packet of the encoder as one message, without a container around it"
            raise Refused(BAD, f"the sound at {piece.time_s:.3f} s is no packet of Opus", hint, "audio") from error

    def _resampled(self, frames: Sequence[Any], start_s: float) -> Waveform:
        """Sound at 16 kHz. The resampler holds some back, so what comes out began a little earlier."""
        assert self._resampler is not None
        begins_s, parts = start_s + self._out / SAMPLE_RATE - self._in / self._rate, [np.zeros(0, np.float32)]
        for frame in frames:
            frame.sample_rate, frame.pts = self._rate, None
            self._in += frame.samples
            parts += [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        samples = np.concatenate(parts)
        self._out += len(samples)
        return Waveform(samples, begins_s)


def read_jpeg(data: memoryview, time_s: float, limits: Limits, pixels: bool = True) -> np.ndarray:
    """A JPEG as upright RGB, uint8 [h w 3].

    Args:
        data: the file.
        time_s: for messages.
        limits: max_pixels is looked at before anything is decoded.
        pixels: whether its pixels are needed; else the result is a blank.

    Raises:
        Refused: it can't be read, or has too many pixels or scans.
    """
    from PIL import Image, ImageOps

    whole = bytes(data)
    try:
        with Image.open(io.BytesIO(whole), formats=("JPEG",)) as opened:
            refuse_size(*opened.size, limits)
            if whole.count(b"\xff\xda") > MOST_SCANS:
                raise Refused(BAD, f"the image at {time_s:.3f} s has too many scans", "save it as a baseline JPEG")
            return np.asarray(ImageOps.exif_transpose(opened).convert("RGB")) if pixels else _BLANK
    except (Refused, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise too_many_pixels("an image", limits) from error
    except Exception as error:  # Pillow raises errors of many kinds for damaged files
        hint = "send whole JPEG files, or another kind of image as rgb24"
        raise Refused(BAD, f"the image at {time_s:.3f} s can't be read as JPEG", hint, "image") from error
