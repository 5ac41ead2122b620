"""What recordings go through in real life: gain, telephone, codec, room noise; small, grey and tilted pictures."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
import numpy as np
from PIL import Image
from scipy import signal

from avgate.core.types import SAMPLE_RATE

Sound = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Picture = Callable[[Image.Image], Image.Image]


def quieter(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same sound, 12 dB quieter."""
    return samples / 4


def telephone(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Through a telephone: 300 to 3,400 Hz, 8,000 samples a second, 8-bit mu-law (ITU-T G.711)."""
    narrow = signal.sosfilt(signal.butter(4, (300, 3400), "band", fs=SAMPLE_RATE, output="sos"), samples)
    narrow = signal.resample_poly(signal.resample_poly(narrow, 1, 2), 2, 1)[: len(samples)]
    peak = max(float(np.abs(narrow).max()), 1e-6)
    pressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log1p(255)
    pressed = np.round(pressed * 127) / 127
    return np.sign(pressed) * np.expm1(np.abs(pressed) * np.log1p(255)) / 255 * peak


def codec(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Through an MP3 file of 32 kbit/s."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 32_000
        whole = (np.clip(samples, -1, 1 - 2**-15) * 2**15).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(format=stream.codec_context.format or "s16p", layout="mono", rate=SAMPLE_RATE)
        for part in (*resampler.resample(frame), None):
            out.mux(stream.encode(part))
    file.seek(0)
    with av.open(file) as read:
        floats = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        parts = [p.to_ndarray()[0] for f in read.decode(audio=0) for p in floats.resample(f)]
    decoded = np.concatenate(parts)
    # The codec delays the sound by a constant; put it back where it was.
    found = signal.correlate(decoded, samples, mode="full", method="fft")
    late = max(0, int(found.argmax()) - (len(samples) - 1))
    return np.resize(np.append(decoded[late:], np.zeros(len(samples))), len(samples))


def noisy(samples: np.ndarray, random: np.random.Generator, snr_db: float = 15.0) -> np.ndarray:
    """With the noise of a room at 15 dB below the speech: most of it deep, as of a fan or a street."""
    return samples + _scaled(_room(len(samples), random), samples, snr_db)


SOUND: dict[str, Sound] = {"12 dB quieter": quieter, "telephone": telephone, "MP3": codec, "room noise": noisy}
"""What a voice is tested with."""


def channel(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same sound from a larger or smaller speaker, through a random microphone, room and line; for training.

    Played faster or slower, a voice has other formants, pitch and tempo (Ko et al. 2015, "Audio augmentation for speech
    recognition"), so that a few speakers become many.
    """
    out = _played(samples, random.uniform(0.87, 1.15))
    out = _tilted(out, random.uniform(-3, 3))
    if random.random() < 0.3:
        length = int(random.uniform(0.15, 0.6) * SAMPLE_RATE)
        tail = random.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= random.uniform(0.2, 0.7) / np.sqrt((tail**2).sum())
        tail[0] = 1
        out = signal.fftconvolve(out, tail)[: len(out)]
    if random.random() < 0.6:
        noise = _room(len(out), random) if random.random() < 0.5 else random.standard_normal(len(out))
        out = out + _scaled(noise, out, random.uniform(8, 35))
    if random.random() < 0.5:
        out = (telephone, telephone, codec, _dull)[random.integers(4)](out, random)
    return out * 10 ** (random.uniform(-24, 6) / 20)


def grey(image: Image.Image) -> Image.Image:
    """Without colour."""
    return image.convert("L").convert("RGB")


def smaller(image: Image.Image) -> Image.Image:
    """Half as wide and half as high."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BILINEAR)


def tilted(image: Image.Image) -> Image.Image:
    """Turned by 15 degrees in the picture's plane, as a head tilted to the side."""
    return image.rotate(15, Image.Resampling.BILINEAR, expand=True)


def compressed(image: Image.Image) -> Image.Image:
    """Through a JPEG file of quality 25."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=25)
    return Image.open(file).convert("RGB")


PICTURE: dict[str, Picture] = {
    "grey": grey,
    "half the size": smaller,
    "tilted by 15 degrees": tilted,
    "JPEG": compressed,
}
"""What a face is tested with."""


def wandering(image: Image.Image, frames: int, random: np.random.Generator) -> list[Image.Image]:
    """A still as a short film: a hand-held camera that drifts, comes nearer and tilts; for training."""
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.3:
        image = grey(image)
    scale = random.uniform(0.6, 1.4) * 250 / max(image.size)
    image = image.resize((max(16, int(image.width * scale)), max(16, int(image.height * scale))))
    size = int(1.5 * max(image.size))
    canvas = Image.new("RGB", (size, size), tuple(int(v) for v in random.integers(40, 200, 3)))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    tilt, shift, zoom = random.uniform(-15, 15), np.zeros(2), 0.0
    made = []
    for _ in range(frames):
        tilt, zoom = tilt + random.normal(0, 0.5), zoom + random.normal(0, 0.004)
        shift = shift + random.normal(0, 0.004 * size, 2)
        moved = canvas.rotate(tilt, Image.Resampling.BILINEAR, translate=(int(shift[0]), int(shift[1])))
        inset = size * np.clip(0.04 + zoom, 0, 0.15)
        made.append(moved.crop((int(inset), int(inset), int(size - inset), int(size - inset))).resize((size, size)))
    return made


def _room(n: int, random: np.random.Generator) -> np.ndarray:
    deep = signal.lfilter([1], [1, -0.95], random.standard_normal(n))
    return np.asarray(deep) + 0.1 * random.standard_normal(n)


def _scaled(noise: np.ndarray, speech: np.ndarray, snr_db: float) -> np.ndarray:
    return noise * np.sqrt((speech**2).mean() / (noise**2).mean()) * 10 ** (-snr_db / 20)


def _played(samples: np.ndarray, speed: float) -> np.ndarray:
    """Played so many times as fast."""
    return signal.resample_poly(samples, 100, round(100 * speed))


def _tilted(samples: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Brighter or duller by so many decibels per octave from 1 kHz, up to three octaves away."""
    bands = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    octaves = np.clip(np.log2(np.maximum(bands, 50) / 1000), -3, 3)
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (db_per_octave * octaves / 20), len(samples))


def _dull(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    high = random.uniform(3000, 6000)
    return signal.sosfilt(signal.butter(6, high, "low", fs=SAMPLE_RATE, output="sos"), samples)
