"""Dockerfile and compose.yaml, as far as they can be checked without Docker."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from avgate.apps.serve.settings import PREFIX, Settings
from avgate.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text())
TOKEN = "a-secret-of-32-characters-or-more"


def lines(instruction: str) -> list[str]:
    """The arguments of each such line of the Dockerfile."""
    return re.findall(rf"^{instruction} +(.+)$", DOCKERFILE, re.M)


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def given(text: str, **variables: str) -> str:
    """A value of compose.yaml with its variables put in, for the forms that it uses."""
    for name, form, inner in re.findall(r"\$\{(\w+):([-?+])((?:[^{}]|\$\{\w+\})*)\}", text):
        value = variables.get(name, "")
        if form == "?":
            assert value, inner
        elif form == "+":
            value = value and re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], inner)
        else:
            value = value or inner
        text = text.replace(f"${{{name}:{form}{inner}}}", value)
    return text


def test_what_is_copied_into_the_image_exists_and_is_given_to_the_builder():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [source for line in lines("COPY") for source in shlex.split(line)[:-1]]
    assert copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [source for source in copied if not any(fnmatch.fnmatch(source, pattern) for pattern in sent)] == []


def test_what_the_project_says_of_itself_is_copied():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 can't read a TOML file")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = " ".join(lines("COPY"))
    assert [file for file in (project["readme"], *project["license-files"]) if file not in copied] == []
    assert "cluster" in project["optional-dependencies"]


def test_the_image_has_the_libraries_that_the_tests_have():
    libraries = set(re.findall(r"\.so\.\d+:([\w.+-]+)", (ROOT / ".ci" / "run").read_text()))
    installed = re.search(r"apt-get install (.*?)&&", DOCKERFILE)
    assert installed is not None
    assert {word for word in installed[1].split() if not word.startswith("-")} == libraries


def test_the_server_in_the_image_has_no_rights_and_keeps_its_data_in_the_volume():
    (user,) = lines("USER")
    assert user not in ("root", "0")
    (volume,) = lines("VOLUME")
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(lines("ENV"))))
    settings = Settings.load(environ=environment | {f"{PREFIX}TOKEN": TOKEN})
    assert str(settings.data) == volume
    assert not settings.is_loopback  # or nobody outside the container could reach it
    assert lines("EXPOSE") == [str(settings.port)]
    assert re.search(rf"HEALTHCHECK .*:{settings.port}/health/ready", DOCKERFILE)


def test_every_command_is_a_verb():
    commands = [re.findall(r'"([^"]+)"', line) for line in lines("CMD")]
    commands += [service["command"] for service in compose()["services"].values() if "command" in service]
    assert [words for words in commands if words[0] != "avgate" or words[1] not in VERBS] == []


def test_compose_starts_a_server_that_only_this_machine_reaches():
    services = compose()["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["serve"]
    assert services["serve"]["ports"] == ["127.0.0.1:8042:8042"]


def test_compose_wants_a_token():
    environment = compose()["services"]["serve"]["environment"]
    with pytest.raises(AssertionError, match="16 characters"):
        given(environment["AVGATE_SERVE_TOKEN"])


@pytest.mark.parametrize("password", ["", "secret"])
def test_what_compose_sets_are_settings(password):
    variables = {"AVGATE_SERVE_TOKEN": TOKEN, "AVGATE_DATABASE_PASSWORD": password}
    for name, service in compose()["services"].items():
        if name == "database":
            continue
        environment = {key: given(value, **variables) for key, value in service["environment"].items()}
        settings = Settings.load(environ=environment)
        assert settings.token == TOKEN
        assert settings.is_shared == bool(password)
        assert settings.database == (f"postgresql://avgate:{password}@database/avgate" if password else "")


def test_server_and_worker_share_folder_and_database_and_the_volumes_are_named():
    found = compose()
    services = found["services"]
    for key in ("image", "volumes", "environment"):
        assert services["serve"][key] == services["work"][key]
    used = {volume.partition(":")[0] for service in services.values() for volume in service["volumes"]}
    assert used == set(found["volumes"])
    database = services["serve"]["environment"]["AVGATE_SERVE_DATABASE"]
    assert "@database/" in database  # the service's name is the host's
    assert services["database"]["environment"]["POSTGRES_USER"] == "avgate"
