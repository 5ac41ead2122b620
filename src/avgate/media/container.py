"""Opens media files safely, chooses their streams, and reads packets with corrected times."""

from __future__ import annotations

import contextlib
import math
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.stream import Disposition

from avgate.core.errors import MediaError
from avgate.core.text import reason
from avgate.core.timeline import LONGEST_S
from avgate.media.clock import Clock

DEMUXERS = "mov,matroska,avi,mpeg,mpegts,flv,asf,ogg,wav,w64,aiff,caf,flac,mp3,aac"
"""FFmpeg's demuxers that are allowed: containers only, none that opens further files (playlists, image series)."""

KINDS = (
    "MP4/MOV/M4A, Matroska/WebM, AVI, MPEG-PS/TS, FLV, ASF/WMV, Ogg/Opus, WAV, AIFF, CAF, FLAC, MP3, AAC, "
    "JPEG, PNG, WebP, BMP"
)
"""The allowed formats, for messages."""

_TS_DISCONT = 0x200  # AVFMT_TS_DISCONT: times start at an arbitrary value, and may start over
_LEAP_S = 10.0  # in containers where times may start over, times that go ahead by more have; as in FFmpeg's tools
_LATEST_S = 3600.0  # the latest start of a file that isn't a saved live stream
_GUESSED = ("mp3", "aac")
"""Formats without an index, whose length FFmpeg estimates from the bit rate."""

_SHORT_S = 0.25  # seconds that may be missing at the end before a file counts as incomplete

_LOGGING = threading.Lock()  # FFmpeg has one level of messages for all threads
_QUIET = -8  # AV_LOG_QUIET


