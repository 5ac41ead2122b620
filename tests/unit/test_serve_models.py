"""What the server says of its models, without keeping in its memory what that takes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')

from avgate.apps.serve.routes import models as telling
from avgate.apps.serve.settings import Settings
from avgate.inference.purpose import IS_FOR, IS_NOT_FOR, NO_DECISIONS, NO_MODEL_IS_FOR, TRAINED_ON
from avgate.models.checkpoint import LIVE_WEIGHTS, load_checkpoint
from tests.web_server import serving


def dying(connection, models):
    os._exit(7)


def hanging(connection, models):
    threading.Event().wait()


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.setattr(telling, "_known", {})


@pytest.mark.slow  # loads torch in another process
def test_models_are_told_with_what_they_are_and_are_not_for(tmp_path: Path):
    (tmp_path / "broken").write_bytes(b"no weights")
    own = {"mine": LIVE_WEIGHTS, "broken": tmp_path / "broken"}
    with serving(tmp_path / "data", models=own) as server:
        models = {model["name"]: model for model in server.web.get("/api/models").json()}
    assert [*models] == ["default", "live", *own]
    assert models["default"]["targets"] == ["valence", "arousal"]
    assert [models[name]["causal"] for name in models] == [False, True, True, False]
    for name in ("default", "live"):
        checkpoint = load_checkpoint(name)
        assert models[name]["called"] == f"{checkpoint.recipe.name} ({checkpoint.recipe.fusion})"
        assert models[name]["notes"] == [*checkpoint.caveats]
        assert models[name]["short"] == f"{NO_DECISIONS} {TRAINED_ON}"
        assert TRAINED_ON[1:] in checkpoint.caveats[0], "weights and page say the same"
        assert (models[name]["is_for"], models[name]["is_not_for"]) == ([*IS_FOR], [*IS_NOT_FOR])
    assert (models["mine"]["short"], models["broken"]["short"]) == (NO_DECISIONS, "")
    assert (models["mine"]["is_for"], models["mine"]["is_not_for"]) == ([], [*NO_MODEL_IS_FOR])
    assert models["broken"]["called"] == "can't be used"
    assert "checkpoint" in models["broken"]["notes"][0]


@pytest.mark.long  # starts a process
def test_where_the_models_cannot_be_loaded_now_that_is_said_and_tried_again(tmp_path: Path, monkeypatch):
    with serving(tmp_path / "data") as server:
        with monkeypatch.context() as patch:
            patch.setattr(telling, "_tell", dying)
            answer = server.web.get("/api/models")
        assert (answer.status_code, answer.json()["where"]) == (503, "models")
        assert int(answer.headers["retry-after"]) > 0
        assert len(server.web.get("/api/models").json()) == 2


@pytest.mark.slow  # starts a process
def test_a_server_that_ends_waits_for_no_model(monkeypatch):
    monkeypatch.setattr(telling, "_tell", hanging)
    ending = threading.Event()
    threading.Timer(0.5, ending.set).start()
    assert telling.described(Settings(), ending) == []


def test_a_machine_that_can_start_no_process_says_so(tmp_path: Path, monkeypatch):
    def full(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(telling, "start", full)
    with serving(tmp_path / "data") as server:
        assert server.web.get("/api/models").status_code == 503
