"""A server that answers like `avgate serve` and estimates nothing, so that its page can be tried without decoding."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import re
import socket
import struct
import threading
import time
import uuid
import wave
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from importlib import resources
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

WEB = resources.files("avgate.apps.serve") / "web"

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
REPORT_POLICY = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; frame-ancestors 'self'"

REPORT = """<!doctype html><meta name="color-scheme" content="light dark"><title>{name}</title><h1>{name}</h1>
<script>document.body.append('It ran.')
addEventListener("keydown", (event) => {{ if (event.key === "Escape") parent.postMessage("close", "*") }})</script>
<script type="application/octet-stream" class="video-part">{video}</script>"""

MODELS = [
    {
        "name": name,
        "called": called,
        "causal": causal,
        "targets": ["valence", "arousal"],
        "short": f"Not for decisions about a person. {called} was trained on pictures.",
        "notes": [f"{called}: it has seen few people.", "It isn't for deciding anything about a person."],
        "is_for": [f"{called}: trying it."],
        "is_not_for": ["Deciding anything about a person."],
    }
    for name, called, causal in (("default", "people", False), ("live", "people-live", True))
]

EVERY_FORMAT = "MP4/MOV/M4A, Matroska/WebM, AVI, MPEG-PS/TS, FLV, ASF/WMV, Ogg/Opus, WAV, AIFF, CAF, FLAC, MP3"

TARGETS, GATES = ("valence", "arousal"), ("voice_reliability", "face_reliability", "voice_attended")


def estimate(
    time_s: float, face: bool = True, voice: bool = True, music: bool = False, others: int = 0, looked: bool = True
) -> dict[str, Any]:
    """A plausible result of a frame."""
    there = face or voice or music
    values = {"valence": 0.5 * math.sin(time_s / 2), "arousal": 0.4 * math.cos(time_s / 3) - 0.1}
    return {
        "time_s": time_s,
        "targets": {name: value if there else None for name, value in values.items()},
        "low": {name: max(-1, value - 0.25) if there else None for name, value in values.items()},
        "high": {name: min(1, value + 0.35) if there else None for name, value in values.items()},
        "gates": {"voice_reliability": 0.35, "face_reliability": 0.8, "voice_attended": 0.5, "face_attended": 0.2},
        "present": {"face": face, "voice": voice, "audio": voice or music},
        "face_box": [0.1, 0.2, 0.4, 0.8] if face else None,
        "others": others,
        "delay_s": 0.1,
        "looked": looked,
        "heard": True,
    }


def table(seconds: float = 12.0) -> str:
    """The CSV file of a result."""
    lines = ["time_s,valence,arousal,valence_low,valence_high,arousal_low,arousal_high"]
    for i in range(round(25 * seconds)):
        found = estimate(i / 25)
        cells = [i / 25, *found["targets"].values()]
        cells += [found[end][name] for name in TARGETS for end in ("low", "high")]
        lines.append(",".join(f"{cell:.6f}" for cell in cells))
    return "\n".join(lines) + "\n"


def silence(seconds: float = 12.0) -> bytes:
    """A sound file that any browser plays."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(round(16000 * seconds)))
    return file.getvalue()


