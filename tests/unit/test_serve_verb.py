"""`avgate serve` where it can't serve."""

from __future__ import annotations

import importlib
import os
import socket

import pytest

from avgate import cli


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch, capsys):
    verb = importlib.import_module("avgate.cli.serve")  # the verb itself hides it
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == "prometheus_client" else object())
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "prometheus-client" in said.out + said.err
    assert 'pip install "avgate[serve]"' in said.out + said.err


def test_a_port_that_is_taken_is_said_and_the_folder_is_free_again(tmp_path, capsys):
    pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for _ in range(2):
            with pytest.raises(SystemExit) as ended:
                cli.main(["serve", "--port", str(port), "--data", str(tmp_path / "data")])
            assert ended.value.code == 2
            said = capsys.readouterr()
            assert f"port {port}" in said.out + said.err


def test_other_machines_are_served_with_a_token_alone(tmp_path, capsys):
    pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--host", "0.0.0.0", "--data", str(tmp_path / "data")])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "token" in said.out + said.err
    assert not (tmp_path / "data").exists()


def test_machines_without_a_server_need_its_database(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["work", "--data", str(tmp_path / "data")])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "database" in said.out + said.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("verb", ["serve", "work"])
def test_processes_that_are_started_inherit_no_secret(verb, monkeypatch, tmp_path):
    pytest.importorskip("fastapi", reason='the server needs pip install "avgate[serve]"')
    secrets = {"AVGATE_SERVE_TOKEN": "0123456789abcdef", "AVGATE_SERVE_DATABASE": "postgresql://me:secret@there/jobs"}
    for name, value in {**secrets, "AVGATE_SERVE_MAX_JOBS": "3"}.items():
        monkeypatch.setenv(name, value)
    seen = []
    module = importlib.import_module("avgate.apps.serve.api" if verb == "serve" else "avgate.apps.serve.work")
    monkeypatch.setattr(module, verb, lambda settings: seen.append((settings, {**os.environ})))
    cli.main([verb, "--data", str(tmp_path)])
    ((settings, environ),) = seen
    assert (settings.token, settings.database) == tuple(secrets.values())
    assert settings.max_jobs == 3
    assert not [value for value in environ.values() if value in secrets.values()]
