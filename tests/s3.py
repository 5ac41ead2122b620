"""A real S3 server for tests: moto's, as a process of its own on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class S3:
    """A server, and the environment in which programs find it."""

    url: str
    environment: dict[str, str]

    def asks_for_keys(self, yes: bool) -> None:
        """Let the server refuse requests with keys that it doesn't know, as AWS does, or take any."""
        allowed = b"0" if yes else b"inf"
        asked = urllib.request.Request(f"{self.url}/moto-api/reset-auth", allowed, {"Content-Type": "text/plain"})
        urllib.request.urlopen(asked, timeout=10).close()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """A server that ends with the block; tests skip where moto or s3fs isn't installed."""
    pytest.importorskip("moto", reason='the S3 server needs pip install "moto[s3]" flask flask-cors')
    pytest.importorskip("s3fs", reason='addresses need pip install "avgate[scale]"')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "avgatekey",
        "AWS_SECRET_ACCESS_KEY": "avgatesecret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
        try:
            _wait(url, server, folder / "moto.log")
            yield S3(url, environment)
        finally:
            server.terminate()
            server.wait(30)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=10).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end_s, f"moto doesn't start: {log.read_text()}"
            time.sleep(0.1)
