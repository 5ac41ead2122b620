"""A tiny rendered corpus with a trained model on it, made once per run through the command line itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avgate.cli import main
from avgate.corpora.base import read_table
from avgate.corpora.manifest import COLUMNS
from tests.own_corpus import write_rows


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
def three(corpus: Path, tmp_path: Path) -> Path:
    """A manifest of three of the clips, one for each split."""
    rows = {row["split"]: row for row in reversed(read_table(corpus / "manifest.csv", COLUMNS, ""))}
    for row in rows.values():
        row |= {name: str(corpus / row[name]) for name in ("video", "labels")}
    write_rows(tmp_path / "three.csv", [{name: row[name] for name in COLUMNS} for row in rows.values()])
    return tmp_path / "three.csv"


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
