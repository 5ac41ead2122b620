"""A tiny rendered corpus with a trained model on it, made once per run through the command line; and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from avgate.cli import main
from avgate.corpora.base import read_table
from avgate.corpora.manifest import COLUMNS
from tests.own_corpus import write_rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WINDOW = {"width": 1280, "height": 900}
"""Size of the browser's pages in pixels."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all processes of this run share: the first that needs it makes it, the others wait for it.

    Nobody may write to it afterwards, since others read it at the same time.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then each process has its own folder, side by side
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, any_face_model: None) -> Path:
    """Six rendered clips of 5 s, extracted. Copy it before changing it."""

    def make(root: Path) -> None:
        main(["render", "--out", str(root), "--identities", "3", "--clips", "2", "--seconds", "5", "--workers", "1"])
        main(["extract", "--data", str(root), "--recipe", "smoke", "--workers", "1"])

    return made_once(tmp_path_factory, "rendered", make)


@pytest.fixture(scope="session")
def checkpoint(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for two epochs."""

    def make(run: Path) -> None:
        main(["train", "--data", str(corpus), "--out", str(run), "--recipe", "smoke"])

    return made_once(tmp_path_factory, "trained", make) / "checkpoint.safetensors"


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
