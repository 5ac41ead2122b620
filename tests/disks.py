"""Real disks of a few kilobytes, to fill."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def disk(folder: Path, *options: str) -> Iterator[Path]:
    """A disk in memory, mounted on a new folder; a test that can't have one skips.

    Args:
        folder: where.
        options: of mount, such as size=8k or ro.
    """
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], capture_output=True
        ).returncode
    except OSError:
        mounted = 1
    if mounted != 0:
        pytest.skip("only root can mount a small disk, and only on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    """Change a disk's options, such as size=16m or ro."""
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(folder)], check=True)
