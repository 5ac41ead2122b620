"""Opening a media file safely, choosing its streams, and reading their packets on one clock."""

from __future__ import annotations

import contextlib
import math
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.stream import Disposition

from avgate.core.errors import MediaError

DEMUXERS = "mov,matroska,avi,mpeg,mpegts,flv,asf,ogg"
"""FFmpeg's demuxers that may read a file: plain containers, none that opens further files (playlists, image series)."""

KINDS = "MP4/MOV, Matroska/WebM, AVI, MPEG-PS/TS, FLV, ASF/WMV, Ogg"
"""The same in words."""

_TS_DISCONT = 0x200  # AVFMT_TS_DISCONT: such a container counts from an arbitrary zero and may start over
_BACK_S = 1.0  # a packet that is further back is on a clock that started over; reordered frames are closer than that
_LEAP_S = 10.0  # and so is one further ahead, in containers whose clock may do that; FFmpeg's tools draw the same line
_ABSURD_S = 3600.0  # in the others a leap by more is damage, and a start beyond it a saved live stream's
_SHORT_S = 0.25  # what may be missing at the end before a file counts as incomplete


class Streams(NamedTuple):
    """The streams that are used: PyAV's video stream, and its audio stream or None."""

    video: Any
    audio: Any


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as a PyAV input container; nothing but this one regular file is ever opened.

    Raises:
        MediaError: there is no such file, it can't be read, or it isn't one of the KINDS.
    """
    _check_regular(path)
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        try:
            container = av.open(
                file,  # bytes, not a name: no protocol and no file name pattern can come into play
                "r",
                options={"format_whitelist": DEMUXERS, "protocol_whitelist": "none"},
                io_open=_refuse,
                buffer_size=1 << 18,
                metadata_errors="replace",
            )
        except OSError as error:
            raise _unreadable(path, error) from error
        except av.FFmpegError as error:
            if index_is_cut(path):
                raise _incomplete(path) from error
            what = f"no video file of a kind that is read here ({KINDS}), or damaged from the start"
            hint = "convert it to MP4 with ffmpeg; save a playlist or network stream as a file first"
            raise MediaError(what, where=path, hint=hint) from error
        with container:
            yield container


def _check_regular(path: Path) -> None:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        hint = "check the name; only files on disk are read, so download a URL first"
        raise MediaError("there is no such file", where=path, hint=hint) from error
    except (OSError, ValueError) as error:
        raise MediaError(f"can't be opened ({error})", where=repr(str(path)), hint="check the name") from error
    if stat.S_ISDIR(state.st_mode):
        raise MediaError("this is a folder, not a video file", where=path, hint="name a file in it")
    if not stat.S_ISREG(state.st_mode):
        what = "this isn't a regular file but a device, pipe or socket"
        raise MediaError(what, where=path, hint="save the video as a file first")
    if state.st_size == 0:
        raise MediaError("the file is empty", where=path, hint="copy or record it again")


def _unreadable(path: Path, error: OSError) -> MediaError:
    hint = "check that you may read the file and that its disk works"
    return MediaError(f"can't be read ({error.strerror or error})", where=path, hint=hint)


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError(f"a media file may not open {url}")


def _incomplete(path: Path) -> MediaError:
    what = "the MP4 is incomplete: its index (moov), which is written when a recording ends, is missing or cut"
    hint = "copy it again if the copy broke off; a tool such as untrunc may repair a recording that did"
    return MediaError(what, where=path, hint=hint)


def index_is_cut(path: Path) -> bool:
    """Whether the file is an MP4 or MOV without a `moov` atom, or with one that reaches beyond the file's end."""
    length = path.stat().st_size
    with path.open("rb") as file:
        if file.read(8)[4:] not in (b"ftyp", b"mdat", b"wide", b"free", b"skip", b"moov"):
            return False
        position = 0
        while position < length:
            file.seek(position)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            if head[4:8] == b"moov":
                return position + size > length
            if size < 8:  # this atom reaches to the file's end, or isn't one
                return True
            position += size
    return True


def moving(container: Any) -> list[Any]:
    """Video streams but for cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def chosen(container: Any, path: Path) -> Streams:
    """The video stream and the sound that belongs to it, by FFmpeg's own judgement of which are the main ones.

    Raises:
        MediaError: there is no video, or no decoder for it.
    """
    if not moving(container):
        if index_is_cut(path):
            raise _incomplete(path)
        hint = "give a video that shows the person; a cover picture doesn't count"
        raise MediaError("the file has no video stream", where=path, hint=hint)
    video = container.streams.best("video")
    if video.codec_context is None:
        what = "its video is coded in a way that this FFmpeg can't decode"
        raise MediaError(what, where=path, hint="convert it to H.264 with ffmpeg")
    audio = container.streams.best("audio", video)
    return Streams(video, audio if audio is not None and audio.codec_context is not None else None)


def origin_s(container: Any) -> float:
    """Where the container's own clock starts, in seconds, if its zero is arbitrary; else 0."""
    streams = [*moving(container), *container.streams.audio]
    start_s = min((float(s.start_time * s.time_base) for s in streams if s.start_time is not None), default=0.0)
    return start_s if container.format.flags & _TS_DISCONT or abs(start_s) > _ABSURD_S else 0.0


