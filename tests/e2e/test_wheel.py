"""The wheel has all that avgate needs and nothing else, comes out the same each time, and works where it is put."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.clips import tone
from tests.recordings import write_sound

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="a wheel is made of a commit, and this is no checkout"
)

EVER = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
"""What a wheel says of itself."""


def git(*words: str, cwd: Path = ROOT) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


def built(out: Path, checkout: Path = ROOT, umask: int = 0o022, **variables: str) -> list[Path]:
    """The wheel and the source archive that a checkout's tool makes."""
    command = [sys.executable, "-m", "tools.wheel", "--out", out]
    subprocess.run(command, cwd=checkout, env=os.environ | variables, check=True, capture_output=True, umask=umask)
    return sorted(out.iterdir())


def without_path() -> dict[str, str]:
    """The environment without what tells Python of this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MYPY", "AVGATE"))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    (wheel,) = [path for path in made if path.suffix == ".whl"]
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


@pytest.mark.long
def test_it_holds_what_git_has_of_the_package_and_nothing_else(installed):
    tracked = {
        path.removeprefix("src/") for path in git("ls-tree", "-r", "--name-only", "HEAD", "src").split("\n") if path
    }
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    of_itself = {path for path in found if ".dist-info/" in path}
    assert found - of_itself == tracked
    assert {path.partition("/")[2] for path in of_itself} == EVER
    for must in ("py.typed", "models/weights/default.safetensors", "models/weights/live.safetensors"):
        assert f"avgate/{must}" in found
    assert any(path.endswith(".conf") for path in found)
    assert any(path.startswith("avgate/apps/serve/web/") for path in found)


@pytest.mark.slow
def test_it_predicts_where_nothing_of_the_checkout_can_be_imported(installed, tmp_path):
    sound = write_sound(tmp_path / "sound.wav", tone(2.0, 16_000))
    script = (
        "import json, sys\n"
        "from avgate.cli import main\n"
        "main(sys.argv[1:])\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] in ('avgate', 'tests', 'tools')]\n"
        "print(json.dumps({name: sys.modules[name].__file__ for name in ours}))\n"
    )
    command = [sys.executable, "-c", script, "predict", sound, "--out", "results", "--no-report"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "avgate.inference.predictor" in modules
    assert [file for file in modules.values() if not Path(file).is_relative_to(installed)] == []
    assert len((tmp_path / "results" / "sound.csv").read_text("utf-8").splitlines()) == 1 + 20  # 2 s at 10 Hz


@pytest.mark.slow
def test_it_is_the_same_to_the_byte_wherever_whenever_and_by_whom_it_is_built(made, tmp_path):
    clone = tmp_path / "elsewhere" / "with a space"
    git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
    git("checkout", "--quiet", git("rev-parse", "HEAD").strip(), cwd=clone)
    for i, path in enumerate(sorted(path for path in clone.rglob("*") if path.is_file() and ".git" not in path.parts)):
        path.chmod(0o600 if i % 2 else 0o755)
        os.utime(path, (1e9 + i, 1e9 + i))
    (clone / "src" / "avgate" / "not_tracked.py").touch()
    again = built(tmp_path / "dist", clone, 0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="1")
    assert [path.name for path in again] == [path.name for path in made]
    assert len(made) == 2
    for one, other in zip(made, again, strict=True):
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest(), one.name


PROGRAM = """
from pathlib import Path

import numpy as np
from typing_extensions import assert_type

import avgate
from avgate import AvgateError, Estimator, Gate, Predictor, Streamer, Trace, load_checkpoint
from avgate.core.types import VideoFrame
from avgate.inference.streaming import Result
from avgate.models.checkpoint import Checkpoint


def valence(video: Path) -> float:
    predictor = Predictor("runs/mine", level=0.8)
    assert_type(predictor.estimator, Estimator)
    trace = predictor(video, person="left")
    assert_type(trace, Trace)
    assert_type(trace.gates[Gate("attended", "video")].shape[0], int)
    assert_type(trace.level, float | None)
    return float(np.nanmean(trace.targets["valence"]))


def known(path: str) -> tuple[str, ...]:
    try:
        checkpoint = load_checkpoint(path)
    except AvgateError as error:
        return (error.what, error.hint or "")
    assert_type(checkpoint, Checkpoint)
    return checkpoint.targets


with Streamer() as streamer:
    assert_type(streamer.push(VideoFrame(0.0, np.zeros((240, 320, 3), np.uint8))), list[Result])
    streamer.finish(1)  # type: ignore[call-arg]

assert_type(avgate.__version__, str)
Predictor(3)  # type: ignore[arg-type]
avgate.Predictr  # type: ignore[attr-defined]
trace: int = Predictor()("clip.mp4")  # type: ignore[assignment]
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_checker_knows_the_types_of_what_users_import(installed, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "new"], check=True)
    (packages,) = (tmp_path / "new" / "lib").glob("python*/site-packages")
    shutil.copytree(installed, packages, dirs_exist_ok=True)
    # NumPy and torch, which avgate's types name, from where they are.
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (tmp_path / "program.py").write_text(PROGRAM)
    checker = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", "", "program.py"]
    command = [*checker, "--python-executable", tmp_path / "new" / "bin" / "python"]
    done = subprocess.run(command, cwd=tmp_path, env=without_path(), capture_output=True, text=True, timeout=800)
    assert done.stdout.startswith("Success"), done.stdout + done.stderr  # an error that wasn't found is one, too


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_installs_into_an_empty_environment_and_predicts(made, corpus, tmp_path):
    (wheel,) = [path for path in made if path.suffix == ".whl"]
    environment = without_path()
    bin_ = tmp_path / "new" / "bin"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "new"], env=environment, check=True)
    install = [bin_ / "pip", "install", "--quiet", "--no-compile", "-c", ROOT / "constraints.txt"]
    for package in ("torch", wheel):  # torch first, as in the Makefile: so no other build of it is chosen
        subprocess.run([*install, package], cwd=tmp_path, env=environment, check=True, capture_output=True)
    clip = next(iter(sorted(corpus.rglob("*.mp4"))))
    shutil.copy(clip, tmp_path / "clip.mp4")
    command = [bin_ / "avgate", "predict", "clip.mp4", "--out", "results"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    rows = (tmp_path / "results" / "clip.csv").read_text("utf-8").splitlines()
    assert len(rows) > 100
    assert {path.suffix for path in (tmp_path / "results").iterdir() if path.is_file()} == {
        ".csv",
        ".json",
        ".html",
        ".png",
    }
