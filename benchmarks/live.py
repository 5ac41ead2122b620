"""Measure live use: a model's step, whole streams, many at once; and write docs/benchmarks-live.md.

make bench            # or: python benchmarks/live.py [--steps 36000] [--seconds 60] [--clips 7] [--out ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from live_clips import PLAYS, clips_of, play
from run import ROOT, git_commit, machine

from avgate.features.registry import build_backbones
from avgate.features.stats import FeatureStats
from avgate.features.tracks import extract_tracks
from avgate.inference.estimator import Estimator
from avgate.inference.stepper import Stepper
from avgate.media import open_recording
from avgate.models.checkpoint import LIVE_WEIGHTS, Checkpoint, FeatureSpec, modality_dims
from avgate.models.encoders import TcnConfig
from avgate.models.fusions.hgrjca import HgrjcaConfig, RhgrjcaConfig
from avgate.models.intervals import LEVELS, Intervals
from avgate.models.network import Model, ModelConfig
from avgate.models.recipe import Recipe

BACKBONES = ("egemaps?level=false&causal=true", "facemesh?causal=true")
TARGETS = ("valence", "arousal")
RATE, WINDOW = 10.0, 120
FUSIONS = {
    "hgrjca": HgrjcaConfig(iterations=2, time_mixing="decay"),
    "rhgrjca": RhgrjcaConfig(iterations=2, time_mixing="decay"),
}
STREAMS = 10
ROWS = 1000
"""Steps of random features, which are taken again and again."""

SETTLED = 1000
"""Steps after which the memory is measured for the first time."""

Row = tuple[dict[str, np.ndarray], dict[str, bool]]


def main() -> None:
    """Run each part in a process of its own, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=36_000, help="of the stream whose steps are measured; 10 a second")
    parser.add_argument("--windows", type=int, default=500, help="how many windows are evaluated beside it")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long ten streams run at once")
    parser.add_argument("--clips", type=int, default=99, help="how many recordings are played in each way")
    parser.add_argument("--ways", type=int, default=len(PLAYS), help="in how many ways they are played")
    parser.add_argument("--fusions", type=int, default=len(FUSIONS), help="of how many the steps are measured")
    parser.add_argument("--part", help="measure this part and print it as JSON")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-live.md")
    given = parser.parse_args()
    fusions = [*FUSIONS][: given.fusions]
    parts: dict[str, Callable[[], Any]] = {
        **{f"steps {name}": lambda name=name: steps(name, given.steps, given.windows) for name in fusions},
        "clips": lambda: [played(way, given.clips) for way in [*PLAYS][: given.ways]],
        "streams": lambda: [streams(given.seconds, together) for together in (False, True)],
    }
    if given.part is not None:
        print(json.dumps(parts[given.part]()))
        return
    found = {part: in_own_process(part, cores=1 if part.startswith("steps") else 2) for part in parts}
    lines = [
        "# Live use",
        "",
        f"Made by `{' '.join(['python benchmarks/live.py', *sys.argv[1:]])}` (`make bench`), which measured all of it.",
        "",
        machine(),
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        f"avgate {git_commit()}.",
        "",
        *steps_lines({name: found[f"steps {name}"] for name in fusions}, given.steps),
        *clips_lines(found["clips"]),
        *streams_lines(found["streams"], given.seconds),
    ]
    given.out.write_text("\n".join(lines))
    print("\n".join(lines))


def steps_lines(found: Mapping[str, dict[str, Any]], count: int) -> list[str]:
    """How long a step takes."""
    fusions = " and ".join(f"`{name}`" for name in found)
    rows = [
        f"| {name} | {what} | {' | '.join(f'{x:.3f}' for x in times)} |"
        for name, of in found.items()
        for what, times in of["times"].items()
    ]
    memory = [
        f"| {name} | {of['memory'][0]:.1f} | {of['memory'][1]:.1f} | {of['memory'][1] - of['memory'][0]:+.1f} |"
        for name, of in found.items()
    ]
    return [
        "## A step on one core",
        "",
        f"{fusions}, two iterations with decaying time mixing; causal convolutional encoders with 64 features; random",
        f"weights, and features as wide as those of {' and '.join(f'`{name}`' for name in BACKBONES)},",
        "a tenth of them absent.",
        f"One stream of {count:,} steps, {count / RATE / 60:,.0f} min at {RATE:g} steps a second, is taken as fast as",
        "possible by one thread on one core. The whole step is what a stream does with the features of a step:",
        "statistics, model, intervals, smoothing, gates. A window is what a model without a memory would evaluate for",
        f"each step: the last {WINDOW}.",
        "",
        "| fusion | milliseconds of | p50 | p99 | longest |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "Resident memory of the process:",
        "",
        f"| fusion | MB after {min(SETTLED, count):,} steps | MB after {count:,} steps | difference |",
        "|---|---|---|---|",
        *memory,
        "",
    ]