def period_s(video: Any) -> float:
    """The average time between frames; where the container doesn't say, that of 25 frames per second."""
    return 1 / float(video.average_rate or video.guessed_rate or 25)


def length_s(stream: Any) -> float | None:
    """How long the container says that a stream is."""
    return None if stream.duration is None else float(stream.duration * stream.time_base)


def packets(container: Any, streams: Streams, note: Callable[[str], None]) -> Iterator[Any]:
    """All packets of the streams in the file's order, on the video's clock; at last an empty one for each stream.

    Args:
        container: from `opened`.
        streams: from `chosen`.
        note: called with what the user must know, one sentence each.
    """
    clock = _Clock(container)
    used = [stream for stream in streams if stream is not None]
    ends = {stream.index: -math.inf for stream in used}
    try:
        for packet in container.demux(used):
            if packet.size:  # to a decoder an empty packet means the end, and that must be said once only
                index = packet.stream.index
                ends[index] = max(ends[index], clock.place(packet))
                yield packet
    except IndexError:  # PyAV's way to end a file in which streams have appeared that weren't there at its beginning
        note("Further streams appear in the middle of the file; they were left out.")
    except (av.FFmpegError, OSError) as error:
        note(f"Reading stopped at {max(ends.values()):.2f} s ({error.strerror}); what came before was used.")
    for stream in used:
        end = av.Packet()
        end.stream, end.time_base = stream, stream.time_base
        yield end
    if clock.restarts:
        joints = ", ".join(f"{time_s:.2f}" for time_s in clock.restarts)
        note(f"The file's own clock jumps (here at {joints} s); what follows was joined on.")
    promised_s = _promised_end_s(container, streams.video)
    reached_s = max(ends.values()) if streams.video.duration is None else ends[streams.video.index]
    if promised_s - reached_s > max(_SHORT_S, 3 * period_s(streams.video)):
        note(f"The file is incomplete: it ends at {reached_s:.2f} s, the container promises {promised_s:.2f} s.")


def _promised_end_s(container: Any, video: Any) -> float:
    """When the container says that the video ends, or the whole file where it only says that; NaN if neither."""
    if container.format.flags & _TS_DISCONT:
        return math.nan  # these don't say; FFmpeg estimates it from what is there
    start_s, length = float((video.start_time or 0) * video.time_base), length_s(video)
    if container.format.name == "avi":  # here FFmpeg corrects the length to what is there, but not the number of frames
        return start_s + video.frames * period_s(video)
    if length is not None:
        return start_s + length
    return math.nan if container.duration is None else container.duration / av.time_base


class _Clock:
    """Moves packets onto the video's clock: counted from the container's start, going on where its clock jumps.

    A file that was joined from several has stretches with clocks of their own. The streams change over to the next
    stretch at slightly different places in the file, and must all be moved by the same amount.

    Attributes:
        restarts: times in seconds where a new stretch was joined on.
    """

    def __init__(self, container: Any):
        self.restarts: list[float] = []
        self._leap_s = _LEAP_S if container.format.flags & _TS_DISCONT else _ABSURD_S
        self._offsets = [-origin_s(container)]  # seconds, one for each stretch
        self._stretch: dict[int, int] = defaultdict(int)  # the one that each stream is in
        self._newest: dict[int, float] = defaultdict(lambda: -math.inf)  # time in each stretch
        self._last: dict[int, float] = {}  # time in each stream
        self._end_s = -math.inf

    def place(self, packet: Any) -> float:
        """Correct the packet's times; returns when it ends in seconds, -inf for one without times."""
        # At a joint a packet's decoding time may still be on the old clock when its display time is on the new one.
        mark = packet.pts if packet.pts is not None else packet.dts
        if mark is None:
            return -math.inf
        stream, tick, time_s = packet.stream.index, packet.time_base, float(mark * packet.time_base)
        last_s = self._last.get(stream, time_s)
        newest_s = max(last_s, self._newest[self._stretch[stream]])
        if time_s < last_s - _BACK_S or time_s > newest_s + self._leap_s:
            self._stretch[stream] += 1
            if self._stretch[stream] == len(self._offsets):
                self.restarts.append(self._end_s)
                self._offsets.append(self._end_s - time_s)
        stretch = self._stretch[stream]
        self._last[stream] = time_s
        self._newest[stretch] = max(self._newest[stretch], time_s)
        shift = round(self._offsets[stretch] / tick)
        packet.dts = None if packet.dts is None else packet.dts + shift
        packet.pts = None if packet.pts is None else packet.pts + shift
        end_s = float((mark + shift + (packet.duration or 0)) * tick)
        self._end_s = max(self._end_s, end_s)
        return end_s
