"""Measure how time and memory grow with the length of a recording, and write docs/benchmarks-length.md.

make bench            # or: python benchmarks/length.py [--hours 10] [--video-hours 3] [--out docs/benchmarks-length.md]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from run import ROOT, SIZES, git_commit, machine, make_video, peak_memory, spent

from avgate.core.types import CROP_SIZE, MESH_POINTS, SAMPLE_RATE, FaceTrack, Trace, VideoFrame, Waveform
from avgate.features.audio.chunks import HOP, Chunks
from avgate.features.audio.extraction import AudioExtraction, Frames
from avgate.features.audio.pool import StepPool
from avgate.features.base import Backbone, Extraction
from avgate.features.steps import Collected
from avgate.features.tracks import Extracted
from avgate.inference.predictor import Predictor
from avgate.report.figure import write_figure
from avgate.report.html import write_report
from avgate.report.shown import Envelope
from avgate.report.writers.csv import CsvWriter
from avgate.report.writers.json import JsonWriter

FPS, PIECE_S, BLOCK = 25, 30, 64
LOOP_S, MOST_MB = 120, 1500
DAYS, IMAGES = 6, 10


def main() -> None:
    """Run each length in a process of its own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0, help="the longest recording")
    parser.add_argument("--video-hours", type=float, default=3.0, help="length of the real video; 0 is none")
    parser.add_argument("--one", type=float, help="measure this many hours and print them as JSON; 0 is the sparse one")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-length.md")
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.one)))
        return
    lengths = {"10 min": 1 / 6, "1 h": 1.0, f"{given.hours:g} h": given.hours, f"{IMAGES} images in {DAYS} days": 0.0}
    found = {name: in_own_process(hours) for name, hours in lengths.items()}
    stages = list(next(iter(found.values())))
    lines = [
        "# Time against length",
        "",
        f"Made by `{' '.join(['python benchmarks/length.py', *sys.argv[1:]])}` (`make bench`).",
        "",
        machine(),
        f"Python {platform.python_version()}.",
        f"avgate {git_commit()}, the default weights.",
        f"Recordings are made up: {FPS} frames a second with random points as faces, and noise as sound. Decoders,",
        "face mesh and openSMILE aren't measured: they see a frame or half a minute at a time, whatever came before.",
        "",
        "| stage, seconds | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
        *(f"| {stage} | " + " | ".join(f"{of[stage]:,.2f}" for of in found.values()) + " |" for stage in stages[:-1]),
        "| " + stages[-1] + " | " + " | ".join(f"{of[stages[-1]]:,.0f}" for of in found.values()) + " |",
        "",
        growth(found["1 h"], found[f"{given.hours:g} h"], given.hours),
        "",
        *(whole_video(given.video_hours) if given.video_hours else ()),
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def growth(short: dict[str, float], long: dict[str, float], times: float) -> str:
    """By how much the stages take longer, in a sentence."""
    ratios = {stage: long[stage] / short[stage] for stage in list(short)[:-1] if short[stage] > 1}
    worst = max(ratios, key=lambda stage: ratios[stage])
    return (
        f"{times:g} h take {min(ratios.values()):.1f} to {ratios[worst]:.1f} times as long as 1 h "
        f"(the most: {worst}), of stages that take over a second for 1 h."
    )


def whole_video(hours: float) -> list[str]:
    """What `avgate predict` takes for a real video of so many hours, all of it."""
    with tempfile.TemporaryDirectory() as scratch:
        short, long, out = Path(scratch) / "short.mp4", Path(scratch) / "long.mp4", Path(scratch) / "out"
        source = make_video(short, LOOP_S / 60)
        loop(short, long, round(hours * 3600 / LOOP_S))
        peaks: list[float] = []
        took = spent(lambda: peaks.append(peak_memory(long, out)))
        sizes = {file.suffix: file.stat().st_size / 1e6 for file in sorted(out.glob("long.*"))}
    width, height = SIZES["360p"]
    return [
        f"## A whole video of {hours:g} hours",
        "",
        f"`avgate predict` with trace, CSV, JSON, HTML with video, and PNG. {width}x{height}, {FPS} fps, {source},",
        f"the same {LOOP_S} s over and over.",
        "",
        "| | |",
        "|---|---|",
        f"| highest resident memory, MB | {peaks[0]:,.0f} (limit: {MOST_MB:,}) |",
        f"| minutes | {took.wall_s / 60:.1f} ({hours * 3600 / took.wall_s:.1f} times real time) |",
        f"| processor minutes, of all cores | {took.cpu_s / 60:.1f} |",
        *(f"| {suffix} file, MB | {size:,.1f} |" for suffix, size in sizes.items()),
        "",
    ]


def loop(source: Path, out: Path, times: int) -> None:
    """Write a file's packets over and over, each time LOOP_S later."""
    with av.open(str(out), "w") as written:
        streams: dict[int, Any] = {}
        last: dict[int, int] = {}
        for i in range(times):
            with av.open(str(source)) as read:
                streams = streams or {s.index: written.add_stream_from_template(s) for s in read.streams}
                for packet in read.demux():
                    if packet.dts is None or packet.pts * packet.time_base >= LOOP_S:
                        continue
                    later, index = round(i * LOOP_S / packet.time_base), packet.stream.index
                    packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, streams[index]
                    if packet.dts > last.get(index, -1 << 62):  # sound begins a little before 0
                        last[index] = packet.dts
                        written.mux_one(packet)


def in_own_process(hours: float) -> dict[str, float]:
    """What `measure` finds in a process of its own."""
    command = [sys.executable, __file__, "--one", str(hours)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measure(hours: float) -> dict[str, float]:
    """Seconds of each stage, and the highest resident memory in MB."""
    import resource

    times = np.arange(round(hours * 3600 * FPS)) / FPS if hours else np.linspace(0, DAYS * 86_400 - 1, IMAGES)
    sound_s = hours * 3600
    predictor = Predictor()
    audio, video = (made(backbone) for backbone in predictor.backbones)
    heard, seen = (Collected(backbone) for backbone in predictor.backbones)
    seconds: dict[str, float] = {}

    def timed(stage: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        seconds[stage] = time.perf_counter() - start
        return result

    stretches, envelope = Chunks(1, 0), Envelope()

    def hear() -> None:
        for piece in pieces(sound_s):
            stretches.push(piece)
            heard.add(audio.push(piece))
            envelope.add(piece)
        stretches.close()

    def see() -> None:
        for block in blocks(times):
            seen.add(video.push(block))

    timed("sound: cut, voice activity, pooled", hear)
    timed("faces: measured", see)
    end_s = float(times[-1]) + 1 / FPS
    timed("the last features", lambda: (heard.add(audio.finish(end_s)), seen.add(video.finish(end_s))))
    extracted = Extracted(
        name="made",
        collected=(heard, seen),
        time_s=times,
        face=np.ones(len(times), bool),
        others=np.zeros(len(times), int),
        notes=(),
        heard_s=np.array([[0.0, sound_s]] if hours else np.zeros((0, 2))),
        sounding_s=stretches.sounding_s,
        end_s=end_s,
        box=np.zeros((0, 4)),
    )
    pause_s = 10.0
    timed("features brought to the steps alone", lambda: sum(len(s.tracks) for s in extracted.sections(pause_s)))
    trace: Trace = timed("features brought to the steps and estimated", lambda: predictor.trace(extracted, Made()))
    assert len(trace) == len(times)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        timed("CSV", lambda: CsvWriter().write(trace, out / "a.csv"))
        timed("JSON", lambda: JsonWriter().write(trace, out / "a.json"))
        timed("HTML report without a video", lambda: write_report(trace, out / "a.html"))
        timed("PNG", lambda: write_figure(trace, out / "a.png", [], envelope if hours else None))
    seconds["all of it"] = sum(seconds.values()) - seconds["features brought to the steps alone"]
    seconds["highest resident memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds


class Made:
    """The recording that the features stand for."""

    name, has_frames, notes, sound_end_s = "made", True, [""], 0.0

    def frames(self) -> Iterator[VideoFrame]:
        """See Recording."""
        yield from ()

    def frame_times(self) -> np.ndarray:
        """See Recording."""
        return np.zeros(0)

    def sound(self) -> Iterator[Waveform]:
        """See Recording."""
        yield from ()


def made(backbone: Backbone) -> Extraction:
    """The backbone's extraction; that of sound with random numbers in place of openSMILE's."""
    extraction = backbone.start()
    if isinstance(extraction, AudioExtraction):
        pool: StepPool = extraction._pool
        extraction._analyse = lambda parts: [numbers(len(samples), pool.width) for samples in parts]
    return extraction


def numbers(samples: int, columns: int) -> Frames:
    """Random features every 10 ms."""
    centre = np.arange(HOP // 2, samples, HOP)
    return centre, np.random.default_rng(0).standard_normal((len(centre), columns), np.float32)


def pieces(seconds: float) -> Iterator[Waveform]:
    """Noise."""
    noise = (0.1 * np.random.default_rng(0).standard_normal(PIECE_S * SAMPLE_RATE)).astype(np.float32)
    for i in range(round(seconds / PIECE_S)):
        yield Waveform(noise, float(i * PIECE_S))


def blocks(times: np.ndarray) -> Iterator[FaceTrack]:
    """Faces of random points about a circle."""
    random = np.random.default_rng(0)
    mesh = (200 + 50 * random.standard_normal((BLOCK, MESH_POINTS, 3))).astype(np.float32)
    box, crop = np.zeros((BLOCK, 4), np.float32), np.zeros((BLOCK, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for first in range(0, len(times), BLOCK):
        part = times[first : first + BLOCK]
        n = len(part)
        yield FaceTrack(part, np.ones(n, bool), mesh[:n], box[:n], crop[:n], np.zeros(n, int), (400, 400))


if __name__ == "__main__":
    main()
