"""A tiny rendered corpus with a trained model on it, made once per run through the command line; and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from avgate.cli import main
from avgate.corpora.base import read_table
from avgate.corpora.manifest import COLUMNS
from tests.own_corpus import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WINDOW = {"width": 1280, "height": 900}
"""Size of the browser's pages in pixels."""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, any_face_model: None) -> Path:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once for a module of tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    command = shutil.which("chromium")
    if command is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver, driver.chromium.launch(executable_path=command) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page."""
    with browser.new_page(viewport=WINDOW) as page:
        yield page