def clips_lines(found: list[dict[str, Any]]) -> list[str]:
    """How late results come."""
    head, number = ["## Recordings played at their own pace", ""], found[0]["clips"]
    if not any(of["frames"] for of in found):
        return [*head, "Not measured: there are no recordings in `../shared/clips`.", ""]
    rows = [
        f"| {of['way']} | {' | '.join(f'{x:.0f}' for x in of['delay_ms'])} | {of['frames']:,} | {of['lost']} "
        f"| {of['skipped']} | {of['difference']:.1e} |"
        for of in found
    ]
    return [
        *head,
        f"{number} recordings of `../shared/clips` are played by the clock on two cores, as by `avgate stream` but",
        f"decoded before, with {weights()}.",
        "A result's delay is the time from its frame's moment until it is there. The last column is the largest",
        "difference, of any target, interval or gate, from what `avgate predict` says of the whole file with the same",
        "weights; of the frames that came, where some are missing.",
        "",
        "| sound and frames | delay p50, ms | p95 | longest | frames | without a result | faces skipped | difference |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def streams_lines(found: list[dict[str, Any]], seconds: float) -> list[str]:
    """How long a step takes where there are many streams."""
    rows = [
        f"| {of['ticks']} | {' | '.join(f'{x:.2f}' for x in of['step_ms'])} "
        f"| {' | '.join(f'{x:.2f}' for x in of['late_ms'])} |"
        for of in found
    ]
    return [
        f"## {STREAMS} streams at once",
        "",
        f"`hgrjca` as above, {STREAMS} streams with {RATE:g} steps a second each in one process on two cores for",
        f"{seconds:g} s: a thread for each, which waits for its next step. All share one program.",
        "",
        "| steps | a step p50, ms | p95 | longest | done after its time p50, ms | p95 | longest |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def in_own_process(part: str, cores: int) -> Any:
    """What a part finds in a process of its own that has so many cores."""
    settings = {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    process = subprocess.Popen(
        command,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: on_cores(cores),
    )
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{part}: it failed with {process.returncode}")
    return json.loads(said.splitlines()[-1])


def on_cores(count: int) -> None:
    """Let this process run on so many cores; without effect where the system can't."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])


def made(fusion: str, stats: Mapping[str, FeatureStats] | None = None) -> Estimator:
    """A causal model with random weights, intervals, and these statistics; None takes those of random features."""
    backbones = build_backbones(BACKBONES, RATE)
    encoders = dict.fromkeys(("audio", "video"), TcnConfig(causal=True))
    config = ModelConfig(fusion=FUSIONS[fusion], encoders=encoders)
    recipe = Recipe(name="live", backbones=BACKBONES, window_s=WINDOW / RATE, hop_s=WINDOW / RATE / 2, model=config)
    specs = tuple(FeatureSpec(b.name, b.modality, tuple(b.columns), b.fingerprint) for b in backbones)
    dims = modality_dims(specs)
    torch.manual_seed(0)
    model = Model(config, dims, len(TARGETS), recipe.window)
    stats = stats or {m: FeatureStats.fit([values]) for m, values in random_features(dims).items()}
    widths = {t: np.linspace(0.5, 2.5, len(LEVELS)) for t in TARGETS}
    lost = {t: dict.fromkeys(dims, 1.5) for t in TARGETS}
    intervals = Intervals(40, widths, widths, lost, dict.fromkeys(TARGETS, 0.5))
    weights = model.state_dict()
    return Estimator(Checkpoint(recipe, specs, TARGETS, stats, weights, smooth_steps=5, intervals=intervals))


def random_features(dims: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Modality -> float32 [ROWS d]."""
    rng = np.random.default_rng(0)
    return {m: rng.standard_normal((ROWS, d), np.float32) for m, d in dims.items()}


def rows_of(estimator: Estimator) -> list[Row]:
    """Random steps as a Stepper takes them, a tenth of them without the voice and a tenth without the face."""
    features = random_features({m: len(stats.mean) for m, stats in estimator.stats.items()})
    rng = np.random.default_rng(1)
    present = {m: rng.random(ROWS) < 0.9 for m in features}
    return [
        ({m: x[i] for m, x in features.items()}, {m: bool(here[i]) for m, here in present.items()}) for i in range(ROWS)
    ]


def steps(fusion: str, count: int, windows: int) -> dict[str, Any]:
    """Milliseconds [p50, p99, longest] of a step and of what it consists of, and resident memory in MB."""
    torch.set_num_threads(1)
    estimator = made(fusion)
    rows, stepper = rows_of(estimator), Stepper(estimator.step_program)
    for row in rows[:50]:
        stepper(*row)
    stepper.begin_anew()
    times, memory = np.zeros(count), [0.0, 0.0]
    for i in range(count):
        row = rows[i % ROWS]
        start = time.perf_counter()
        stepper(*row)
        times[i] = time.perf_counter() - start
        if i + 1 in (min(SETTLED, count), count):
            memory[i + 1 == count] = resident_mb()
    tenth = max(1, count // 10)
    found = {
        "the whole step, first tenth of the stream": spread(times[:tenth]),
        "the whole step, last tenth": spread(times[-tenth:]),
        "the whole step, all of the stream": spread(times),
        "the model alone, as a program": spread(timed(program(estimator, rows), tenth)),
    }
    onnx = onnx_step(estimator, rows)
    if onnx is not None:
        found["the model alone, in onnxruntime"] = spread(timed(onnx, tenth))
    found[f"a window of {WINDOW} steps, the model alone"] = spread(timed(window(estimator, rows), windows))
    return {"times": found, "memory": memory if memory[0] else [memory[1], memory[1]]}


def program(estimator: Estimator, rows: list[Row]) -> Callable[[int], None]:
    """Takes the i-th step with the program of the model."""
    run = estimator.step_program
    state = run.blank

    def step(i: int) -> None:
        nonlocal state
        state, _ = run(state, *rows[i % ROWS])

    return step


def window(estimator: Estimator, rows: list[Row]) -> Callable[[int], None]:
    """Evaluates the model over the steps until the i-th."""
    features = {m: estimator.stats[m].fill(np.stack([values[m] for values, _ in rows])) for m in estimator.stats}
    present = {m: np.array([here[m] for _, here in rows]) for m in estimator.stats}

    def step(i: int) -> None:
        cut = slice(i % (ROWS - WINDOW), i % (ROWS - WINDOW) + WINDOW)
        with torch.inference_mode():
            estimator.model.eval()(
                {m: torch.from_numpy(x[None, cut]) for m, x in features.items()},
                {m: torch.from_numpy(here[None, cut]) for m, here in present.items()},
            )

    return step


def onnx_step(estimator: Estimator, rows: list[Row]) -> Callable[[int], None] | None:
    """Takes the i-th step with the model's ONNX file; None where onnxruntime isn't installed."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (only whether it is there)
    except ImportError:
        return None
    from avgate.apps.export.files import as_onnx
    from avgate.apps.export.program import record_step

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    whole = as_onnx(record_step(estimator.checkpoint), {})
    session = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    shapes = {given.name: given.shape[1:] for given in session.get_inputs() if given.name.startswith("state.")}
    state = {name: np.zeros((1, *shape), np.float32) for name, shape in shapes.items()}
    inputs = [
        {m: x[None] for m, x in values.items()} | {f"{m}_present": np.array([here]) for m, here in present.items()}
        for values, present in rows
    ]

    def step(i: int) -> None:
        nonlocal state
        said = dict(zip(names, session.run(names, inputs[i % ROWS] | state), strict=True))
        state = {name: said[f"next_{name}"] for name in state}

    return step


def timed(step: Callable[[int], None], count: int) -> np.ndarray:
    """Seconds of every step, after some to warm up."""
    times = np.zeros(count)
    for i in range(-10, count):
        start = time.perf_counter()
        step(i % ROWS)
        if i >= 0:
            times[i] = time.perf_counter() - start
    return times


def spread(seconds: np.ndarray, upper: int = 99) -> list[float]:
    """Milliseconds: the median, an upper percentile and the largest."""
    return [1000 * float(x) for x in (*np.percentile(seconds, [50, upper]), seconds.max())]


def resident_mb() -> float:
    """Resident memory of this process; NaN where the system doesn't say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else float("nan")


def weights() -> str:
    """Which weights play recordings, in words."""
    return "the weights for live use" if LIVE_WEIGHTS.exists() else "random weights, as there are none for live use yet"


def played(way: str, clips: int) -> dict[str, Any]:
    """How the recordings play in one way; see Play."""
    recordings = clips_of(clips)
    if LIVE_WEIGHTS.exists() or not recordings:
        estimator = Estimator(LIVE_WEIGHTS) if recordings else made("rhgrjca")
    else:
        tracks = extract_tracks(open_recording(recordings[0]), build_backbones(BACKBONES, RATE)).tracks
        estimator = made("rhgrjca", {t.modality: FeatureStats.fit([t.values], [t.present]) for t in tracks})
    return {"way": way, "clips": len(recordings), **play(estimator, recordings, PLAYS[way])}


def streams(seconds: float, together: bool) -> dict[str, Any]:
    """Milliseconds [p50, p95, longest] that a step takes, and after its time until it is done, in many streams."""
    torch.set_num_threads(1)
    estimator = made("hgrjca")
    rows, shared = rows_of(estimator), estimator.step_program
    for row in rows[:50]:
        Stepper(shared)(*row)
    count = max(1, round(seconds * RATE))
    offsets = np.zeros(STREAMS) if together else np.random.default_rng(2).random(STREAMS) / RATE
    times, late = np.zeros((STREAMS, count)), np.zeros((STREAMS, count))
    begin = time.perf_counter() + 0.5

    def run(number: int) -> None:
        stepper = Stepper(shared)
        for i in range(count):
            due = begin + offsets[number] + i / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            stepper(*rows[(i + 97 * number) % ROWS])
            end = time.perf_counter()
            times[number, i], late[number, i] = end - start, end - due

    threads = [threading.Thread(target=run, args=(number,)) for number in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ticks = "all at the same moments" if together else "each stream at moments of its own"
    return {"ticks": ticks, "step_ms": spread(times.ravel(), 95), "late_ms": spread(late.ravel(), 95)}


if __name__ == "__main__":
    main()