class Standin:
    """What the server knows. Tests may change it while it runs, and read what came.

    Attributes:
        jobs: id -> job.
        annotations: (job's id, name) -> bytes that were saved.
        saved: when all of them were, ISO 8601.
        step_s: how long each fifth of a job takes.
        chunk_s: how long each piece of an upload takes.
        face: whether live streams see a face.
        voice: whether they hear a voice.
        music: whether they hear other sounds.
        others: how many further people they see.
        looked: whether they look at pictures.
        late_s: how late their results come.
        stopping: whether they end as those of a server that is being stopped.
        keep_h: hours for which jobs are kept.
        gates: names of the gates that they have.
        loading_s: how long it takes to say which models there are.
        recording: bytes of any job's recording.
        streams: for each live stream, its first message and the kinds, times and first bytes of all that came.
        cut: how many of the next pieces of uploads are lost on their way back, though they came.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.recordings: dict[str, bytes] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.annotations: dict[tuple[str, str], bytes] = {}
        self.streams: list[dict[str, Any]] = []
        self.patches: list[int] = []
        self.step_s, self.chunk_s, self.cut, self.face, self.voice = 0.1, 0.0, 0, True, True
        self.recording, self.gates, self.loading_s = silence(), GATES, 0.0
        self.music, self.others, self.looked, self.late_s, self.stopping, self.keep_h = False, 0, True, 0.0, False, 48.0
        self.saved = datetime.now(timezone.utc).isoformat()

    def begin(self, upload_id: str, name: str, size: int, options: dict[str, str]) -> None:
        """Make a job."""
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        fixed: dict[str, Any] = {
            "error": "",
            "hint": "",
            "notes": [],
            "results": [],
            "started": None,
            "ended": None,
            "duration_s": None,
        }
        job = {"id": upload_id, "name": name, "size": size, "options": options, "state": "queued", "stage": ""}
        self.jobs[upload_id] = job | {"progress": 0.0, "attempt": 0, "created": now} | fixed
        asyncio.get_running_loop().create_task(self._work(self.jobs[upload_id]))

    async def _work(self, job: dict[str, Any]) -> None:
        for step in range(5):
            await asyncio.sleep(self.step_s)
            if job["state"] == "cancelled":
                return
            job |= {"state": "running", "stage": "looking for faces", "progress": step / 5}
        if "broken" in job["name"]:
            job |= {"state": "failed", "error": f"it can't be decoded ({EVERY_FORMAT})", "hint": "check that it plays"}
            return
        stem, report = job["name"].rpartition(".")[0], job["options"].get("report") != "false"
        suffixes = ["csv", "json", *(["html", "png"] if report else [])]
        results = [f"{stem}.{suffix}" for suffix in suffixes]
        job |= {"state": "done", "progress": 1.0, "results": results, "duration_s": 83.4}
        job["notes"] = ["No face was found in 3 frames."]


def create_app(standin: Standin) -> FastAPI:
    """The server over what it knows."""
    app = FastAPI()
    tus = {"Tus-Resumable": "1.0.0"}

    @app.middleware("http")
    async def policy(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers.setdefault("content-security-policy", POLICY)
        response.headers["x-content-type-options"] = "nosniff"
        return response

    @app.get("/")
    def page() -> Response:
        return Response((WEB / "index.html").read_text(), media_type="text/html")

    app.mount("/web", StaticFiles(directory=str(WEB)))

    @app.get("/api/models")
    def models() -> Any:
        time.sleep(standin.loading_s)
        return MODELS

    @app.get("/api/formats")
    def formats() -> Any:
        return [
            {"name": name, "label": f"{program} ({suffix})", "suffix": suffix, "single": False}
            for name, program, suffix in (("elan", "ELAN", ".eaf"), ("csv", "Table", ".csv"))
        ]

    @app.get("/api/limits")
    def limits() -> Any:
        return {"keep_h": standin.keep_h}

    @app.get("/api/jobs")
    def jobs(limit: int = 100, before: str = "~") -> Any:
        return [job for job in reversed(standin.jobs.values()) if job["created"] < before][:limit]

    @app.get("/api/jobs/{job_id}")
    def job(job_id: str) -> Response:
        found = standin.jobs.get(job_id)
        return _problem(404, "there is no such job") if found is None else _json(found)

    @app.post("/api/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> Response:
        standin.jobs[job_id]["state"] = "cancelled"
        return _json(standin.jobs[job_id])

    @app.delete("/api/jobs/{job_id}")
    def delete(job_id: str) -> Response:
        standin.jobs.pop(job_id)
        return Response(status_code=204)

    @app.get("/api/events")
    async def events(request: Request) -> Response:
        async def changes() -> AsyncIterator[str]:
            known: dict[str, str] = {}
            while not await request.is_disconnected():
                now = {job_id: json.dumps(job) for job_id, job in standin.jobs.items()}
                for job_id, text in now.items():
                    if known.get(job_id) != text:
                        yield f"event: job\ndata: {text}\n\n"
                known = now
                await asyncio.sleep(0.05)

        return StreamingResponse(changes(), media_type="text/event-stream")

    @app.get("/api/jobs/{job_id}/results/{name}")
    def result(job_id: str, name: str) -> Response:
        if name.endswith(".html"):
            text = REPORT.format(name=name, video=base64.b64encode(silence()).decode())
            return Response(text, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})
        return Response(table() if name.endswith(".csv") else "{}", media_type="text/plain")

    @app.get("/api/jobs/{job_id}/input")
    def recording(request: Request) -> Response:
        sent = standin.recording
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not found:
            return Response(sent, media_type="audio/wav", headers={"accept-ranges": "bytes"})
        first, last = int(found[1]), min(int(found[2] or len(sent)), len(sent) - 1)
        headers = {"content-range": f"bytes {first}-{last}/{len(sent)}", "accept-ranges": "bytes"}
        return Response(sent[first : last + 1], 206, headers, "audio/wav")

    @app.get("/api/jobs/{job_id}/annotations")
    def annotations(job_id: str) -> Any:
        return [
            {
                "name": name,
                "targets": content.decode().splitlines()[0].split(",")[1:],
                "size": len(content),
                "saved": standin.saved,
            }
            for (of, name), content in standin.annotations.items()
            if of == job_id
        ]

    @app.delete("/api/jobs/{job_id}/annotations/{name}")
    def forget(job_id: str, name: str) -> Response:
        found = standin.annotations.pop((job_id, name), None)
        return _problem(404, "there is no such annotation") if found is None else Response(status_code=204)

    @app.put("/api/jobs/{job_id}/annotations/{name}")
    async def save(request: Request, job_id: str, name: str) -> Response:
        standin.annotations[job_id, name] = await request.body()
        return Response(status_code=204)

    @app.get("/api/jobs/{job_id}/annotations/{name}")
    def saved(job_id: str, name: str) -> Response:
        found = standin.annotations.get((job_id, name))
        return _problem(404, "there is no such annotation") if found is None else Response(found, media_type="text/csv")

    @app.post("/api/uploads/")
    def create(request: Request) -> Response:
        pairs = [pair.split(" ") for pair in request.headers["upload-metadata"].split(",")]
        given = {name: base64.b64decode(value).decode() for name, value in pairs}
        if given.get("model", "default") not in ("default", "live"):
            return _problem(422, "there is no such model", "choose another one")
        upload_id = uuid.uuid4().hex
        standin.uploads[upload_id] = {
            "data": bytearray(),
            "length": int(request.headers["upload-length"]),
            "given": given,
        }
        return Response(status_code=201, headers=tus | {"Location": f"/api/uploads/{upload_id}", "Upload-Offset": "0"})

    @app.head("/api/uploads/{upload_id}")
    def look(upload_id: str) -> Response:
        found = standin.uploads.get(upload_id)
        return (
            Response(status_code=404)
            if found is None
            else Response(headers=tus | {"Upload-Offset": str(len(found["data"]))})
        )

    @app.patch("/api/uploads/{upload_id}")
    async def add(request: Request, upload_id: str) -> Response:
        found = standin.uploads.get(upload_id)
        if found is None:
            return _problem(404, "there is no such upload")
        if int(request.headers["upload-offset"]) != len(found["data"]):
            return _problem(409, "the offset is another one")
        try:
            data = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        await asyncio.sleep(standin.chunk_s)
        found["data"] += data
        standin.patches.append(len(data))
        headers = tus | {"Upload-Offset": str(len(found["data"]))}
        if len(found["data"]) == found["length"]:
            given = found["given"]
            standin.recordings[upload_id] = bytes(standin.uploads.pop(upload_id)["data"])
            standin.begin(upload_id, given.pop("filename"), found["length"], given)
            headers["Avgate-Job"] = upload_id
        if standin.cut:
            standin.cut -= 1
            return _problem(503, "the answer is lost")
        return Response(status_code=204, headers=headers)

    @app.delete("/api/uploads/{upload_id}")
    def give_up(upload_id: str) -> Response:
        standin.uploads.pop(upload_id, None)
        return Response(status_code=204, headers=tus)

    @app.websocket("/api/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        stream: dict[str, Any] = {"hello": json.loads(await websocket.receive_text()), "came": []}
        standin.streams.append(stream)
        about = {"targets": TARGETS, "step_s": 0.1, "gates": standin.gates, "notes": ["A note."]}
        await websocket.send_json({"ready": True, "provenance": {"avgate": "1.2.3"}, **about})
        sending: list[asyncio.Task[None]] = []

        async def answer(time_s: float) -> None:
            await asyncio.sleep(standin.late_s)
            more = (standin.face, standin.voice, standin.music, standin.others, standin.looked)
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it may have gone
                await websocket.send_json({"results": [estimate(time_s, *more)], "dropped": 2, "queue_s": 0.0})

        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("text"):
                    break
                kind, time_s = struct.unpack_from("<Bd", message["bytes"])
                stream["came"].append((kind, time_s, len(message["bytes"]) - 9, message["bytes"][9:11]))
                if standin.stopping:
                    await websocket.close(1012)
                    return
                if kind == 1 or not stream["hello"]["video"]:
                    sending.append(asyncio.create_task(answer(time_s)))
            await asyncio.gather(*sending)
            await websocket.send_json({"end": True, "notes": ["It has ended."], "frames": 1, "dropped": 2, "job": None})
            await websocket.close()

    return app


def _json(found: Any, status: int = 200) -> Response:
    return Response(json.dumps(found), status, media_type="application/json")


def _problem(status: int, error: str, hint: str = "") -> Response:
    return _json({"error": error, "hint": hint, "where": ""}, status)


@contextlib.contextmanager
def serving(standin: Standin) -> Iterator[str]:
    """Run it on a free port of this machine, in a thread; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = uvicorn.Config(create_app(standin), port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(10)
