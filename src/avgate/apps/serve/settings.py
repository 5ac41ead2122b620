"""What can be set of the server: every limit, its default, and where a value comes from."""

from __future__ import annotations

import ipaddress
import math
import os
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from avgate.core.errors import UsageError, choose
from avgate.core.text import number, reason

PREFIX = "AVGATE_SERVE_"
"""How the environment's variables begin: AVGATE_SERVE_PORT is `port`."""

DEFAULT_MODEL, LIVE_MODEL = "default", "live"
"""Names of the models that come with avgate."""

_SECRETS = ("token", "database")
"""Settings that nobody else must know."""

_SECRET = 16
"""Fewest characters of a token that other machines may guess at."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "workers": (0, 256),
    "max_upload_mb": (1, 1 << 20),
    "max_duration_s": (1, 7 * 86_400),
    "max_jobs": (1, 1_000_000),
    "min_free_mb": (0, 1 << 30),
    "max_job_s": (1, 7 * 86_400),
    "memory_mb": (512, 1 << 22),
    "max_streams": (0, 10_000),
    "max_stream_s": (1, 7 * 86_400),
    "max_lag_s": (0.1, 3600),
    "max_idle_s": (1, 86_400),
    "max_messages_per_s": (1, 100_000),
    "max_pixels": (1, 1 << 28),
    "max_message_kb": (16, 1 << 20),
    "requests_per_minute": (1, 1_000_000),
    "silent_s": (2, 3600),
    "keep_h": (0.01, 100 * 365 * 24),
    "uploads_keep_h": (0.01, 100 * 365 * 24),
}


_PATHS = "give NAME=PATH,NAME=PATH, or a table of NAME = 'PATH'"


def _shipped() -> dict[str, Path | None]:
    return {DEFAULT_MODEL: None, LIVE_MODEL: None}


def _most_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, cores - 1)


@dataclass(frozen=True)
class Settings:
    """All settings of the server.

    Attributes:
        host: the address to listen at; other machines reach the server only where it isn't 127.0.0.1.
        port: the port to listen at; 0 takes any that is free.
        data: the folder of recordings, results and the database; it is made where it is missing.
        token: what clients have to send; needed where the host isn't loopback.
        models: name -> weights or a run's folder; None is what comes with avgate.
        workers: recordings that are estimated at the same time; 0 leaves them to `avgate work`.
        max_upload_mb: largest recording, in MiB.
        max_duration_s: longest recording, in seconds.
        max_jobs: most recordings that may wait.
        min_free_mb: room on the disk, in MiB, that no recording may take.
        max_job_s: longest time that a recording's estimation may take, in seconds.
        memory_mb: most memory of one worker, in MiB.
        max_streams: live streams at the same time.
        max_stream_s: longest live stream, in seconds.
        max_lag_s: how far behind a live stream may fall, in seconds.
        max_message_kb: largest message of a live stream, in KiB.
        max_idle_s: how long a live stream may send nothing, in seconds.
        max_messages_per_s: messages of a live stream in a second, on average over two.
        max_pixels: most pixels of an image of a live stream.
        requests_per_minute: requests that one client may make in a minute.
        proxies: addresses or networks of reverse proxies, with commas between; what they say of clients is believed.
        keep_h: hours after which a recording that has ended, and its results, are removed.
        uploads_keep_h: hours after which an upload that stopped is removed.
        database: postgresql://..., which several machines may use that share the data folder; empty is SQLite in it.
        silent_s: how long a machine may say nothing, in seconds, before others begin its recordings again.

    Raises:
        UsageError: a value isn't of its kind or range, or they don't fit each other; `where` names the setting.
    """

    host: str = "127.0.0.1"
    port: int = 8042
    data: Path = Path("avgate-data")
    token: str = field(default="", repr=False)
    models: Mapping[str, Path | None] = field(default_factory=_shipped)
    workers: int = field(default_factory=_most_workers)
    max_upload_mb: int = 4096
    max_duration_s: float = 14_400.0
    max_jobs: int = 200
    min_free_mb: int = 512
    max_job_s: float = 14_400.0
    memory_mb: int = 4096
    max_streams: int = 10
    max_stream_s: float = 7200.0
    max_lag_s: float = 10.0
    max_message_kb: int = 4096
    max_idle_s: float = 30.0
    max_messages_per_s: int = 400
    max_pixels: int = 3840 * 2160
    requests_per_minute: int = 600
    proxies: str = ""
    keep_h: float = 72.0
    uploads_keep_h: float = 24.0
    database: str = field(default="", repr=False)
    silent_s: float = 30.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                hint = f"give a number from {low:g} to {high:.0f}"
                raise UsageError(f"{value:g} is out of range", where=name, hint=hint)
        for name in ("host", "token", "proxies", "database"):
            value = getattr(self, name)
            if not value.isascii() or not value.isprintable() or " " in value:
                raise UsageError(
                    "it holds characters that it can't", where=name, hint="use printable ASCII without blanks"
                )
        if not self.host:
            raise UsageError("it is empty", where="host", hint="give an address such as 127.0.0.1")
        if not self.is_loopback and len(self.token) < _SECRET:
            what = (
                f"other machines reach the server at {self.host}, so it needs a token of {_SECRET} characters or more"
            )
            hint = "such as of `openssl rand -hex 16`; or listen at host 127.0.0.1 alone"
            raise UsageError(what, where="token", hint=hint)
        for network in filter(None, self.proxies.split(",")):
            try:
                ipaddress.ip_network(network)
            except ValueError:
                hint = "give addresses such as 127.0.0.1 or networks such as 172.16.0.0/12, with commas between"
                raise UsageError(f"'{network}' is no address and no network", where="proxies", hint=hint) from None
        if self.database and not self.database.startswith(("postgresql://", "postgres://")):
            raise UsageError("this is no database avgate knows", where="database", hint="give postgresql://...")
        shipped = _shipped()
        object.__setattr__(self, "models", {**shipped, **self.models})
        for name, path in self.models.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                hint = "use letters, digits, - and _"
                raise UsageError(f"'{name}' can't be a model's name", where="models", hint=hint)
            if path is None and name not in shipped:
                raise UsageError(f"no weights of the name '{name}' come with avgate", where="models", hint=_PATHS)
            if path is not None and not path.exists():
                hint = "give a checkpoint or the folder of a run"
                raise UsageError(f"the weights of '{name}' aren't there ({path})", where="models", hint=hint)

    @classmethod
    def load(cls, file: str | Path | None = None, environ: Mapping[str, str] = os.environ, **given: Any) -> Settings:
        """Settings of a TOML file, which the environment's go before, and those given here before both.

        Args:
            file: its keys are the settings' names, models a table of NAME = "PATH". Paths are relative to its folder.
            environ: AVGATE_SERVE_PORT and so on; AVGATE_SERVE_MODELS is NAME=PATH,NAME=PATH.
            given: by name; None is as if it weren't given.

        Raises:
            UsageError: as for Settings, and where the file can't be read or there is no such setting; `where` says
                which setting, and where its value comes from.
        """
        named = {known.name: known for known in fields(cls)}
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        layers: list[tuple[str, dict[str, Any], Path]] = []
        if file is not None:
            layers.append((str(file), _read(Path(file)), Path(file).parent))
        variables = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
        layers.append(("the environment", {n.removeprefix(PREFIX).lower(): t for n, t in variables.items()}, Path()))
        layers.append(("what was given", {n: v for n, v in given.items() if v is not None}, Path()))
        for source, layer, folder in layers:
            for name, value in layer.items():
                try:
                    choose("setting", name, named)
                    is_text = source == "the environment"
                    values[name] = _converted(str(named[name].type), value, is_text, folder)
                except UsageError as error:
                    raise UsageError(error.what, where=f"{name} (from {source})", hint=error.hint) from None
                sources[name] = f"{PREFIX}{name.upper()}" if is_text else source
        try:
            return cls(**values)
        except UsageError as error:
            source = sources.get(str(error.where), "the default")
            raise UsageError(error.what, where=f"{error.where} (from {source})", hint=error.hint) from None

    @property
    def is_shared(self) -> bool:
        """Whether others may work with the same data folder and the same list of jobs."""
        return bool(self.database) or not self.workers

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def forget_secrets(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take the token and the database's address out of the environment, which workers inherit and have no use for."""
    for name in _SECRETS:
        environ.pop(f"{PREFIX}{name.upper()}", None)


