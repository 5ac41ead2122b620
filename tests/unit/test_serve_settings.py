"""Settings of the server: where values come from, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from avgate.apps.serve.live.messages import Limits
from avgate.apps.serve.settings import Settings, weights_of
from avgate.core.errors import UsageError
from avgate.models.checkpoint import LIVE_WEIGHTS

toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 can't read TOML files")


def load(file: Path | None = None, environ: dict[str, str] | None = None, **given: object) -> Settings:
    return Settings.load(file, environ or {}, **given)


def test_defaults_are_for_this_machine_alone():
    settings = load()
    assert settings.is_loopback
    assert settings.token == ""
    assert settings.models == {"default": None, "live": None}
    assert weights_of("live", settings.models["live"]) == LIVE_WEIGHTS
    assert settings.workers >= 1


@toml
def test_what_is_given_goes_before_the_environment_and_that_before_the_file(tmp_path: Path):
    file = tmp_path / "serve.toml"
    file.write_text('port = 1\nmax_jobs = 1\nkeep_h = 1\ndata = "kept"\n')
    settings = load(file, {"AVGATE_SERVE_PORT": "2", "AVGATE_SERVE_MAX_JOBS": "2", "HOME": "/"}, port=3, host=None)
    assert (settings.port, settings.max_jobs, settings.keep_h, settings.host) == (3, 2, 1.0, "127.0.0.1")
    assert settings.data == tmp_path / "kept"


@toml
@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("port = 'a'", "port"),
        ("port = true", "port"),
        ("workers = 1.5", "workers"),
        ("host = 1", "host"),
        ("models = 'a'", "models"),
        ("[models]\na = ''", "models"),
        ("max_upload = 3", "max_upload"),
        ("[", "serve.toml"),
    ],
)
def test_a_file_with_something_wrong_is_named(text: str, named: str, tmp_path: Path):
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "serve.toml")
    assert named in str(caught.value.where)
    assert "serve.toml" in str(caught.value.where)
    assert caught.value.hint


def test_a_file_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nothing\.toml"):
        load(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("PORT", "eighty"),
        ("PORT", ""),
        ("PORT", "8_000"),
        ("WORKERS", "-1"),
        ("MEMORY_MB", "100"),
        ("KEEP_H", "inf"),
        ("KEEP_H", "nan"),
        ("MAX_JOB_S", "0"),
        ("DATABASE", "mysql://a"),
        ("HOST", ""),
        ("HOST", "a b"),
        ("TOKEN", "t\u00f6ken"),
        ("DATA", ""),
        ("PROXIES", "*"),
        ("PROXIES", "proxy.example"),
        ("PROXIES", "10.0.0.1/8"),
        ("PROXIES", "127.0.0.1, 10.0.0.1"),
        ("MODELS", "mine=/nowhere/at/all"),
        ("MODELS", "mine"),
        ("MODELS", "../mine=."),
    ],
)
def test_a_value_of_the_environment_that_cannot_be_is_named_with_where_it_comes_from(name: str, value: str):
    with pytest.raises(UsageError) as caught:
        load(environ={f"AVGATE_SERVE_{name}": value})
    assert name.lower() in str(caught.value.where)
    assert "environment" in str(caught.value.where) or f"AVGATE_SERVE_{name}" in str(caught.value.where)
    assert caught.value.hint


def test_a_range_is_told():
    with pytest.raises(UsageError, match=r"(?s)max_upload_mb \(from what was given\).*from 1 to 1048576"):
        load(max_upload_mb=0)


def test_a_misspelt_setting_is_guessed():
    with pytest.raises(UsageError, match="did you mean 'max_upload_mb'"):
        load(environ={"AVGATE_SERVE_MAX_UPLAOD_MB": "3"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_machines_need_a_long_token(host: str):
    for token in ("", "short"):
        with pytest.raises(UsageError, match="token") as caught:
            load(host=host, token=token)
        assert not token or token not in str(caught.value)
    assert not load(host=host, token="0123456789abcdef").is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str):
    assert load(host=host).is_loopback


def test_secrets_are_not_shown():
    settings = load(token="0123456789abcdef", database="postgresql://me:secret@there/jobs")
    assert "0123456789abcdef" not in repr(settings)
    assert "secret" not in repr(settings)


def test_further_models_stand_beside_those_that_come_with_avgate(tmp_path: Path):
    (tmp_path / "mine.safetensors").touch()
    settings = load(environ={"AVGATE_SERVE_MODELS": f"mine={tmp_path / 'mine.safetensors'}"})
    assert settings.models["mine"] == tmp_path / "mine.safetensors"
    assert set(settings.models) == {"default", "live", "mine"}


def test_only_models_that_come_with_avgate_need_no_path():
    with pytest.raises(UsageError, match="no weights of the name 'mine'"):
        Settings(models={"mine": None})


def test_limits_of_live_streams_are_settings_of_the_same_names():
    assert Limits.of(load()) == Limits()
    given = load(environ={f"AVGATE_SERVE_{f.name.upper()}": "77" for f in fields(Limits)})
    assert Limits.of(given) == Limits(**{f.name: 77 for f in fields(Limits)})
