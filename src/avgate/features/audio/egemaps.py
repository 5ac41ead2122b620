"""eGeMAPSv02's 25 low-level descriptors (LLDs) of the voice (Eyben et al. 2016), pooled around each step."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from avgate.core.errors import UsageError
from avgate.core.state import Stateful
from avgate.core.timeline import Grid
from avgate.core.types import SAMPLE_RATE, Modality
from avgate.features.audio.causal import CausalAudioExtraction, Past, refuse_uneven
from avgate.features.audio.chunks import HOP
from avgate.features.audio.extraction import Arrange, AudioExtraction, one_by_one
from avgate.features.audio.pool import StepPool
from avgate.features.audio.smile import low_level_descriptors
from avgate.features.base import Extraction, Need, fingerprint

VERSION = 3
"""Raise it whenever this file, extraction.py, pool.py or chunks.py change the features."""

LLDS = (
    # of any sound, from 20-ms frames
    "Loudness", "alphaRatio", "hammarbergIndex", "slope0-500", "slope500-1500", "spectralFlux",
    "mfcc1", "mfcc2", "mfcc3", "mfcc4",
    # of voiced sound, from 60-ms frames
    "F0semitoneFrom27.5Hz", "jitterLocal", "shimmerLocaldB", "HNRdBACF", "logRelF0-H1-H2", "logRelF0-H1-A3",
    "F1frequency", "F1bandwidth", "F1amplitudeLogRelF0", "F2frequency", "F2bandwidth", "F2amplitudeLogRelF0",
    "F3frequency", "F3bandwidth", "F3amplitudeLogRelF0",
)  # fmt: skip
"""openSMILE's names in its order, without the suffix that says that they are smoothed over three frames."""

COLUMNS = (*(f"{lld}.mean" for lld in LLDS), *(f"{lld}.sd" for lld in LLDS), "voiced.share")
"""All columns; EgemapsConfig says whether those of LEVEL are left out."""

LEVEL = ("Loudness.mean", "spectralFlux.mean")
"""Columns that measure the level of the recording. Of the others, spectral slopes below 1.5 kHz follow it most."""

_VOICED = LLDS.index("F0semitoneFrom27.5Hz")

LOG_OFFSETS = {"Loudness": 0.01, "spectralFlux": 0.01, "jitterLocal": 0.001, "shimmerLocaldB": 0.1}
"""LLDs with a long upper tail become log(x + offset); the offsets lie below nearly all values of audible sound."""

NEUTRAL = {
    "F0semitoneFrom27.5Hz": (27.2, 1.5),
    "jitterLocal": (-4.27, 0.73),
    "shimmerLocaldB": (-0.06, 0.57),
    "HNRdBACF": (5.5, 1.8),
    "logRelF0-H1-H2": (3.7, 4.9),
    "logRelF0-H1-A3": (24.9, 7.2),
    "F1frequency": (563, 186),
    "F1bandwidth": (1341, 201),
    "F1amplitudeLogRelF0": (-5.7, 7.1),
    "F2frequency": (1619, 203),
    "F2bandwidth": (1004, 242),
    "F2amplitudeLogRelF0": (-18.4, 7.9),
    "F3frequency": (2668, 224),
    "F3bandwidth": (963, 228),
    "F3amplitudeLogRelF0": (-25.0, 7.3),
}
"""LLD -> mean and deviation to use where there is no voice: medians over 0.5-s windows of six speakers."""

LEAST_VOICED = 3
"""Voiced frames that a window needs. openSMILE smooths over three, so fewer can come from a single wrong frame."""

_MISSING_DB = -60
"""Amplitudes below this are missing: openSMILE writes -201 for them, and then smooths over three frames."""

_PADDING = SAMPLE_RATE // 10
"""Silence (100 ms) put after the sound: openSMILE gives no values for its last 30 ms, and others right before them."""

