"""What goes over the wire as JSON, and how errors are said and documented."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, Field

from avgate.apps.serve.jobs import Job, State

EXAMPLE_ID = "0f8fad5bd9cb469fa16570867728950e"
"""A job's id, in examples."""

ID = "^[0-9a-f]{32}$"
"""What ids look like."""


class Refused(Exception):
    """A request that isn't done, and what its sender reads of that.

    Args:
        status: of HTTP.
        what: what is wrong, in one sentence.
        hint: what to do next.
        where: the field or the setting that it is about.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, what: str, hint: str = "", where: str = "", headers: Mapping[str, str] | None = None
    ):
        super().__init__(what)
        self.status, self.headers = status, dict(headers or {})
        self.problem = {"error": what, "hint": hint, "where": where}


def away(where: str) -> Refused:
    """That the database or the data folder, named by its setting, can't be used now; the log says why."""
    what = f"the server can't use its {'database' if where == 'database' else 'disk'} now"
    hint = "try again in a while; the log of the server says more to whoever runs it"
    return Refused(503, what, hint, where, {"retry-after": "10"})


class Problem(BaseModel):
    """Why a request wasn't done."""

    error: str = Field(description="What is wrong.")
    hint: str = Field(description="What to do next; may be empty.")
    where: str = Field(description="The field or the setting that it is about; may be empty.")


class LimitsShape(BaseModel):
    """What the server takes, and for how long it keeps things; each is a setting of that name."""

    max_upload_mb: int = Field(description="Largest recording, in MiB.")
    max_duration_s: float = Field(description="Longest recording, in seconds.")
    max_stream_s: float = Field(description="Longest live stream, in seconds.")
    keep_h: float = Field(description="Hours after which a job that has ended, and its results, are removed.")
    uploads_keep_h: float = Field(description="Hours after which an upload that stopped is removed.")


class OptionsShape(BaseModel):
    """What is made of a recording."""

    model: str = Field(description="Name of the model, as in /api/models.")
    level: float = Field(description="Share of the true values that intervals are made to hold.")
    formats: list[str] = Field(description="Label formats beside CSV and JSON.")
    report: bool = Field(description="Whether the HTML and PNG reports are written.")


class JobShape(BaseModel):
    """A recording's way through the server."""

    id: str = Field(pattern=ID)
    name: str = Field(description="The file's name.")
    size: int = Field(description="Bytes of the file.")
    options: OptionsShape
    state: State
    stage: str = Field(description="What is being done while it runs, in a few words; empty otherwise.")
    progress: float = Field(description="Share that is done, from 0 to 1.")
    attempt: int = Field(
        description="How often it was begun: over 1 where the server was ended, or a worker died, at it."
    )
    created: str = Field(description="When it was accepted, ISO 8601.")
    started: str | None = Field(description="When its last attempt began.")
    ended: str | None = Field(description="When it ended.")
    duration_s: float | None = Field(description="Length of the recording in seconds, once it is done.")
    error: str = Field(description="What is wrong, where it failed.")
    hint: str = Field(description="What to do next.")
    notes: list[str] = Field(description="What must be known of the result.")
    results: list[str] = Field(description="Names of the files that can be fetched.")

    @classmethod
    def of(cls, job: Job) -> JobShape:
        """A job as its owner sees it."""
        about = job.options
        return cls(
            id=job.id,
            name=job.name,
            size=job.size,
            options=OptionsShape(
                model=about.model, level=about.level, formats=list(about.formats), report=about.report
            ),
            state=job.state,
            stage=job.stage,
            progress=job.progress,
            attempt=job.attempt,
            created=iso(job.created_s),
            started=None if job.started_s is None else iso(job.started_s),
            ended=None if job.ended_s is None else iso(job.ended_s),
            duration_s=job.duration_s,
            error=job.error,
            hint=job.hint,
            notes=list(job.notes),
            results=list(job.results),
        )


class ModelShape(BaseModel):
    """Weights that recordings can be estimated with."""

    name: str = Field(description="What to give as `model`.")
    called: str = Field(description="What it is, in a few words.")
    causal: bool = Field(description="Whether it can be used live.")
    targets: list[str] = Field(description="What it estimates.")
    short: str = Field(description="The most important of its notes, in a line; empty where it can't be used.")
    notes: list[str] = Field(description="What must be known of its estimates.")
    is_for: list[str] = Field(description="What it is for; empty where that isn't known.")
    is_not_for: list[str] = Field(description="What it isn't for.")


class AnnotationShape(BaseModel):
    """What a rater says of a recording."""

    name: str = Field(description="Usually RATER-TARGET.")
    targets: list[str] = Field(description="What is rated.")
    size: int = Field(description="Bytes as CSV.")
    saved: str = Field(description="When it was saved, ISO 8601.")


class FormatShape(BaseModel):
    """A label format that results can be written in."""

    name: str = Field(description="What to give in `formats`.")
    label: str = Field(description="The program that reads it, for people.")
    suffix: str = Field(description="How its files' names end.")
    single: bool = Field(description="Whether there is one file of each target.")


class Health(BaseModel):
    """Whether the server works."""

    status: str = Field(description="ok")


JOB_EXAMPLE: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "interview.mp4",
    "size": 7340032,
    "options": {"model": "default", "level": 0.9, "formats": ["elan"], "report": True},
    "state": "done",
    "stage": "",
    "progress": 1.0,
    "attempt": 1,
    "created": "2026-01-31T12:00:00.000000Z",
    "started": "2026-01-31T12:00:00.250000Z",
    "ended": "2026-01-31T12:01:10.500000Z",
    "duration_s": 60.0,
    "error": "",
    "hint": "",
    "notes": ["No face was found in 12 of 1500 frames."],
    "results": ["interview.csv", "interview.json", "interview.eaf", "interview.html", "interview.png"],
}
"""A job, in examples."""

_MEANING = {
    400: "The request isn't well made",
    401: "It needs the server's token",
    403: "Asked from another site",
    404: "There is no such thing",
    408: "It came too slowly",
    409: "It doesn't fit what is there",
    411: "It doesn't say how long it is",
    412: "Another version of the protocol",
    413: "It is over a limit, which the answer names",
    415: "Another kind of content than is taken",
    416: "There is no such part of the file",
    422: "A value isn't possible",
    423: "Someone else is sending it at this moment",
    429: "Too many requests",
    503: "Too much waits already, or the server can't use its database or its disk now",
    507: "The server's disk is full",
}

_PROBLEM = Problem.model_json_schema()
"""Made once, since it takes a while and stands at every answer of every route."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How errors are documented: these, and those that any request can meet."""
    return {status: _documented(status) for status in sorted({400, 401, 403, 422, 429, 500, 503, *statuses})}


def _documented(status: int) -> dict[str, Any]:
    meaning = _MEANING.get(status, "The server made a mistake, which its log tells of")
    example = {"error": meaning, "hint": "", "where": ""}
    content = {"application/json": {"schema": deepcopy(_PROBLEM), "example": example}}
    return {"description": meaning, "content": content}


def answers(example: object, status: int = 200, description: str = "Done") -> dict[int | str, dict[str, Any]]:
    """How an answer as JSON is documented by an example."""
    return {status: {"description": description, "content": {"application/json": {"example": example}}}}


def iso(time_s: float) -> str:
    """A time in seconds since 1970 as ISO 8601, in UTC, to a microsecond."""
    text = datetime.fromtimestamp(time_s, timezone.utc).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def seconds(text: str) -> float:
    """What `iso` was made of; ValueError where the text is no time."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()