def weights_of(name: str, path: str | Path | None) -> str | Path:
    """The file or the run's folder of one of `Settings.models`; loads torch where it is what comes with avgate."""
    from avgate.models.checkpoint import SHIPPED

    return SHIPPED[name] if path is None else path


def _read(file: Path) -> dict[str, Any]:
    if sys.version_info < (3, 11):
        hint = "use Python 3.11 or later, or variables AVGATE_SERVE_... of the environment"
        raise UsageError("Python 3.10 can't read a TOML file", where=file, hint=hint)
    import tomllib

    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"can't be read ({reason(error)})", where=file, hint="give a TOML file of settings") from error


def _converted(kind: str, value: Any, is_text: bool, folder: Path) -> Any:
    """A setting's value as its kind; `is_text` where numbers come as text, too."""
    if kind.startswith("Mapping"):
        return _models(value, is_text, folder)
    if kind in ("int", "float"):
        found = number(value.strip()) if is_text else value
        if isinstance(found, bool) or not isinstance(found, int | float) or (kind == "int" and found != int(found)):
            what = f"{value!r} is no {'whole ' if kind == 'int' else ''}number"
            raise UsageError(what, hint="give one in digits, without a unit")
        return int(found) if kind == "int" else float(found)
    if not isinstance(value, str) and not (kind == "Path" and isinstance(value, Path)):
        raise UsageError(f"{value!r} is no text", hint="give it in quotes")
    return _path(value, folder) if kind == "Path" else value


def _models(value: Any, is_text: bool, folder: Path) -> dict[str, Path | None]:
    if is_text:
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): path.strip() for name, _, path in pairs}
    if not isinstance(value, Mapping) or not all(
        p is None or (isinstance(p, str | Path) and p) for p in value.values()
    ):
        raise UsageError("models aren't names with paths", hint=_PATHS)
    return {name: None if path is None else _path(path, folder) for name, path in value.items()}


def _path(value: str | Path, folder: Path) -> Path:
    if not str(value) or "\0" in str(value):
        raise UsageError("this can't be a path", hint="name a file or a folder")
    return folder / Path(value).expanduser()