LEAD_S = 0.3
"""Seconds of sound before a causal step's window that are analysed with it, since openSMILE's pitch and smoothing look
back. Of three recordings' columns, 0.3 s move by 0.001 deviations on average compared with 1 s, and 0.1 s by 0.006."""

_LEAST_SAMPLES = SAMPLE_RATE // 10
"""Shorter sound (100 ms) gives no frames; openSMILE itself needs 60 ms."""


@dataclass(frozen=True)
class EgemapsConfig:
    """What to extract.

    Args:
        rate: steps per second.
        context_s: width of the window around a step's centre, in seconds, at least 0.1; 0.5 s are about two syllables.
        hold_s: for how many seconds the last voiced values are kept in steps without voiced sound.
        level: whether the columns of LEVEL are among the features; without them, neither the speaker's distance nor the
            microphone's gain can pass for emotion.
        chunk_s: whole seconds of sound analysed at once; sets the memory. The result of speech doesn't depend on it. In
            sound that is voiced without a break for longer than 2 s, jitter and shimmer do, since openSMILE measures
            from one cycle to the next: of a vowel of two minutes, 36 % of the steps move by over 0.1 deviations in one
            of these four columns with the default, compared with one chunk (python benchmarks/chunks.py).
        causal: whether a step is known as soon as its cell ends, for live use. Its window ends there then, and is
            analysed for this step alone; chunk_s doesn't matter.
    """

    rate: float
    context_s: float = 0.5
    hold_s: float = 2.0
    chunk_s: int = 30
    level: bool = True
    causal: bool = False

    def __post_init__(self) -> None:
        """Refuse what can't be extracted."""
        refuse_uneven(self.rate, self.causal, "egemaps")
        whole = self.chunk_s >= 1 and self.chunk_s % 1 == 0
        if not (self.rate > 0 and self.context_s >= 0.1 and self.hold_s >= 0 and whole):
            raise UsageError(
                f"these parameters can't be extracted with: {self}",
                where="egemaps",
                hint="rate is above 0, context_s at least 0.1, hold_s at least 0, chunk_s a whole number from 1 on",
            )


class Egemaps:
    """Mean and standard deviation of every LLD in a window around each step, and the share of voiced frames in it.

    Pitch, voice quality and formants are pooled over voiced frames only, without openSMILE's 0 and -201 for "not
    measured". A window with fewer than LEAST_VOICED such frames repeats the last values for up to `hold_s`. After
    that, or before any voice, it gets the values in NEUTRAL; `voiced.share` near 0 shows that they mean nothing.
    """

    modality: Modality = "audio"
    needs: frozenset[Need] = frozenset()

    def __init__(self, config: EgemapsConfig, name: str = "egemaps"):
        self.config, self.name, self.causal = config, name, config.causal
        self.grid = Grid(config.rate)
        self._kept = [i for i, column in enumerate(COLUMNS) if config.level or column not in LEVEL]
        self.columns = tuple(COLUMNS[i] for i in self._kept)

    @property
    def fingerprint(self) -> str:
        """Hash of code version, parameters and openSMILE's version."""
        return fingerprint("egemaps", VERSION, self.config, version("opensmile"))

    def start(self) -> Extraction:
        """Begin a clip."""
        config = self.config
        least = np.where(np.arange(len(LLDS) + 1) < _VOICED, 1, LEAST_VOICED)
        least[-1] = 1
        analyse, arrange = one_by_one(descriptors), _Columns(config, self._kept)
        if config.causal:
            past = Past(config.context_s + LEAD_S, config.context_s)
            return CausalAudioExtraction(self.grid, len(self.columns), past, least, analyse, arrange)
        pool = StepPool(self.grid, config.context_s, least)
        return AudioExtraction(self.grid, config.chunk_s, pool, analyse, arrange)


