"""What all tests share: determinism, and the real clips beside the project where they exist."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings
from packaging.version import Version

# Tests run side by side: threads of small models would only wait for each other. Read when torch is first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# Where Python is told to keep no bytecode, each of the processes that tests start would compile all libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell's background ignores Ctrl-C, and nohup a closed terminal; what tests start would, too.
for name, usual in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

# The same examples in every run, so that a test that fails does so again; no deadline, since machines are busy.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what is marked as long be slow, too."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported and collected; tests collect garbage hundreds of times."""
    gc.collect()
    gc.freeze()


SHARED = Path(__file__).resolve().parents[2] / "shared"
FACE_MODEL = SHARED / "weights" / "face_landmarker.task"
BUNDLED = Version(version("mediapipe")) < Version("0.10.30")
"""Whether mediapipe bundles its face mesh."""

# A mediapipe without a mesh of its own needs the file everywhere, in the processes that tests start, too.
if not BUNDLED and FACE_MODEL.is_file():
    os.environ.setdefault("AVGATE_FACE_MODEL", str(FACE_MODEL))


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """The folder of real recordings; tests that need it skip where it is missing."""
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip("real recordings are missing: no shared/clips folder beside the project")
    return folder


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """The folder of files that users had trouble with; tests that need it skip where it is missing."""
    folder = SHARED / "cases"
    if not folder.is_dir():
        pytest.skip("files that users had trouble with are missing: no shared/cases folder beside the project")
    return folder


@pytest.fixture(scope="session")
def face_model() -> Path:
    """face_landmarker.task as users download it; tests that need it skip where it is missing."""
    if not FACE_MODEL.is_file():
        pytest.skip("face_landmarker.task is missing: no shared/weights folder beside the project")
    return FACE_MODEL


@pytest.fixture(scope="session")
def any_face_model() -> None:
    """The face model that is used unless one is given; tests that need it skip where there is none."""
    if not BUNDLED and not os.environ.get("AVGATE_FACE_MODEL"):
        pytest.skip("mediapipe bundles no face mesh from 0.10.30 on, and AVGATE_FACE_MODEL names no file")


@pytest.fixture(scope="session")
def bundled_mesh() -> None:
    """The face mesh inside mediapipe; tests that need it skip where there is none."""
    if not BUNDLED:
        pytest.skip("mediapipe bundles no face mesh from 0.10.30 on")
