"""README and docs say what is there: command lines, links, files, folders and Python that work."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import tyro

from avgate.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a page in a language; shell lines have none."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def spans(page: Path) -> list[str]:
    """What stands in backquotes in a page's text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S))


def command_lines(page: Path) -> list[list[str]]:
    """The arguments of every whole `avgate` command line, without comments."""
    lines = [line for block in blocks(page) for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if re.match(r"(\.venv/bin/)?avgate ", line)]
    return [words[1:] for words in found]


def parse(args: list[str]) -> None:
    """Parse a command line as avgate does, without running it; SystemExit where it is wrong."""
    verb = VERBS[args[0]]

    @functools.wraps(verb)
    def nothing(*_, **__) -> None:
        pass

    tyro.cli(nothing, args=args[1:])


def options(verb: str) -> set[str]:
    """The options of a verb, by its function's parameters."""
    names = {name.replace("_", "-") for name in inspect.signature(VERBS[verb]).parameters}
    return {f"--{name}" for name in names} | {f"--no-{name}" for name in names}


COMMANDS = [pytest.param(args, id=f"{p.name}: {shlex.join(args)}") for p in PAGES for args in command_lines(p)]


@pytest.mark.parametrize("args", COMMANDS)
def test_every_command_line_is_one_that_avgate_takes(args):
    assert args[0] in VERBS, f"there is no avgate {args[0]}"
    parse(args)


def test_a_command_line_with_an_unknown_option_would_be_found():
    with pytest.raises(SystemExit):
        parse(["train", "--data", "d", "--out", "o", "--no-such-option", "1"])


@each_page
def test_commands_within_sentences_name_verbs_and_options_that_exist(page):
    for words in (span.split() for span in spans(page) if span.startswith("avgate ")):
        assert words[1] in VERBS, f"there is no {' '.join(words)}"
        for option in (word for word in words[2:] if word.startswith("--") and word != "--help"):
            assert option in options(words[1]), f"avgate {words[1]} has no {option}"


@each_page
def test_make_targets_exist(page):
    lines = [line for block in blocks(page) for line in block.splitlines()] + spans(page)
    for line in lines:
        if line.startswith("make "):
            targets = [w for w in line.partition("#")[0].split()[1:] if "=" not in w and w != "..."]
            assert [t for t in targets if not re.search(rf"^{t}:", MAKEFILE, re.M)] == []


@each_page
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.is_file(), f"there is no {target}"
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.M) if anchor else []
        slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in slugs, f"there is no heading for {target}"


@each_page
def test_files_that_are_named_exist(page):
    named = [s for s in spans(page) if re.fullmatch(r"(src|tests|docs|tools|benchmarks)/[\w./-]+", s)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@each_page
def test_python_compiles_and_its_imports_exist(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Import):
                assert all(import_module(alias.name) for alias in node.names)


@pytest.mark.parametrize("tool", sorted(path.stem for path in (ROOT / "tools").glob("*.py")))
def test_every_maker_of_pages_imports(tool, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import_module(tool)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < 7000


def test_figures_in_the_readme_stand_in_the_results():
    figures = re.findall(r"\b0\.\d{3}\b", (ROOT / "README.md").read_text())
    assert len(figures) >= 4
    assert [x for x in figures if x not in (ROOT / "docs" / "results.md").read_text()] == []


def test_the_architecture_names_every_folder():
    tree = next(iter(blocks(ROOT / "docs" / "architecture.md")))
    folders = {path.parent.name for path in (ROOT / "src" / "avgate").glob("*/__init__.py")}
    assert set(re.findall(r"^(\w+)/", tree, re.M)) == folders


def test_tables_of_features_name_every_backbone_and_its_settings():
    from dataclasses import fields

    from avgate.features.registry import BACKBONES

    page = (ROOT / "docs" / "features.md").read_text()
    settings = {
        row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in re.findall(r"^\| `(\w+)` \| (`.*) \|$", page, re.M)
    }
    for name, kind in BACKBONES.items():
        assert f"`{name}" in page
        assert settings.get(name, set()) == {f.name for f in fields(kind.config)} - {"rate", "source"}, name


def test_the_table_of_label_formats_names_every_format():
    from avgate.labels.formats import LABEL_FORMATS

    page = (ROOT / "docs" / "labels.md").read_text()
    assert [f.name for f in LABEL_FORMATS if f"`{f.name}`" not in page or f"`{f.suffix}`" not in page] == []


def test_the_table_of_the_server_names_every_setting_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    made = import_module("serve_settings")
    _, head, after = (ROOT / "docs" / "serve.md").read_text().partition(made.HEAD)
    assert head
    assert re.match(r"(\|.*\n)*", after)[0].splitlines() == made.rows(), "run python tools/serve_settings.py"


def test_what_the_servers_page_calls_a_limit_is_one():
    from dataclasses import fields

    from avgate.apps.serve.live.messages import Limits
    from avgate.apps.serve.settings import PREFIX, Settings

    text = (ROOT / "docs" / "serve.md").read_text()
    known = {field.name for kind in (Settings, Limits) for field in fields(kind)}
    assert set(re.findall(r"`((?:max|keep|memory|silent|uploads_keep)_\w+)`", text)) <= known
    assert {name.lower() for name in re.findall(rf"{PREFIX}(\w+)", text)} - {""} <= {f.name for f in fields(Settings)}


def test_the_table_of_the_servers_counts_names_all_of_them():
    pytest.importorskip("prometheus_client", reason='the server needs pip install "avgate[serve]"')
    from avgate.apps.serve.jobs import Figures
    from avgate.apps.serve.live import Live
    from avgate.apps.serve.live.messages import Limits
    from avgate.apps.serve.live.models import Models
    from avgate.apps.serve.metrics import Metrics

    figures = Figures(1, 1, 0, 0, {}, {"reading": 1.0}, 1.0, 1.0, "")
    told = Metrics(dict, lambda: figures, Live(Limits(), Models({}))).text().decode()
    named = set(re.findall(r"`(avgate_\w+)`", (ROOT / "docs" / "serve.md").read_text()))
    assert named == set(re.findall(r"^# TYPE (\w+)", told, re.M))
