"""Make docs/voice-activity.md: voice detectors on clean, noisy and real speech. Run by hand; needs ../shared."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from commit import git_commit
from scipy.ndimage import maximum_filter1d, minimum_filter1d, uniform_filter1d
from scipy.signal import istft, resample_poly, stft
from vad_by_hand import HOP, voice_activity

from avgate.compare.markdown import markdown_table
from avgate.core.files import atomic_write
from avgate.core.metrics import auroc
from avgate.core.types import SAMPLE_RATE
from avgate.features.audio.chunks import Chunk
from avgate.features.audio.vad import THRESHOLD, VoiceActivity
from avgate.media import Media

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHARED = DOCS.parents[1] / "shared"
SILERO, BY_HAND = "Silero", "by hand"
EMOTIONS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
"""Letter in an EmoDB file's name -> what was acted."""

SPEECH_S = {
    "grid_bbaf2n.mpg": [(0.97, 2.1)],
    "grid_lbax4n.mpg": [(0.45, 1.97)],
    "grid_lrwp9a.mpg": [(0.58, 2.25)],
    "grid_pwij3p.mpg": [(0.5, 2.12)],
    "grid_swiz3n.mpg": [(0.62, 2.77)],
    "obama_speech.mp4": [(1.02, 1.6), (2.02, 3.65), (4.2, 5.28), (5.65, 7.38), (8.0, 8.72)],
}
"""Where people speak in the real clips, in seconds, read off their level and pitch by eye."""

MUSIC = "face_noface.mov"
"""The clip whose sound is music."""

NOISES = ("white", "pink", "hum", "music", "babble")
SNR_DB = (0, 5, 10, 15, 20)
SILENCE_S = 1.5
ALONE_S = 60
ALONE_DB = -30

Detector = Callable[[np.ndarray], np.ndarray]
"""Sound, float32 [n] at 16 kHz -> a score for every 10 ms, float [m]; speech from THRESHOLD on."""


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emodb", type=Path, default=SHARED / "data" / "emodb", help="folder of EmoDB's WAV files")
    parser.add_argument("--clips", type=Path, default=SHARED / "clips", help="folder of the real clips")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for voice-activity.md")
    given = parser.parse_args()
    missing = [str(folder) for folder in (given.emodb, given.clips) if not folder.is_dir()]
    packages = {"silero_vad": "silero-vad", "webrtcvad": "webrtcvad-wheels"}
    missing += [
        f"the package {name} (pip install {name})" for module, name in packages.items() if not find_spec(module)
    ]
    if missing:
        raise SystemExit(f"the comparison of voice detectors needs {', '.join(missing)}")
    with atomic_write(given.out / "voice-activity.md") as temporary:
        temporary.write_text(page(given.emodb, given.clips))


def page(emodb: Path, clips: Path) -> str:
    """The whole page."""
    first = {}
    for path in sorted(emodb.glob("*.wav")):
        first.setdefault((path.stem[:2], path.stem[5]), path)
    speeches = [Speech(path) for path in first.values()]
    (music,) = (piece.samples for piece in Media(clips / MUSIC).sound())
    detectors = {SILERO: silero, BY_HAND: by_hand} | {f"WebRTC, mode {mode}": webrtc(mode) for mode in range(4)}
    noisy, area, speed = in_noise(detectors, speeches, music)
    best = [noise for noise in NOISES if all(noisy[SILERO][noise].mean() >= of[noise].mean() for of in noisy.values())]
    per_noise = {name: [f"{of[noise].mean():.3f}" for noise in NOISES] for name, of in noisy.items()}
    per_snr = {
        f"{name}, {what}": [f"{np.mean([of[noise][i] for noise in chosen]):.3f}" for i in range(len(SNR_DB))]
        for name, of in noisy.items()
        for what, chosen in (("without babble", [n for n in NOISES if n != "babble"]), ("babble", ["babble"]))
    }
    areas = {SILERO: [f"{x:.3f}" for x in area]}
    misses = missed(detectors, speeches)
    spoken = (version("silero-vad"), version("webrtcvad-wheels"))
    return "\n".join(
        [
            "# Which voice detector",
            "",
            f"Made by `python tools/vad.py` at {git_commit()}, with silero-vad {spoken[0]} and webrtcvad-wheels "
            f"{spoken[1]}; every number comes from that command.",
            "",
            f"avgate uses **Silero** through its ONNX file, at its authors' threshold of {THRESHOLD}. Of the detectors "
            f"here it has the highest balanced accuracy in {', '.join(best) or 'no noise'}. It takes the babble of "
            f"many people for speech. Of clean speech it misses {misses[SILERO][-2]}, and the detector that avgate had "
            f"before {misses[BY_HAND][-2]}; of whispered speech {misses[SILERO][-1]} against {misses[BY_HAND][-1]}.",
            "",
            "The detector *by hand* is that of avgate 0.1.0, which goes by pitch and level (`tools/vad_by_hand.py`). "
            "WebRTC's has four modes, from eager to strict. Each detector is taken as it comes.",
            "",
            f"Speech is EmoDB: {len(speeches)} recordings, the first of each speaker and emotion, with {SILENCE_S} s "
            "of silence on either side. The truth is where the clean sound's power over 0.1 s is within 30 dB of its "
            "peak; pauses of up to 0.3 s count as speech. Babble is six recordings of other speakers at once. Music "
            "is 4 s of a real recording, repeated. SNR is that of the speech where there is speech.",
            "",
            "## In noise",
            "",
            markdown_table(
                f"Balanced accuracy, mean over SNRs of {SNR_DB[0]} to {SNR_DB[-1]} dB.", "detector", NOISES, per_noise
            ),
            markdown_table("Balanced accuracy by SNR.", "detector", [f"{snr} dB" for snr in SNR_DB], per_snr),
            markdown_table("AUROC of the score, over all SNRs; the others give no score.", "detector", NOISES, areas),
            "## False alarms in noise alone",
            "",
            markdown_table(
                f"Share of {ALONE_S} s of noise at {ALONE_DB} dB re full scale that is taken for speech.",
                "detector",
                NOISES,
                alone(detectors, speeches, music),
            ),
            "## Missed speech",
            "",
            markdown_table(
                "Share of clean speech that isn't heard. Whispered: all recordings with their voice replaced by noise.",
                "detector",
                [*EMOTIONS.values(), "all", "whispered"],
                misses,
            ),
            "## Real clips",
            "",
            markdown_table(
                "Share of speech that isn't heard / share of the rest that is taken for speech; spans read by eye.",
                "detector",
                list(SPEECH_S),
                real(detectors, clips),
            ),
            "## Speed",
            "",
            markdown_table(
                "Seconds of sound for each second of one core.",
                "detector",
                ["speed"],
                {name: [f"{seconds:.0f}"] for name, seconds in speed.items()},
            ),
        ]
    )


