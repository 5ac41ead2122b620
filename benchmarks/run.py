"""Measure speed and memory of `avgate predict` beside its stages alone and their limits, and write docs/benchmarks.md.

make bench            # or: python benchmarks/run.py [--minutes 2] [--repeats 3] [--long-minutes 20]
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "clips"
FPS = 25
SIZES = {"360p": (640, 360), "1080p": (1920, 1080)}
EVERY = (2, 3, 5)
"""What --faces-every is measured with."""


@dataclass(frozen=True)
class Spent:
    """What a piece of work took: seconds on the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


def main() -> None:
    """Run all measurements and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the 360p videos that are timed")
    parser.add_argument("--videos", type=int, default=8, help="how many of them are in the folder")
    parser.add_argument(
        "--long-minutes", type=float, default=20.0, help="length of the video for the comparison of memory"
    )
    parser.add_argument("--repeats", type=int, default=3, help="medians are over so many runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = make_video(folder / "video.mp4", given.minutes)
        make_video(folder / "long.mp4", given.long_minutes)
        make_video(folder / "large.mp4", given.minutes / 4, SIZES["1080p"])
        lines = [
            "# Benchmarks",
            "",
            f"Made by `{' '.join(['python benchmarks/run.py', *sys.argv[1:]])}` (`make bench`).",
            "",
            machine(),
            f"Python {platform.python_version()}, avgate {git_commit()}, the default weights.",
            f"Videos: {FPS} fps; {given.minutes:g} min of 360p, {given.minutes / 4:g} min of 1080p; from {source}.",
            f"Medians of {given.repeats} rounds; in each, everything is measured once.",
            "",
            *speed(folder, given.minutes, given.videos, given.repeats),
            *between(folder / "video.mp4", given.minutes),
            *memory({given.minutes: folder / "video.mp4", given.long_minutes: folder / "long.mp4"}, folder / "mem"),
            "See also [live use](benchmarks-live.md), [the server](benchmarks-serve.md),",
            "[the feature store](benchmarks-store.md), [time against length](benchmarks-length.md),",
            "[training](benchmarks-training.md) and [many workers](benchmarks-scale.md).",
            "",
        ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def speed(folder: Path, minutes: float, videos: int, repeats: int) -> list[str]:
    """The table of stages and of the whole, and what they say of each other."""
    video, large = folder / "video.mp4", folder / "large.mp4"
    many = [shutil.copy(video, folder / f"video{i}.mp4") for i in range(videos)]
    small_s, large_s = minutes * 60, minutes * 15
    works: dict[str, tuple[float, Callable[[], object]]] = {
        "360p: decode, as RGB": (small_s, lambda: decode(video)),
        "360p: openSMILE, with its decoding": (small_s, lambda: smile(video)),
        "360p: mediapipe alone, one frame after the other, with its decoding": (
            small_s,
            lambda: mediapipe_alone(video),
        ),
        "360p: mediapipe on all cores, each with every n-th of the same frames in memory": (
            small_s,
            lambda: mesh_limit(video),
        ),
        "360p: predict one, in this process": (small_s, lambda: predict(video, folder / "out")),
        f"360p: predict {videos}, the command": (videos * small_s, lambda: command(*many, "--out", folder / "many")),
        "1080p: mediapipe alone, one frame after the other, with its decoding": (
            large_s,
            lambda: mediapipe_alone(large),
        ),
        "1080p: predict one, in this process": (large_s, lambda: predict(large, folder / "out")),
    }
    predict(large, folder / "out")  # libraries prepare themselves at their first use
    found: dict[str, list[Spent]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, (_, work) in works.items():
            found[name].append(spent(work))
    rows, rates = [], {}
    for name, (seconds, _) in works.items():
        wall, cpu = (statistics.median(x) for x in zip(*((s.wall_s, s.cpu_s) for s in found[name]), strict=True))
        rates[name] = seconds / wall
        rows.append(f"| {name} | {wall:.2f} | {seconds / wall:.1f} | {60 * cpu / seconds:.2f} |")
    limit = rates["360p: mediapipe on all cores, each with every n-th of the same frames in memory"]
    alone = rates["360p: mediapipe alone, one frame after the other, with its decoding"]
    one, several = rates["360p: predict one, in this process"], rates[f"360p: predict {videos}, the command"]
    return [
        "## Speed",
        "",
        "| what | seconds | times real time | processor seconds per minute of video |",
        "|---|---|---|---|",
        *rows,
        "",
        "predict writes the trace, CSV, JSON, HTML with the video, and PNG; the command is measured with its start.",
        "",
        "The face mesh is the slowest stage; on all cores, and with nothing beside it, it would reach",
        f"{limit:.1f} times real time. predict of one video takes {limit / one:.2f} times as long as that,",
        f"of {videos} videos {limit / several:.2f} times; and {alone / one:.2f} and {alone / several:.2f} times",
        f"as long as mediapipe alone on the same frames. {bandwidth(one)}",
        "",
    ]


def bandwidth(rate: float) -> str:
    """What memory could move, beside what predict has to."""
    block = np.zeros(1 << 28, np.uint8)
    copied = min(timed(lambda: block.copy()) for _ in range(5))
    width, height = SIZES["360p"]
    # Per frame: decoded once (1.5 bytes a pixel), converted to RGB once, copied into mediapipe once, read by both.
    needed = rate * FPS * width * height * (1.5 + 3 * 4)
    share = needed / (2 * len(block) / copied)
    return (
        f"Memory moves {2 * len(block) / copied / 1e9:.0f} GB/s here; the frames of one video need {share:.0%} of that."
    )


def between(video: Path, minutes: float) -> list[str]:
    """What --faces-every costs and saves."""
    from avgate.inference.predictor import Predictor

    rows, whole = [], None
    for every in (1, *EVERY):
        predictor = Predictor(faces_every=every)
        start = time.perf_counter()
        trace = predictor(video)
        rate = minutes * 60 / (time.perf_counter() - start)
        whole = whole or trace
        values = np.stack([*trace.targets.values()]), np.stack([*whole.targets.values()])
        off = np.abs(values[0] - values[1])
        boxes = np.abs(trace.face_box - whole.face_box) / np.ptp(whole.face_box[:, [0, 2]], axis=1)[:, None]
        spread = np.nanstd(values[1], axis=1).mean()
        rows.append(
            f"| {every} | {rate:.1f} | {100 * np.nanmean(boxes):.2f} | {np.nanmean(off):.4f} | {np.nanmax(off):.3f} |"
            f" {np.nanmean(off) / spread:.2f} | {np.isnan(trace.face_box[:, 0]).mean():.1%} |"
        )
    return [
        "## `--faces-every`: the face measured in every n-th frame, and interpolated between",
        "",
        "Against n = 1, of the same video: how far the face's box is off, in % of its width; how far valence and",
        "arousal are off (on their scale from -1 to 1), on average, at most, and as a share of how much they vary",
        "(their standard deviation). Times are of estimates alone, without files.",
        "",
        "| n | times real time | box, % | estimate, mean | at most | share | no face |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def memory(videos: dict[float, Path], out: Path) -> list[str]:
    """Highest resident memory of `avgate predict`, against length."""
    return [
        "## Memory: highest resident memory of an `avgate predict` process",
        "",
        "| video | MB |",
        "|---|---|",
        *(f"| {minutes:g} min | {peak_memory(path, out):.0f} |" for minutes, path in videos.items()),
        "",
    ]


def make_video(path: Path, minutes: float, size: tuple[int, int] = SIZES["360p"]) -> str:
    """A video with speech: real recordings played to and fro if they are at hand, a rendered clip otherwise."""
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
    with Mp4Writer(path, *size) as writer:
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


def spent(work: Callable[[], object]) -> Spent:
    """What a call takes, with the processes that it starts and waits for."""
    before, start = os.times(), time.perf_counter()
    work()
    after = os.times()
    return Spent(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def decode(video: Path) -> None:
    """Every frame as RGB, and nothing else."""
    from avgate.media import Media

    for _ in Media(video).frames():
        pass


def mediapipe_alone(video: Path) -> None:
    """The face mesh as a script with PyAV and mediapipe finds it."""
    import av
    from mediapipe import solutions

    from avgate.core.console import quiet_native

    with av.open(str(video)) as container, quiet_native():
        container.streams.video[0].thread_type = "AUTO"
        with solutions.face_mesh.FaceMesh(refine_landmarks=True) as mesh:
            for frame in container.decode(video=0):
                mesh.process(frame.to_ndarray(format="rgb24"))


def mesh_limit(video: Path) -> None:
    """As many frames as the video has, through one mediapipe per core; the frames are in memory and come again."""
    from avgate.faces.engines import open_engine
    from avgate.media import Media

    images, count = [], 0
    for frame in Media(video).frames():
        count += 1
        if len(images) < 100:
            images.append(frame.image)
    cores = os.cpu_count() or 1

    def work(core: int) -> None:
        with open_engine(None) as engine:
            for i in range(core, count, cores):
                at = i % (2 * len(images))  # to and fro, so that the face moves as in the video
                engine.follow(images[min(at, 2 * len(images) - 1 - at)], 0.0)

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, range(cores)))


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

    run([video], out, anew=True)


def command(*given: object) -> None:
    """`avgate predict` in a process of its own."""
    line = [sys.executable, "-m", "avgate", "predict", "--anew", *map(str, given)]
    subprocess.run(line, check=True, stderr=subprocess.DEVNULL)


_LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""
"""A small process that starts another: what a large one starts counts as large as that, however small it is."""


def peak_memory(video: Path, out: Path) -> float:
    """Highest resident memory in MB of `avgate predict` in a process of its own."""
    line = [sys.executable, "-m", "avgate", "predict", "--anew", str(video), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", _LAUNCH, *line], capture_output=True, text=True, check=True)
    code, peak = map(int, done.stdout.split())
    if code:
        raise SystemExit(f"{' '.join(line)} failed with {code}")
    return peak / (1024 if platform.system() == "Linux" else 1024**2)


def machine() -> str:
    """The machine that was measured on, in a sentence."""
    return f"Machine: {platform.machine()}, {os.cpu_count()} cores, {platform.system()}."


def git_commit() -> str:
    """The commit that was measured; pages don't count as changes to it."""
    commit = _git("describe", "--always")
    changed = _git("status", "--porcelain", "--", "src", "benchmarks", "constraints.txt")
    return f"{commit or 'unknown commit'}{' with changes' if changed else ''}"


def _git(*line: str) -> str:
    return subprocess.run(["git", *line], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