class Streams(NamedTuple):
    """The streams to read: PyAV's video stream and its audio stream. One of them may be None."""

    video: Any
    audio: Any

    @property
    def main(self) -> Any:
        """The stream that says how long the recording is: the video, if there is one."""
        return self.audio if self.video is None else self.video


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[Any]:
    """Open a file as a PyAV input container. FFmpeg can open no other file or URL through it.

    Raises:
        MediaError: there is no such file, it can't be read, or it has none of the KINDS of format.
    """
    _check_regular(path)
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        try:
            container = av.open(
                file,  # an open file, not a name, in which FFmpeg would look for protocols and patterns
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
            what = f"not a media file of a supported format ({KINDS}), or damaged at its beginning"
            hint = "convert it to MP4 or WAV with ffmpeg; save a playlist or network stream as a file first"
            raise MediaError(what, where=path, hint=hint) from error
        with container:
            yield container


def _check_regular(path: Path) -> None:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        hint = "check the name; a URL has to be downloaded first"
        raise MediaError("there is no such file", where=path, hint=hint) from error
    except (OSError, ValueError) as error:
        raise MediaError(f"can't be opened ({reason(error)})", where=repr(str(path)), hint="check the name") from error
    if stat.S_ISDIR(state.st_mode):
        raise MediaError("this is a folder, not a media file", where=path, hint="name a file in it")
    if not stat.S_ISREG(state.st_mode):
        what = "this isn't a regular file but a device, pipe or socket"
        raise MediaError(what, where=path, hint="save the video as a file first")
    if state.st_size == 0:
        raise MediaError("the file is empty", where=path, hint="copy or record it again")


def _unreadable(path: Path, error: OSError) -> MediaError:
    hint = "check that you may read the file and that its disk works"
    return MediaError(f"can't be read ({reason(error)})", where=path, hint=hint)


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError(f"a media file may not open {url}")


def _incomplete(path: Path) -> MediaError:
    what = "the MP4 is incomplete: its index (moov), which is written when a recording ends, is missing or cut"
    hint = "copy it again if the copy broke off; a tool such as untrunc may repair a recording that did"
    return MediaError(what, where=path, hint=hint)


def index_is_cut(path: Path) -> bool:
    """Whether the file is an MP4 or MOV whose index, the `moov` atom, is missing or cut off by the end of the file."""
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
            if size < 8:  # the atom reaches to the file's end, or isn't an atom
                return True
            position += size
    return True


def video_streams(container: Any) -> list[Any]:
    """The video streams, without cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def choose_streams(container: Any, path: Path) -> Streams:
    """Choose the main video stream and the audio stream that belongs to it, as FFmpeg does.

    A file whose only picture is a cover is sound alone.

    Raises:
        MediaError: there is neither video nor sound, or no decoder for the one that there is.
    """
    if not video_streams(container):
        if index_is_cut(path):
            raise _incomplete(path)
        audio = container.streams.best("audio")
        if audio is None:
            raise MediaError("the file has neither video nor sound", where=path, hint="a cover picture doesn't count")
        if audio.codec_context is None:
            raise MediaError("this FFmpeg can't decode its sound", where=path, hint="convert it to WAV with ffmpeg")
        return Streams(None, audio)
    video = container.streams.best("video")
    if video.codec_context is None:
        what = "this FFmpeg can't decode the codec of its video"
        raise MediaError(what, where=path, hint="convert it to H.264 with ffmpeg")
    audio = container.streams.best("audio", video)
    return Streams(video, audio if audio is not None and audio.codec_context is not None else None)


def origin_s(container: Any) -> float:
    """Time in seconds at which the container starts, if it starts at an arbitrary time or is sound alone; else 0."""
    videos = video_streams(container)
    streams = [*videos, *container.streams.audio]
    start_s = min((float(s.start_time * s.time_base) for s in streams if s.start_time is not None), default=0.0)
    arbitrary = container.format.flags & _TS_DISCONT or abs(start_s) > _LATEST_S
    return start_s if arbitrary or not videos else 0.0  # sound alone starts later where its codec has a delay


def period_s(video: Any) -> float:
    """Average time between frames in seconds; 1/25 where the container doesn't state it, and for sound."""
    if video.type != "video":
        return 1 / 25
    return 1 / float(video.average_rate or video.guessed_rate or 25)


def length_s(stream: Any) -> float | None:
    """Length of a stream in seconds as the container states it; None where it doesn't."""
    return None if stream.duration is None else float(stream.duration * stream.time_base)


def read_packets(container: Any, streams: Streams, note: Callable[[str], None]) -> Iterator[Any]:
    """Read all packets of the streams in the file's order, with times on one clock; then an empty one for each stream.

    Args:
        container: from `open_container`.
        streams: from `choose_streams`.
        note: called with a sentence for each thing that the user must know.
    """
    starts_over = bool(container.format.flags & _TS_DISCONT)
    guessed = container.format.name.startswith("matroska")
    clock = Clock(origin_s(container), _LEAP_S if starts_over else LONGEST_S, starts_over, guessed)
    used = [stream for stream in streams if stream is not None]
    ends = {stream.index: -math.inf for stream in used}
    failed: list[str] = []
    for packet, end_s in clock.correct(_demuxed(container, used, failed)):
        ends[packet.stream.index] = max(ends[packet.stream.index], end_s)
        yield packet
    for error in failed:
        note(f"Reading stopped at {max(ends.values()):.2f} s ({error}); what came before was used.")
    if _streams_now(container) > len(container.streams):
        note("Further streams appear in the middle of the file; they were left out.")
    for stream in used:
        end = av.Packet()
        end.stream, end.time_base = stream, stream.time_base
        yield end
    if clock.restarts:
        joints = ", ".join(f"{time_s:.2f}" for time_s in clock.restarts)
        note(f"The file's times jump (here at {joints} s); what follows was joined on.")
    for kind, times in clock.wrong.items():
        what = f"{kind.capitalize()} packets with a time that those around them contradict, placed by these"
        note(f"{what}: {len(times)} (the first at {times[0]:.2f} s).")
    stated_s = _stated_end_s(container, streams.main)
    reached_s = max(ends.values()) if streams.main.duration is None else ends[streams.main.index]
    if stated_s - reached_s > max(_SHORT_S, 3 * period_s(streams.main)):
        note(f"The file is incomplete: it ends at {reached_s:.2f} s, but the container states {stated_s:.2f} s.")


def _demuxed(container: Any, used: list[Any], failed: list[str]) -> Iterator[Any]:
    """The packets of these streams until the file ends, or reading fails, which adds the reason to `failed`."""
    try:
        for packet in container.demux(used):
            if packet.size:  # an empty packet tells the decoder that the stream ends, so it must come once only
                yield packet
    except IndexError:  # PyAV may look up streams that appear in the middle of a file, which it doesn't know
        pass
    except (av.FFmpegError, OSError) as error:
        failed.append(reason(error))


def _streams_now(container: Any) -> int:
    """How many streams FFmpeg has found by now. PyAV lists only those that were found when the file was opened."""
    with _LOGGING, av.logging.Capture(local=False):  # which swallows what other threads may log meanwhile
        before = av.logging.get_level() or av.logging.PANIC
        av.logging.set_level(av.logging.INFO)  # else FFmpeg's description of the file is empty
        try:
            return len(set(re.findall(r"^ *Stream #0:(\d+)", container.dumps_format(), re.MULTILINE)))
        finally:
            # Not None, at which PyAV fails to handle what a decoder's thread is about to log. FFmpeg's own callback
            # prints nothing at this level, and needs no lock of Python's.
            av.logging.set_level(before)
            if before == av.logging.PANIC:
                av.logging.set_libav_level(_QUIET)
                av.logging.restore_default_callback()


def _stated_end_s(container: Any, stream: Any) -> float:
    """Stated end of the stream in seconds, else that of the whole file; NaN where neither is stated."""
    if container.format.flags & _TS_DISCONT or container.format.name in _GUESSED:
        return math.nan  # such containers don't state it; FFmpeg estimates it from the packets
    start_s, length = float((stream.start_time or 0) * stream.time_base), length_s(stream)
    if container.format.name == "avi" and stream.type == "video":
        # FFmpeg corrects the stated length of AVIs, but not the number of frames.
        return start_s + stream.frames * period_s(stream)
    if length is not None:
        return start_s + length
    return math.nan if container.duration is None else container.duration / av.time_base
