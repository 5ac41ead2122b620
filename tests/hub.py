"""A hub of models on this machine, which speaks to huggingface_hub as the real one does."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "5" * 40


@contextlib.contextmanager
def hub_of(name: str, folder: Path, sent: dict[str, bytes] | None = None) -> Iterator[str]:
    """Serve a folder as one commit of a model, and give the hub's address.

    Args:
        name: the model's.
        folder: its files; those of safetensors are large ones, which have a SHA-256, and others git's sum.
        sent: file -> what is sent in its place, as where a line or a disk damaged it.
    """
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
    sums = {
        file: hashlib.sha256(data).hexdigest()
        if file.endswith(".safetensors")
        else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        for file, data in files.items()
    }

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == f"/api/models/{name}/tree/{COMMIT}":
                self._answer(json.dumps([_entry(f, files[f], sums[f]) for f in files]).encode(), "")
            elif path == f"/api/models/{name}/revision/{COMMIT}":
                siblings = [{"rfilename": file} for file in files]
                self._answer(json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode(), "")
            elif (file := path.removeprefix(f"/{name}/resolve/{COMMIT}/")) in files:
                self._answer((sent or {}).get(file, files[file]), sums[file])
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _answer(self, data: bytes, etag: str) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/octet-stream" if etag else "application/json")
            if etag:
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _entry(file: str, data: bytes, digest: str) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": file, "size": len(data), "oid": digest[:40]}
    return entry | ({"lfs": {"oid": digest, "size": len(data), "pointerSize": 130}} if len(digest) == 64 else {})
