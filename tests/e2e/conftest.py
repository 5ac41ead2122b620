"""A tiny rendered corpus with a trained model on it, made once per run through the command line itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avgate.cli import main


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered clips of 5 s, extracted."""
    root = tmp_path_factory.mktemp("corpus")
    main(["render", "--out", str(root), "--identities", "3", "--clips", "2", "--seconds", "5", "--workers", "1"])
    main(["extract", "--data", str(root), "--recipe", "smoke", "--workers", "1"])
    return root


@pytest.fixture(scope="session")
def checkpoint(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for two epochs."""
    run = tmp_path_factory.mktemp("run")
    main(["train", "--data", str(corpus), "--out", str(run), "--recipe", "smoke"])
    return run / "checkpoint.safetensors"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with an exit code and one clear error; returns the error, on one line."""

    def run(code: int, *args: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in args])
        said = " ".join(capsys.readouterr().err.split())
        assert ended.value.code == code, said
        assert said.count("error:") == 1
        assert "Traceback" not in said
        return said

    return run
