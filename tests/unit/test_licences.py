"""The page of licences names every package that avgate brings, and a licence that nobody has looked at is found."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("licences")


def package(folder: Path, *about: str) -> Distribution:
    """An installed package that says this of itself."""
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: some", "Version: 1", *about, "", ""]))
    return PathDistribution(folder)


@pytest.mark.slow
def test_the_page_names_every_package_with_its_licence(made):
    said = dict(re.findall(r"^\| ([\w.-]+) \| (.+?) \|", (ROOT / "docs" / "licences.md").read_text("utf-8"), re.M))
    try:
        packages = made.closure() | {name: one for extra in made.extras() for name, one in made.closure(extra).items()}
    except PackageNotFoundError as error:
        pytest.skip(f"{error.name} isn't installed here")
    missing = {name: made.licence(one) for name, one in packages.items() if name not in said}
    assert missing == {}, "run python tools/licences.py"
    assert {name for name, one in packages.items() if not made.fits(name, made.licence(one))} == set()


def test_users_are_told_what_opensmile_is_not_for(made):
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    assert "`opensmile`: **Not for commercial products.**" in page
    assert "| opensmile | audEERING Research License |" in page
    assert "docs/licences.md" in (ROOT / "README.md").read_text("utf-8")
    # Why the page doesn't go by the package's own description.
    assert "MIT License" in str(importlib.metadata.metadata("opensmile"))


@pytest.mark.parametrize(
    ("about", "said", "fits"),
    [
        (["License-Expression: Apache-2.0 OR GPL-3.0-only"], "Apache-2.0 OR GPL-3.0-only", True),
        (["License-Expression: MIT AND GPL-3.0-only"], "MIT AND GPL-3.0-only", False),
        (["License: Apache 2.0"], "Apache-2.0", True),
        (["License: MIT License"], "MIT", True),
        (["Classifier: License :: OSI Approved :: BSD License"], "BSD-3-Clause", True),
        (["License: GNU AGPL v3"], "GNU AGPL v3", False),
        ([], "unknown", False),
    ],
)
def test_what_a_package_says_is_understood_or_refused(made, tmp_path, about, said, fits):
    found = made.licence(package(tmp_path / "some-1.dist-info", *about))
    assert (found, made.fits("some", found)) == (said, fits)


def test_a_database_that_cannot_be_reached_is_said_and_no_error(tmp_path):
    command = [sys.executable, ROOT / "tools" / "audit.py", "--pip-audit", tmp_path / "never", "--packages", tmp_path]
    away = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(command, env=os.environ | away, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("NOT AUDITED: the database of vulnerabilities")
