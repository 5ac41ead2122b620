"""Open corpora in their official layouts, with generated media: EmoDB, RAVDESS, CREMA-D."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.clips import greys, make_clip, tone

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1234\n"
"""What a clone without Git LFS has in place of a file."""

CREMAD_VOTES = "processedResults/tabulatedVotes.csv"


def write_sound(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Write a WAV file, 16 bit, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def write_emodb(root: Path) -> None:
    """Two recordings of each speaker."""
    for i, speaker in enumerate(("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")):
        for name in (f"{speaker}a01{'WLEAFTN'[i % 7]}a", f"{speaker}b09Nb"):
            write_sound(root / "wav" / f"{name}.wav", tone(0.5, 16_000, 150 + 10 * i))


def encoded(path: Path, **more: Any) -> bytes:
    """A short video, which is written in many places: encoding takes longer than that. Nothing stays at the path."""
    data = make_clip(path, greys(5), **more).read_bytes()
    path.unlink()
    return data


def write_ravdess(root: Path) -> None:
    """Per actor a performance as all three files, one as sound alone, and one as video alone."""
    root.mkdir(parents=True, exist_ok=True)
    clips = {"01": encoded(root / "clip.mp4", sound=[(0.0, tone(0.2))]), "02": encoded(root / "clip.mp4", sound=[])}
    for actor in range(1, 25):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir()
        for modality, rest in (("01", "03-02"), ("02", "03-02"), ("03", "03-02"), ("03", "05-01"), ("02", "02-01")):
            stem = f"{modality}-01-{rest}-01-01-{actor:02d}"
            if modality == "03":
                write_sound(folder / f"{stem}.wav", tone(0.2, 16_000))
            else:
                (folder / f"{stem}.mp4").write_bytes(clips[modality])


def write_cremad(root: Path, actors: Sequence[str] = tuple(f"10{i:02d}" for i in range(1, 11))) -> None:
    """Two clips of each actor, with videos; in the second, the voice says neutral and the face says happy."""
    (root / "processedResults").mkdir(parents=True)
    (root / "VideoFlash").mkdir()
    clip = encoded(root / "clip.flv", codec="flv", sound=[(0.0, tone(0.2))])
    emotions = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad")
    rows = [",".join(["", *"ADFHNS", "fileName", "emoVote", *(f"mean{e}Resp" for e in emotions)])]
    for i, name in enumerate(f"{actor}_{rest}" for actor in actors for rest in ("IEO_ANG_HI", "TIE_HAP_XX")):
        votes = {
            "IEO": {"1": "8 0 0 0 2 0", "2": "6 4 0 0 0 0", "3": "10 0 0 0 0 0"},
            "TIE": {"1": "0 0 0 1 9 0", "2": "0 0 0 9 1 0", "3": "0 0 0 5 5 0"},
        }[name.split("_")[1]]
        for presentation, counts in votes.items():
            levels = ",".join("-1" if count == "0" else "80" for count in counts.split())
            rows.append(f"{presentation}{i:05d},{counts.replace(' ', ',')},{name},?,{levels}")
        (root / "VideoFlash" / f"{name}.flv").write_bytes(clip)
    (root / CREMAD_VOTES).write_text("\n".join([*rows, ""]))
    people = [f"{actor},30,{'Male' if int(actor) % 2 else 'Female'}" for actor in actors]
    (root / "VideoDemographics.csv").write_text("\n".join(["ActorID,Age,Sex", *people, ""]))
