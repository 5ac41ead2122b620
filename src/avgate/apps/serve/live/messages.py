"""What client and server of a live stream say to each other, and what a client may do."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from avgate.core.text import quoted
from avgate.core.types import SAMPLE_RATE
from avgate.models.intervals import DEFAULT_LEVEL

BAD, LIMIT, TOO_LARGE, FAULT, FULL = 1003, 1008, 1009, 1011, 1013
"""Codes of a WebSocket's end: a message that can't be used, a limit, a message's size, our fault, too many streams."""

RATES = (SAMPLE_RATE, 48_000)
"""Samples per second in which sound may come; Opus is always the last."""

LONGEST_SOUND_S = 0.5
"""Seconds of sound in one message: a step waits for the end of the message that holds its end."""

LONGEST_SIDE = 1 << 14
"""Most pixels of an image's side. Whatever has more is no camera's, and no library is made for it."""

_HEAD = struct.Struct("<Bd")
"""A binary message's kind and its time in seconds; the payload follows."""

_IMAGE, _SOUND = 1, 2


class Refused(Exception):
    """Why a stream ends that its client would have gone on with.

    Args:
        code: of the WebSocket's end.
        what: what is wrong, in one sentence.
        hint: what to do next.
        where: the field or the setting that it is about.
    """

    def __init__(self, code: int, what: str, hint: str = "", where: str = ""):
        self.code, self.what, self.hint, self.where = code, what, hint, where
        super().__init__(what)

    def message(self) -> str:
        """What the client is told."""
        return json.dumps({"error": self.what, "hint": self.hint, "where": self.where})


@dataclass(frozen=True)
class Limits:
    """What a client of a live stream may do; each is a setting of that name.

    Attributes:
        max_streams: streams at once.
        max_stream_s: how long one may last.
        max_message_kb: size of a message in KiB.
        max_lag_s: how long sound may wait until it is estimated, and results until they are taken.
        max_idle_s: how long nothing may come.
        max_messages_per_s: messages in a second, on average over two.
        max_pixels: of an image.
    """

    max_streams: int = 10
    max_stream_s: float = 7200.0
    max_message_kb: int = 4096
    max_lag_s: float = 10.0
    max_idle_s: float = 30.0
    max_messages_per_s: int = 400
    max_pixels: int = 3840 * 2160

    @classmethod
    def of(cls, settings: object) -> Limits:
        """Those of the server's settings; what these don't have is as usual."""
        return cls(**{f.name: getattr(settings, f.name) for f in fields(cls) if hasattr(settings, f.name)})


@dataclass(frozen=True)
class Hello:
    """A client's first message: what will come, and what is to be made of it.

    Attributes:
        model: name of the weights.
        video: whether images will come.
        sound: whether sound will come.
        level: share of the true values that intervals are made to hold.
        image: "jpeg" or "rgb24".
        width: of rgb24 in pixels.
        height: likewise.
        audio: "s16" or "opus", both mono.
        rate: samples per second of s16.
    """

    model: str = "live"
    video: bool = True
    sound: bool = True
    level: float = DEFAULT_LEVEL
    image: str = "jpeg"
    width: int = 0
    height: int = 0
    audio: str = "s16"
    rate: int = SAMPLE_RATE

    @classmethod
    def read(cls, text: str, limits: Limits) -> Hello:
        """The message; Refused where it is none."""
        given = {name: value for name, value in read_object(text).items() if value is not None}
        kinds = {f.name: type(f.default) for f in fields(cls)}
        for name, value in given.items():
            if name not in kinds:
                hint = f"the first message may have: {', '.join(kinds)}"
                raise Refused(BAD, f"the first message has an unknown field '{quoted(name)}'", hint, name[:80])
            wanted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, wanted) or (isinstance(value, bool) and kinds[name] is not bool):
                words = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
                raise Refused(BAD, f"'{name}' is not {words[kinds[name]]}", where=name)
        hello = cls(**given)
        if not 0 < hello.level < 1:
            raise Refused(BAD, "'level' isn't between 0 and 1", "use such as 0.9", "level")
        if not (hello.video or hello.sound):
            raise Refused(BAD, "neither images nor sound will come", "set video, sound or both to true", "video")
        for name, choices in (("image", ("jpeg", "rgb24")), ("audio", ("s16", "opus")), ("rate", RATES)):
            if getattr(hello, name) not in choices:
                raise Refused(BAD, f"'{name}' is none of {', '.join(map(str, choices))}", where=name)
        if hello.video and hello.image == "rgb24":
            if hello.width < 1 or hello.height < 1:
                hint = "give width and height in pixels, both at least 1"
                raise Refused(BAD, "rgb24 needs a size", hint, "width")
            refuse_size(hello.width, hello.height, limits)
            if hello.pixel_bytes + _HEAD.size > 1024 * limits.max_message_kb:
                what = f"an image of {hello.width}x{hello.height} as rgb24 doesn't fit into a message"
                hint = f"at most {limits.max_message_kb} KiB fit; send smaller images, or JPEG"
                raise Refused(TOO_LARGE, what, hint, "max_message_kb")
        return hello

    @property
    def pixel_bytes(self) -> int:
        """Bytes of an image as rgb24."""
        return self.width * self.height * 3


