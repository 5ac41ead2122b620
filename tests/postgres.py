"""A real PostgreSQL server for tests, of the packages that the system has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_USER, _GROUP = "nobody", "nogroup"
"""As whom it runs where the tests run as root, which it refuses."""


def _programs() -> Path | None:
    """The folder of initdb and postgres."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(os.path.realpath(on_path)).parent


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A server that ends with the block, or with this process; tests skip where there is none.

    Yields:
        Where it is, as postgresql://...; a database's name goes behind it.
    """
    psycopg = pytest.importorskip("psycopg", reason="psycopg isn't installed")
    pytest.importorskip("procrastinate", reason="procrastinate isn't installed")
    programs = _programs()
    if programs is None or os.name != "posix":
        pytest.skip("there is no PostgreSQL server: apt-get install postgresql")
    # Short, since a socket's path has 107 characters at most, and in a folder that everybody can enter.
    with tempfile.TemporaryDirectory(prefix="avgate-pg-", dir="/tmp") as name:
        folder, more = Path(name), {}
        if os.geteuid() == 0:
            shutil.chown(folder, _USER, _GROUP)
            more = {"user": _USER, "group": _GROUP, "extra_groups": []}
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "avgate", "-A", "trust", "-E", "UTF8", "--no-sync"],
            cwd=folder,
            capture_output=True,
            text=True,
            **more,
        )
        assert made.returncode == 0, made.stderr
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        chosen = {"listen_addresses": "127.0.0.1", "fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}
        options = [part for pair in chosen.items() for part in ("-c", "=".join(pair))]
        with (folder / "log").open("w+") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, *options],
                cwd=folder,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                **more,
            )
            try:
                url = f"postgresql://avgate@127.0.0.1:{port}"
                _wait(lambda: psycopg.connect(f"{url}/postgres", connect_timeout=5).close(), psycopg.Error, server, log)
                yield url
            finally:
                server.send_signal(signal.SIGQUIT)
                server.wait(30)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _wait(connect, error: type[Exception], server: subprocess.Popen, log) -> None:
    end_s = time.monotonic() + 30
    while True:
        try:
            connect()
            return
        except error:
            if server.poll() is None and time.monotonic() < end_s:
                time.sleep(0.05)
                continue
            log.seek(0)
            raise AssertionError(f"PostgreSQL doesn't start: {log.read()}") from None


def new_database(url: str, name: str) -> str:
    """Make an empty database in a server; its address."""
    import psycopg

    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{url}/{name}"