def descriptors(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The LLDs of a stretch of sound, each at the centre of the frame that it was measured in.

    Args:
        samples: float32 [n] at 16 kHz; clipped to [-1, 1].

    Returns:
        Centres in samples from the first one, int64 [m], and float32 [m 26]: LLDS, NaN where nothing can be measured,
        and 1 where the frame is voiced, 0 where it isn't. No rows for less than 100 ms.
    """
    if len(samples) < _LEAST_SAMPLES:
        return np.zeros(0, np.int64), np.zeros((0, len(LLDS) + 1), np.float32)
    # openSMILE reads 16-bit integers and lets +1.0 wrap around to -1.0.
    padded = np.pad(np.clip(samples, -1, 1 - 2**-15), (0, _PADDING))
    raw = low_level_descriptors(padded)
    voice = raw[:, _VOICED:].astype(np.float32)
    voiced = voice[:, 0] > 0
    voice[~voiced] = np.nan
    for i, lld in enumerate(LLDS[_VOICED:]):
        if lld in ("jitterLocal", "shimmerLocaldB"):
            voice[voice[:, i] == 0, i] = np.nan  # no two periods were found
        elif "LogRel" in lld or "logRel" in lld:
            voice[voice[:, i] < _MISSING_DB, i] = np.nan
    # Row j of openSMILE starts at hop j; its 20-ms frames are centred at hop j + 1 and its 60-ms frames at hop j + 3.
    rows = np.full((len(raw) + 2, len(LLDS) + 1), np.nan, np.float32)
    rows[:-2, :_VOICED] = raw[:, :_VOICED]
    rows[2:, _VOICED:-1], rows[2:, -1] = voice, voiced
    for lld, offset in LOG_OFFSETS.items():
        i = LLDS.index(lld)
        rows[:, i] = np.log(rows[:, i] + offset)
    centre = (np.arange(len(rows)) + 1) * HOP
    within = centre < len(samples)
    return centre[within], rows[within]


class Hold(Stateful):
    """Fills NaN with the column's last value for up to `longest` steps, and with `neutral` [d] after that."""

    STATE = ("_last", "_held")

    def __init__(self, longest: int, neutral: np.ndarray):
        self._longest, self._neutral = longest, neutral
        self._last = np.full(len(neutral), -1)  # the step that each column's last value is from
        self._held = neutral

    def __call__(self, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Fill the values [k d] of the next steps, int64 [k] from 0 on and increasing."""
        row, step = np.arange(1, len(steps) + 1)[:, None], np.append(0, steps)
        values = np.concatenate([self._held[None], values])
        last = np.maximum.accumulate(np.where(np.isnan(values[1:]), 0, row), axis=0)
        held = np.take_along_axis(values, last, axis=0)
        since = np.where(last > 0, step[last], self._last)
        if len(steps):
            self._last, self._held = since[-1], held[-1]
        return np.where((since >= 0) & (steps[:, None] - since <= self._longest), held, self._neutral)


class _Columns(Arrange):
    """Holds the voice's values, and leaves out the columns that aren't asked for."""

    STATE = ("_mean", "_sd")

    def __init__(self, config: EgemapsConfig, kept: list[int]):
        super().__init__(self._leave_out)
        longest = round(config.hold_s * config.rate)
        neutral = np.array([NEUTRAL[lld] for lld in LLDS[_VOICED:]], np.float32).T
        self._mean, self._sd = (Hold(longest, values) for values in neutral)
        self._kept = kept

    def __call__(
        self, steps: np.ndarray, mean: np.ndarray, sd: np.ndarray, until: int, last: bool
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """See Arrange."""
        voiced = slice(_VOICED, len(LLDS))
        mean[:, voiced] = self._mean(steps, mean[:, voiced])
        sd[:, voiced] = self._sd(steps, sd[:, voiced])
        return super().__call__(steps, mean, sd, until, last)

    def _leave_out(self, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        return np.concatenate([mean[:, :-1], sd[:, :-1], mean[:, -1:]], axis=1)[:, self._kept]
