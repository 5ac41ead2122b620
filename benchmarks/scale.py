"""Measure extraction on Ray and what a large corpus would cost, and write docs/benchmarks-scale.md and .json beside it.

python benchmarks/scale.py [--identities 4] [--clips 3] [--seconds 9]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from run import ROOT, git_commit

from avgate.core.cluster import LOCAL, Engine, open_workers
from avgate.core.errors import AvgateError
from avgate.core.files import write_json
from avgate.core.processes import use_one_thread
from avgate.core.types import Clip
from avgate.corpora.rendered import RenderConfig, Rendered, render
from avgate.features.extract import _extract_clip, _lacking, store_key
from avgate.features.registry import build_backbones
from avgate.features.store import FeatureStore
from avgate.models.recipes import recipe_named

RECIPE = recipe_named("demo")
RAY = Engine("ray")
ONE_CORE = "Ray, one worker on one core"


def main() -> None:
    """Render clips, extract them in each way, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=4, help="people")
    parser.add_argument("--clips", type=int, default=3, help="of each")
    parser.add_argument("--seconds", type=float, default=9.0, help="length of a clip")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks-scale.md")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        render(root, RenderConfig(identities=given.identities, clips_per_identity=given.clips, seconds=given.seconds))
        clips = Rendered(root).clips()
        found = measure(clips, root, given.seconds * len(clips) / 3600)
    found["about"] = {
        "command": " ".join(["python benchmarks/scale.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "avgate": git_commit(),
        "clips": len(clips),
        "clip_s": given.seconds,
        "load": load,
        "recipe": RECIPE.name,
        "backbones": list(RECIPE.backbones),
    }
    write_json(given.out.with_suffix(".json"), found)
    given.out.write_text(page(json.loads(given.out.with_suffix(".json").read_text())))
    print(given.out.read_text())


def measure(clips: Sequence[Clip], root: Path, hours: float) -> dict[str, object]:
    """All that is measured; times in seconds."""
    use_one_thread()
    one = timed(clips, root / "plain", 1, LOCAL)
    with one_core():
        ray_on_one_core = timed(clips, root / "ray1", 1, RAY)
    ways = {
        "plain, one worker": one,
        ONE_CORE: ray_on_one_core,
        "Ray, one worker with both cores": timed(clips, root / "ray", 1, RAY),
        "Ray, two workers": timed(clips, root / "ray2", 2, RAY),
        "Ray, two workers, one killed": timed(clips, root / "killed", 2, RAY, kill=True),
    }
    stores = {name: root / name for name in ("plain", "ray1", "ray", "ray2", "killed")}
    plain = kept(stores["plain"])
    same = [kept(stores[name]) == plain for name in ("ray1", "ray", "ray2", "killed")]
    stages = {name: processor_s(clips, root / f"stage{i}", (name,)) for i, name in enumerate(RECIPE.backbones)}
    store, keys = FeatureStore(stores["plain"]), keys_of(RECIPE.backbones)
    began = time.perf_counter()
    assert not any(_lacking(clip, store, keys) for clip in clips)
    looking = time.perf_counter() - began
    began = time.perf_counter()
    manifest = store.write_manifest()
    listing = time.perf_counter() - began
    files = sorted(store.root.glob("*/*.safetensors"))
    n = 2000
    with open_workers(abs, 2, engine=RAY) as pool:
        list(pool.run(range(100)))
        began = time.perf_counter()
        list(pool.run(range(n)))
        handing = time.perf_counter() - began
    return {
        "ways": {
            name: {**way, "same": True if way is one else same[i - 1]} for i, (name, way) in enumerate(ways.items())
        },
        "hours": hours,
        "processor_s_per_hour": {name: seconds / hours for name, seconds in stages.items()}
        | {"all": one["processor_s"] / hours},
        "store_bytes_per_hour": sum(file.stat().st_size for file in files) / hours,
        "files_per_clip": len(files) / len(clips),
        "looking_s_per_clip": looking / len(clips),
        "listing_s_per_file": listing / len(files),
        "manifest_bytes_per_file": manifest.stat().st_size / len(files),
        "handing_s_per_task": handing / n,
    }


def keys_of(names: Sequence[str]) -> list[str]:
    return [store_key(b) for b in build_backbones(names, RECIPE.label_rate)]


def extract_one(names: Sequence[str], task: tuple[Clip, Path]) -> float:
    """Extract a clip into a store; returns the processor time that it took."""
    clip, root = task
    began = time.process_time()
    done = _extract_clip(clip, names, RECIPE.label_rate, None, 1, root, keys_of(names))
    if isinstance(done, AvgateError):
        raise done
    return time.process_time() - began


def make_store(root: Path, names: Sequence[str]) -> Path:
    for key in keys_of(names):
        (root / key).mkdir(parents=True, exist_ok=True)
    return root


def timed(clips: Sequence[Clip], root: Path, count: int, engine: Engine, kill: bool = False) -> dict[str, float]:
    """Start-up, with one clip for each worker so that it loads its libraries, and then the extraction of all clips."""
    names = RECIPE.backbones
    warm, root = make_store(root.with_name(f"{root.name}-warm"), names), make_store(root, names)
    began = time.perf_counter()
    with open_workers(partial(extract_one, names), count, engine=engine) as pool:
        list(pool.run([(clip, warm) for clip in clips[:count]]))
        ready = time.perf_counter()
        if kill:
            threading.Thread(target=kill_one, args=(root,)).start()
        processor = sum(
            seconds for _, seconds in pool.run([(clip, root) for clip in clips]) if isinstance(seconds, float)
        )
        done = time.perf_counter()
    FeatureStore(root).write_manifest()
    return {"start_s": ready - began, "work_s": done - ready, "processor_s": processor}


@contextmanager
def one_core() -> Iterator[None]:
    """Let what is started in the block have one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def kill_one(root: Path) -> None:
    """Kill a worker in the middle: once the first files are there."""
    while not list(root.glob("*/*.safetensors")):
        time.sleep(0.02)
    working = (p for p in psutil.Process().children(recursive=True) if p.cmdline()[:1] == ["ray::avgate"])
    next(working).kill()


def processor_s(clips: Sequence[Clip], root: Path, names: Sequence[str]) -> float:
    """Processor time of one backbone alone, with all that it needs; libraries are loaded already."""
    make_store(root, names)
    return sum(extract_one(names, (clip, root)) for clip in clips)


def kept(root: Path) -> dict[str, bytes]:
    """A store's files and their bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def page(found: dict[str, dict]) -> str:
    """The page, from what was measured."""
    about, ways = found["about"], found["ways"]
    one = ways[ONE_CORE]["work_s"]
    rows = [
        f"| {name} | {way['start_s']:.1f} | {way['work_s']:.1f} | {one / way['work_s']:.2f} | {way['processor_s']:.1f} "
        f"| {'yes' if way['same'] else 'NO'} |"
        for name, way in ways.items()
    ]
    costs = [f"| {name} | {seconds:,.0f} |" for name, seconds in found["processor_s_per_hour"].items()]
    return "\n".join(
        [
            "# Benchmarks of many workers",
            "",
            f"Made by `{about['command']}`, which measured all this. For a large corpus: [scale](scale.md).",
            "",
            f"Machine: {about['machine']}.",
            f"Python {about['python']}.",
            f"avgate {about['avgate']}.",
            f"Load by other work when it began: {about['load']:.1f} processes; above 0.2, times say little, bytes and "
            "processor seconds still do.",
            f"{about['clips']} rendered clips of {about['clip_s']:g} s, recipe {about['recipe']}.",
            "",
            "| extraction | start-up, s | work, s | times Ray on one core | processor, s | bytes as the plain run's |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "Start-up: Ray, and each worker's libraries with a clip that is extracted once more later. A worker counts",
            "as one core; where a core idles, it takes that one, too, since its sound, decoding and mesh are threads.",
            "",
            "| backbone | processor seconds for an hour of video |",
            "|---|---|",
            *costs,
            "",
            f"One driver hands out {1 / found['handing_s_per_task']:,.0f} tasks a second. It looks a clip up in "
            f"{1000 * found['looking_s_per_clip']:.1f} ms, and reads a file's header for the manifest in "
            f"{1000 * found['listing_s_per_file']:.2f} ms.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
