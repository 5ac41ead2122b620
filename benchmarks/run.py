"""Measure speed and memory of `avgate predict` and of its stages alone, and write docs/benchmarks.md.

make bench            # or: python benchmarks/run.py [--minutes 2] [--repeats 3] [--long-minutes 20]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "clips"
WIDTH, HEIGHT, FPS = 640, 360, 25


def main() -> None:
    """Run all measurements and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the video that is timed")
    parser.add_argument(
        "--long-minutes", type=float, default=20.0, help="length of the long video for the memory comparison"
    )
    parser.add_argument("--repeats", type=int, default=3, help="medians are over so many runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        video, long = folder / "video.mp4", folder / "long.mp4"
        source = make_video(video, given.minutes)
        make_video(long, given.long_minutes)
        seconds = given.minutes * 60
        stages = {
            "decode": lambda: decode(video),
            "face mesh (with its own decoding)": lambda: mesh(video),
            "openSMILE (with its own decoding)": lambda: smile(video),
            "predict, whole: trace, CSV, JSON, HTML with video, PNG": lambda: predict(video, folder / "out"),
        }
        times = {name: [timed(run) for _ in range(given.repeats)] for name, run in stages.items()}
        memory = {
            minutes: peak_memory(path, folder / "mem")
            for minutes, path in ((given.minutes, video), (given.long_minutes, long))
        }
    medians = {name: statistics.median(values) for name, values in times.items()}
    *alone, whole = medians.values()
    lines = [
        "# Benchmarks",
        "",
        f"Made by `{' '.join(['python benchmarks/run.py', *sys.argv[1:]])}` (`make bench`), which measured all of it.",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}.",
        f"Python {platform.python_version()}.",
        f"avgate {git_commit()}, the default weights.",
        f"Video: {WIDTH}x{HEIGHT}, {FPS} fps, {given.minutes:g} min, from {source}.",
        "",
        f"## Speed: median of {given.repeats} runs in one process, after one import",
        "",
        "| stage | seconds | times real time |",
        "|---|---|---|",
        *(f"| {name} | {value:.2f} | {seconds / value:.1f} |" for name, value in medians.items()),
        "",
        f"The whole takes {whole / max(alone):.2f} times its slowest stage alone.",
        "",
        "## Memory: highest resident memory of an `avgate predict` process",
        "",
        "| video | MB |",
        "|---|---|",
        *(f"| {minutes:g} min | {value:.0f} |" for minutes, value in memory.items()),
        "",
        "See also [live use](benchmarks-live.md), [the feature store](benchmarks-store.md) and",
        "[time against length](benchmarks-length.md).",
        "",
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def make_video(path: Path, minutes: float) -> str:
    """A 640x360 video with speech: real recordings played to and fro if they are at hand, a rendered clip otherwise."""
    from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
    from avgate.corpora.rendered import RenderConfig, render
    from avgate.media import Media, Mp4Writer

    sources = sorted(CLIPS.glob("grid_*.mpg"))
    if not sources:
        render(path.parent / "rendered", RenderConfig(identities=3, clips_per_identity=1))
        sources = sorted((path.parent / "rendered" / "clips").glob("*.mp4"))

    def scenes() -> Iterator[tuple[list, list]]:
        while True:
            for source in sources:
                media = Media(source)
                yield [f.image for f in media.frames()], [p.samples for p in media.sound()]

    total, at = round(minutes * 60 * FPS), 0
    with Mp4Writer(path, WIDTH, HEIGHT) as writer:
        for images, sounds in scenes():
            for repeat in range(8):
                ordered = images if repeat % 2 == 0 else images[::-1]
                for i, image in enumerate(ordered[: total - at]):
                    writer.add(VideoFrame((at + i) / FPS, image))
                start, at = at / FPS, min(total, at + len(images))
                for samples in sounds:
                    writer.add_sound(Waveform(samples[: round((at / FPS - start) * SAMPLE_RATE)], start))
                if at >= total:
                    return (
                        "GRID recordings (CC BY 4.0), each played to and fro for 24 s"
                        if CLIPS.is_dir()
                        else "rendered clips"
                    )
    raise AssertionError("scenes never end")


def timed(run: Callable[[], None]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def decode(video: Path) -> None:
    """Every frame as RGB, and nothing else."""
    from avgate.media import Media

    for _ in Media(video).frames():
        pass


def mesh(video: Path) -> None:
    """The face track and nothing else."""
    from avgate.faces import FaceTracker
    from avgate.media import Media

    for _ in FaceTracker().track(Media(video).frames()):
        pass


def smile(video: Path) -> None:
    """EGeMAPS features and nothing else."""
    from avgate.features.registry import build_backbones
    from avgate.media import Media

    extraction = build_backbones(["egemaps"], 10.0)[0].start()
    for piece in Media(video).sound():
        extraction.push(piece)
    extraction.finish(1.0)


def predict(video: Path, out: Path) -> None:
    """What `avgate predict` does."""
    from avgate.apps.predict.many import predict as run

    run([video], out)


def peak_memory(video: Path, out: Path) -> float:
    """Highest resident memory in MB of `avgate predict` in a process of its own."""
    command = [sys.executable, "-m", "avgate", "predict", str(video), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return usage.ru_maxrss / (1024 if platform.system() == "Linux" else 1024**2)


def git_commit() -> str:
    """The commit that was measured."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown commit"


if __name__ == "__main__":
    main()
