"""What all tests share: determinism, and the real clips beside the project where they exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side: threads of small models would only wait for each other. Read when torch is first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """The folder of real recordings; tests that need it skip where it is missing."""
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip("real recordings are missing: no shared/clips folder beside the project")
    return folder


@pytest.fixture(scope="session")
def face_model() -> Path:
    """face_landmarker.task as users download it; tests that need it skip where it is missing."""
    file = SHARED / "weights" / "face_landmarker.task"
    if not file.is_file():
        pytest.skip("face_landmarker.task is missing: no shared/weights folder beside the project")
    return file
