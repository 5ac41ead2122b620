"""Builds the wheel and the source archive of the last commit; the same bytes each time, wherever and whenever."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"


def build(out: Path, commit: str = "HEAD") -> list[Path]:
    """Build a commit, whatever else lies in the folder.

    The tools that build take times, permissions and order from the files that they find. So they find none but the
    commit's, in a folder of their own, with its time and plain permissions.

    Args:
        out: folder for the files; it is made where it is missing.
        commit: what git calls it.

    Returns:
        The wheel and the source archive.
    """
    epoch = int(_git("log", "-1", "--format=%ct", commit))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch) / "source", Path(scratch) / "made"
        made.mkdir()
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
            archive.extractall(source, filter="data")
        for path in (source, *source.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (epoch, epoch))
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch), "PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC"}
        command = [sys.executable, "-c", BUILD, made]
        # The umask decides on the permissions of what the tools write themselves.
        subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True, umask=0o022)
        return [_kept(path, out, epoch) for path in sorted(made.iterdir(), key=lambda path: path.suffix, reverse=True)]


def _kept(path: Path, out: Path, epoch: int) -> Path:
    """Put a file in its place; of an archive, whoever built it and when are left out."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as plain:
                for member, content in _members(archive, epoch):
                    plain.addfile(member, content)
        data = gzip.compress(packed.getvalue(), mtime=epoch)
    (out / path.name).write_bytes(data)
    return out / path.name


def _members(archive: tarfile.TarFile, epoch: int) -> Iterator[tuple[tarfile.TarInfo, io.BufferedIOBase | None]]:
    for found in sorted(archive.getmembers(), key=lambda member: member.name):
        member = tarfile.TarInfo(found.name)
        member.type, member.size, member.mtime = found.type, found.size, epoch
        member.mode = 0o755 if found.isdir() else 0o644
        yield member, archive.extractfile(found) if found.isfile() else None


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def main() -> None:
    """Build, and say what was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    for path in build(parser.parse_args().out):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")


if __name__ == "__main__":
    main()