class Piece(NamedTuple):
    """An image or sound as it came: its time on the client's clock, the bytes, and when they came on ours."""

    is_image: bool
    time_s: float
    payload: memoryview
    came_s: float

    @classmethod
    def read(cls, message: bytes, hello: Hello, now_s: float) -> Piece:
        """A binary message; Refused where it can't be one of this stream."""
        if len(message) < _HEAD.size:
            what, hint = "a binary message is too short", "send 1 byte kind, 8 bytes time, then the payload"
            raise Refused(BAD, what, hint)
        kind, time_s = _HEAD.unpack_from(message)
        payload = memoryview(message)[_HEAD.size :]
        if kind not in (_IMAGE, _SOUND):
            hint = f"send {_IMAGE} for an image, {_SOUND} for sound"
            raise Refused(BAD, f"there is no kind {kind} of binary messages", hint)
        what = "an image" if kind == _IMAGE else "sound"
        if not (hello.video if kind == _IMAGE else hello.sound):
            hint = "say in the first message what will come"
            raise Refused(BAD, f"{what} came, but the stream was begun without any", hint)
        if not math.isfinite(time_s):
            raise Refused(BAD, f"{what} has the time {time_s}", "give seconds, as little-endian float64")
        if kind == _IMAGE and hello.image == "rgb24" and len(payload) != hello.pixel_bytes:
            hint = f"{hello.width}x{hello.height} have {hello.pixel_bytes}; for images of many sizes send JPEG"
            raise Refused(BAD, f"an image of rgb24 has {len(payload)} bytes", hint, "width")
        if kind == _SOUND and hello.audio == "s16":
            if len(payload) % 2:
                raise Refused(BAD, "sound of s16 has half a sample", "send two bytes for each sample", "audio")
            if len(payload) > 2 * hello.rate * LONGEST_SOUND_S:
                hint = f"send pieces of at most {LONGEST_SOUND_S:g} s, such as 0.02 s"
                raise Refused(BAD, f"one message holds {len(payload) / 2 / hello.rate:.1f} s of sound", hint)
        return cls(kind == _IMAGE, time_s, payload, now_s)


def refuse_size(width: int, height: int, limits: Limits) -> None:
    """Refused for an image that is too long or has too many pixels."""
    if width * height > limits.max_pixels:
        raise too_many_pixels(f"an image of {width}x{height}", limits)
    if max(width, height) > LONGEST_SIDE:
        what = f"an image of {width}x{height} has a side that is too long"
        hint = f"a side has at most {LONGEST_SIDE} pixels; cut the face out, or scale it down"
        raise Refused(BAD, what, hint, "width" if width >= height else "height")


def too_many_pixels(what: str, limits: Limits) -> Refused:
    """Why an image of that name is refused."""
    hint = f"at most {limits.max_pixels} are; scale it down, so that the face is some hundred pixels wide"
    return Refused(LIMIT, f"{what} has more pixels than are allowed", hint, "max_pixels")


def read_object(text: str) -> Mapping[str, Any]:
    """A JSON object; Refused where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(BAD, "a text message isn't a JSON object", 'send such as {"model": "live"} or {"end": true}')
    return found