def silero(samples: np.ndarray) -> np.ndarray:
    """Silero as avgate uses it."""
    centre, probability = VoiceActivity()(Chunk(samples, 0, 0, len(samples)))
    return probability[np.searchsorted(centre, times(samples), side="right") - 1]


def by_hand(samples: np.ndarray) -> np.ndarray:
    """The detector of avgate 0.1.0."""
    return voice_activity(samples)[1]


def webrtc(mode: int) -> Detector:
    """WebRTC's mixture of Gaussians in one of its modes."""
    import webrtcvad

    def decide(samples: np.ndarray) -> np.ndarray:
        detector = webrtcvad.Vad(mode)
        whole = (np.clip(np.pad(samples, (0, HOP)), -1, 1 - 2**-15) * 2**15).astype(np.int16)
        frames = [whole[i * HOP : (i + 1) * HOP].tobytes() for i in range(len(times(samples)))]
        return np.array([detector.is_speech(frame, SAMPLE_RATE) for frame in frames], float)

    return decide


def times(samples: np.ndarray) -> np.ndarray:
    """The middles of the 10 ms that decisions are for, in samples."""
    return np.arange((len(samples) + HOP // 2 - 1) // HOP) * HOP + HOP // 2


class Speech:
    """An EmoDB recording between stretches of silence.

    Attributes:
        speaker: whose voice it is.
        emotion: what was acted.
        samples: float32 [n] at 16 kHz.
        truth: bool [m], every 10 ms, whether there is speech.
        power: mean square of the samples where there is speech.
    """

    def __init__(self, path: Path):
        import soundfile

        self.speaker, self.emotion = path.stem[:2], EMOTIONS[path.stem[5]]
        recorded, rate = soundfile.read(path, dtype="float32")
        silence = round(SILENCE_S * SAMPLE_RATE)
        self.samples = np.pad(resample_poly(recorded, SAMPLE_RATE, rate).astype(np.float32), silence)
        power = uniform_filter1d(self.samples.astype(np.float64) ** 2, SAMPLE_RATE // 10)[times(self.samples)]
        inside = (times(self.samples) >= silence) & (times(self.samples) < len(self.samples) - silence)
        loud = inside & (power > 1e-3 * power.max())
        self.truth = minimum_filter1d(maximum_filter1d(loud, 31), 31)
        self.power = power[self.truth].mean()

    def whispered(self) -> np.ndarray:
        """The same without a voice: noise under the spectrum's envelope, of 30 cepstral coefficients."""
        carrier = stft(np.random.default_rng(0).standard_normal(len(self.samples)), nperseg=400)[2]
        cepstrum = np.fft.irfft(np.log(np.abs(stft(self.samples, nperseg=400)[2]) + 1e-6), axis=0)
        cepstrum[30:-29] = 0
        envelope = np.exp(np.fft.rfft(cepstrum, axis=0).real)
        made = istft(envelope * carrier / np.sqrt(np.mean(np.abs(carrier) ** 2)), nperseg=400)[1]
        return made[: len(self.samples)].astype(np.float32)


def noise(
    kind: str, n: int, power: float, speeches: Sequence[Speech], music: np.ndarray, seed: int, but: str = ""
) -> np.ndarray:
    """Float64 [n] of a kind and power; babble is of speakers other than `but`."""
    random = np.random.default_rng(seed)

    def loop(sound: np.ndarray) -> np.ndarray:
        return np.roll(np.resize(sound / sound.std(), n), random.integers(n))

    if kind == "white":
        made = random.standard_normal(n)
    elif kind == "pink":
        spectrum = np.fft.rfft(random.standard_normal(n))
        made = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), n)
    elif kind == "hum":
        phase = 2 * np.pi * 50 * np.arange(n) / SAMPLE_RATE
        made = sum(np.sin(k * phase + 2 * np.pi * random.random()) / k for k in range(1, 21))
    elif kind == "music":
        made = loop(music)
    else:
        others = [speech for speech in speeches if speech.speaker != but]
        made = sum(
            loop(others[i].samples[others[i].samples != 0]) for i in random.choice(len(others), 6, replace=False)
        )
    return made * np.sqrt(power / np.mean(made**2))


def in_noise(
    detectors: dict[str, Detector], speeches: Sequence[Speech], music: np.ndarray
) -> tuple[dict[str, dict[str, np.ndarray]], list[float], dict[str, float]]:
    """Detector -> noise -> balanced accuracy by SNR; Silero's AUROC by noise; seconds of sound per second of a core."""
    truth = np.concatenate([speech.truth for speech in speeches])
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in detectors}
    areas, taken, sounding = [], dict.fromkeys(detectors, 0.0), 0.0
    for kind in NOISES:
        scores: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
        for snr in SNR_DB:
            mixed = list(mixtures(kind, snr, speeches, music))
            sounding += sum(map(len, mixed)) / SAMPLE_RATE
            for name, detector in detectors.items():
                begun = time.process_time()
                scores[name].append(np.concatenate([detector(sound) for sound in mixed]))
                taken[name] += time.process_time() - begun
        for name in detectors:
            voice = np.array(scores[name]) >= THRESHOLD
            found[name][kind] = (voice[:, truth].mean(1) + (~voice[:, ~truth]).mean(1)) / 2
        areas.append(auroc(np.concatenate(scores[SILERO]), np.tile(truth, len(SNR_DB))))
    return found, areas, {name: sounding / taken[name] for name in detectors}


