"""Make docs/causal-features.md: how far features for live use are from the ordinary ones. Needs ../shared."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from commit import git_commit

from avgate.compare.markdown import markdown_table
from avgate.core.files import atomic_write
from avgate.core.types import SAMPLE_RATE, FeatureTrack, Waveform
from avgate.faces.model_file import find_face_model
from avgate.features.registry import build_backbones
from avgate.features.tracks import extract_tracks
from avgate.media import open_recording

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHARED = DOCS.parents[1] / "shared"
RATE = 10.0
EACH = 25
"""Every so manieth recording of EmoDB is taken."""


class Far(NamedTuple):
    """How far a causal backbone's features are from the ordinary ones."""

    correlation: float
    difference: float
    later: float
    alone: float
    missing: float
    steps: int


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emodb", type=Path, default=SHARED / "data" / "emodb", help="folder of EmoDB's WAV files")
    parser.add_argument("--clips", type=Path, default=SHARED / "clips", help="folder of the real clips")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for causal-features.md")
    given = parser.parse_args()
    missing = [str(folder) for folder in (given.emodb, given.clips) if not folder.is_dir()]
    if missing:
        raise SystemExit(f"the comparison of features needs {', '.join(missing)}")
    with atomic_write(given.out / "causal-features.md") as temporary:
        temporary.write_text(page(given.emodb, given.clips))


def page(emodb: Path, clips: Path) -> str:
    """The whole page."""
    seen = sorted([*clips.glob("grid_*.mpg"), *clips.glob("obama_*.mp4")])
    heard = sorted(emodb.glob("*.wav"))[::EACH]
    faces = ["facemesh", *(["blendshapes"] if find_face_model() else [])]
    found = compared(["egemaps", "logmel"], [*seen, *heard]) | compared(faces, seen)
    rows = {
        name: [*(f"{x:.3f}" for x in far[:3]), *(f"{x:.1%}" for x in far[3:5]), str(far.steps)]
        for name, far in found.items()
    }
    columns = ["correlation", "difference (SD)", "difference 0.2 s later (SD)", "present live only"]
    columns += ["absent live only", "steps"]
    return "\n".join(
        [
            "# Features for live use",
            "",
            f"Made by `python tools/causal_features.py` at {git_commit()}; every number comes from that command.",
            "",
            "Live, features of the face are almost the ordinary ones, and those of sound are the ordinary ones of "
            "about 0.2 s before: train a model for live use on causal features.",
            "",
            "With `causal=true`, as in `egemaps?causal=true`, a step is made from what comes before its cell's end "
            "alone, and is known as soon as that has come. Ordinary features look ahead: a window of sound is centred "
            "on its step, a chunk of sound is analysed as a whole, a gap between frames is filled from both sides, and "
            "the first frame of a face has the velocity to the next one. So both differ:",
            "",
            "- Sound: the window ends with the step. It is analysed for this step alone, with as much sound before it "
            "as the analysis needs. Quiet counts as sound until it has lasted for 0.1 s; then it is digital silence.",
            "- Faces: a step without frames repeats the step before. The first frame of a stretch isn't used.",
            "- Networks of sound see the last `chunk_s` seconds (`hf_audio`) or one window (`onnx_audio`); they aren't "
            "in the table, since what that does depends on the model. Samples and pixels stay as they are.",
            "",
            f"Recordings: {len(seen)} of people speaking to a camera, and for sound {len(heard)} of EmoDB, every "
            f"{EACH}th. {RATE:g} steps a second.",
            "",
            markdown_table(
                "Mean over columns: correlation with the ordinary features; mean difference as a share of the column's "
                "standard deviation (SD); the same against the ordinary features of 0.2 s before, since causal windows "
                "of sound end where ordinary ones have their middle. Last: steps that are present in both.",
                "backbone",
                columns,
                rows,
            ),
            markdown_table(
                "Milliseconds a step of sound takes when it comes in pieces of 0.1 s, one core.",
                "backbone",
                ["median", "95 %"],
                {name: [f"{x:.1f}" for x in milliseconds(name, heard[:5])] for name in ("egemaps", "logmel")},
            ),
        ]
    )


def compared(names: Sequence[str], paths: Sequence[Path]) -> dict[str, Far]:
    """How far each backbone's causal features are from the ordinary ones."""
    pairs = [pair for name in names for pair in (name, f"{name}?causal=true")]
    tracks = [extract_tracks(open_recording(path), build_backbones(pairs, RATE)).tracks for path in paths]
    return {name: far([(t[2 * i], t[2 * i + 1]) for t in tracks]) for i, name in enumerate(names)}


def far(pairs: Sequence[tuple[FeatureTrack, FeatureTrack]]) -> Far:
    """How far causal features are from ordinary ones, over several recordings."""
    both = [ordinary.present & causal.present for ordinary, causal in pairs]
    one = np.concatenate([track.values[mask] for (track, _), mask in zip(pairs, both, strict=True)]).astype(float)
    other = np.concatenate([track.values[mask] for (_, track), mask in zip(pairs, both, strict=True)]).astype(float)
    known = np.concatenate([np.stack([a.present, b.present]) for a, b in pairs], axis=1)
    late = [(a.values[:-2], b.values[2:], a.present[:-2] & b.present[2:]) for a, b in pairs]
    before, after = (np.concatenate([x[i][x[2]] for x in late]).astype(float) for i in (0, 1))
    moves = one.std(axis=0) > 0
    deviation = one.std(axis=0)[moves]
    centred = [(x - x.mean(axis=0))[:, moves] for x in (one, other)]
    shared = (centred[0] * centred[1]).mean(axis=0)
    with np.errstate(invalid="ignore"):
        correlation = shared / deviation / centred[1].std(axis=0)
    return Far(
        float(np.nanmean(correlation)),
        float((np.abs(one - other).mean(axis=0)[moves] / deviation).mean()),
        float((np.abs(before - after).mean(axis=0)[moves] / deviation).mean()),
        float((known[1] & ~known[0]).sum() / known[0].sum()),
        float((known[0] & ~known[1]).sum() / known[0].sum()),
        len(one),
    )


def milliseconds(name: str, paths: Sequence[Path]) -> tuple[float, float]:
    """Median and 95th percentile of the time that a causal step takes."""
    (backbone,), taken = build_backbones([f"{name}?causal=true"], RATE), []
    n = round(SAMPLE_RATE / RATE)
    for path in paths:
        extraction = backbone.start()
        sound = np.concatenate([piece.samples for piece in open_recording(path).sound()])
        for i in range(0, len(sound), n):
            start = time.perf_counter()
            steps = extraction.push(Waveform(sound[i : i + n], i / SAMPLE_RATE))
            if len(steps):
                taken.append(1e3 * (time.perf_counter() - start))
    return float(np.median(taken)), float(np.percentile(taken, 95))


if __name__ == "__main__":
    main()