def mixtures(kind: str, snr_db: float, speeches: Sequence[Speech], music: np.ndarray) -> Iterator[np.ndarray]:
    """Each recording in noise, no louder than full scale."""
    for seed, speech in enumerate(speeches):
        power = speech.power / 10 ** (snr_db / 10)
        added = noise(kind, len(speech.samples), power, speeches, music, seed, speech.speaker)
        mixed = (speech.samples + added).astype(np.float32)
        yield mixed / max(1, np.abs(mixed).max())


def alone(detectors: dict[str, Detector], speeches: Sequence[Speech], music: np.ndarray) -> dict[str, list[str]]:
    """Detector -> share of each noise that is taken for speech."""
    sounds = [noise(k, ALONE_S * SAMPLE_RATE, 10 ** (ALONE_DB / 10), speeches, music, 0) for k in NOISES]
    return {
        name: [f"{(detector(sound.astype(np.float32)) >= THRESHOLD).mean():.3f}" for sound in sounds]
        for name, detector in detectors.items()
    }


def missed(detectors: dict[str, Detector], speeches: Sequence[Speech]) -> dict[str, list[str]]:
    """Detector -> share of the speech that it doesn't hear, by emotion, in all, and whispered."""
    found = {}
    for name, detector in detectors.items():
        clean = [detector(speech.samples)[speech.truth] < THRESHOLD for speech in speeches]
        whispered = [detector(speech.whispered())[speech.truth] < THRESHOLD for speech in speeches]
        groups = [
            [miss for miss, speech in zip(clean, speeches, strict=True) if speech.emotion == emotion]
            for emotion in EMOTIONS.values()
        ]
        found[name] = [f"{np.concatenate(group).mean():.3f}" for group in (*groups, clean, whispered)]
    return found


def real(detectors: dict[str, Detector], clips: Path) -> dict[str, list[str]]:
    """Detector -> misses and false alarms in each clip."""
    found: dict[str, list[str]] = {name: [] for name in detectors}
    for clip, spans in SPEECH_S.items():
        (piece,) = Media(clips / clip).sound()
        time_s = piece.start_s + times(piece.samples) / SAMPLE_RATE
        truth = np.any([(time_s >= start_s) & (time_s < end_s) for start_s, end_s in spans], axis=0)
        for name, detector in detectors.items():
            voice = detector(piece.samples) >= THRESHOLD
            found[name].append(f"{(~voice[truth]).mean():.3f} / {voice[~truth].mean():.3f}")
    return found


if __name__ == "__main__":
    main()
