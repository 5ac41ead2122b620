"""A video file as a stream of upright frames and mono sound on one clock."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from avgate.core.errors import MediaError
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media.container import (
    Streams,
    chosen,
    index_is_cut,
    length_s,
    moving,
    opened,
    origin_s,
    packets,
    period_s,
)
from avgate.media.picture import Upright
from avgate.media.sound import Pieces

NUDGE_S = 1e-3
"""How long after its predecessor a frame is put that claims to come no later."""

_AVI_REORDER = 8  # frames; H.264 encoders rarely reorder over more than 4


@dataclass(frozen=True)
class MediaInfo:
    """What a container says about its video and its sound.

    Attributes:
        path: the file.
        container: FFmpeg's name of the format.
        width: pixels of the upright frame, as `Media.frames` gives it.
        height: pixels of the upright frame.
        rotation: degrees counter-clockwise (0, 90, 180, 270) by which stored frames are turned to be upright.
        video_codec: name of the codec.
        average_rate: frames per second, None where the container doesn't know.
        frames_hint: number of frames that the container promises, None where it doesn't.
        video_start_s: time of the first frame in seconds.
        duration_s: length of the video in seconds as the container states it, NaN where it doesn't.
        audio_codec: name of the codec, None when there is no sound.
        audio_rate: samples per second as stored, None when there is no sound.
        audio_start_s: when the sound starts on the video's clock, None where unknown.
        audio_duration_s: length of the sound in seconds, None where unknown.
    """

    path: Path
    container: str
    width: int
    height: int
    rotation: int
    video_codec: str
    average_rate: float | None
    frames_hint: int | None
    video_start_s: float
    duration_s: float
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_start_s: float | None = None
    audio_duration_s: float | None = None


def probe(path: str | Path) -> MediaInfo:
    """What a video file contains; raises MediaError as `Media` does."""
    return Media(path).info


class Media:
    """A video file on disk, decoded as a stream; `frames` and `sound` open it anew each time and may run side by side.

    Times are the container's own, in seconds. MPEG-PS, MPEG-TS, Ogg and whatever starts later than an hour have an
    arbitrary zero: their times are counted from the container's start, as players do. Where the clock starts over, as
    in files joined end to end, times go on. The notes say both.

    Args:
        path: a regular file, or a link to one; never a URL, device, pipe or playlist.

    Attributes:
        path: the file.
        info: what the container says.
        notes: what the user must know, one sentence each; complete once `frames` and `sound` have run to their end.

    Raises:
        MediaError: the file is missing, can't be read, isn't media, is cut beyond use, or has no video that decodes.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.notes: list[str] = []
        with opened(self.path) as container:
            streams = chosen(container, self.path)
            first = next(self._decoded(container, streams, streams.video), None)
            if first is None:
                hint = "the file is damaged or incomplete: copy it again, or convert it with ffmpeg"
                raise MediaError("no frame of its video decodes", where=self.path, hint=hint)
            upright = Upright(first, streams.video)
            self.info = _info(self.path, container, streams, first, upright)
            if upright.widened:
                self._note(f"The pixels aren't square: frames are widened from {first.width}x{first.height}.")
            if start_s := origin_s(container):
                self._note(
                    f"The file's own clock starts at {start_s:.3f} s; here times count from there, as in players."
                )
            for streams_of_kind, used in ((moving(container), streams.video), (container.streams.audio, streams.audio)):
                if used is not None and len(streams_of_kind) > 1:
                    number = f"number {streams_of_kind.index(used) + 1} is used"
                    self._note(f"The file has {len(streams_of_kind)} {used.type} streams; {number}.")
            if index_is_cut(self.path):
                self._note("The file is incomplete: its index (moov) is cut, and what it doesn't list is missing.")
            if streams.audio is None:
                unknown = "The sound is coded in a way that this FFmpeg can't decode."
                self._note(unknown if container.streams.audio else "The file has no sound.")

    @property
    def name(self) -> str:
        """The file, as messages name it."""
        return str(self.path)

    def frames(self) -> Iterator[VideoFrame]:
        """Every decoded frame once, in the order of display, upright, with strictly increasing times.

        A frame without a time is put one average frame after its predecessor, one that claims to come no later than
        its predecessor 1 ms after it, and packets that don't decode are left out; the notes count all of them.

        Raises:
            MediaError: the file can't be read any more, or its pixels can't be converted.
        """
        last_s = -math.inf
        try:
            for frame in self._shown("AUTO", last_s):
                last_s = frame.time_s
                yield frame
        except _DamagedError:
            # Around a broken packet several decoder threads lose good frames too, how many depends on the machine.
            yield from self._shown("SLICE", last_s)

    def frame_times(self) -> np.ndarray:
        """Times of all frames, float64 [n], without decoding them, which takes a hundredth of the time.

        They are those of `frames` but for damaged files: what doesn't decode is counted here and left out there.
        """
        times: list[float] = []
        with opened(self.path) as container:
            streams = chosen(container, self.path)
            for packet in packets(container, streams, self._note):
                mark = packet.pts if packet.pts is not None else packet.dts
                if packet.stream.index == streams.video.index and packet.size and not packet.is_discard:
                    times.append(math.nan if mark is None else float(mark * packet.time_base))
        if any(math.isnan(time_s) for time_s in times):
            return np.array([frame.time_s for frame in self.frames()])
        times.sort()
        for i in range(1, len(times)):
            if times[i] <= times[i - 1]:
                times[i] = times[i - 1] + NUDGE_S
        return np.array(times, np.float64)

    def sound(self, chunk_s: float = 30.0) -> Iterator[Waveform]:
        """The sound as pieces of up to chunk_s seconds, in order and without overlap; nothing when there is none.

        Channels are mixed with weights that add up to 1, so that no sample leaves [-1, 1]. The clock is right to 20 ms
        everywhere: a gap shorter than 0.1 s is filled with silence, after a longer one a new piece starts at its own
        time, and sound that overlaps earlier sound is cut.

        Args:
            chunk_s: longest piece in seconds, above 0.

        Raises:
            MediaError: the file can't be read any more, or its channels can't be mixed.
        """
        if not chunk_s > 0:
            raise ValueError(f"chunk_s must be above 0, not {chunk_s}")
        with opened(self.path) as container:
            streams = chosen(container, self.path)
            if streams.audio is None:
                return
            pieces = Pieces(max(1, round(chunk_s * SAMPLE_RATE)))
            for frame in self._decoded(container, streams, streams.audio):
                try:
                    done = pieces.push(frame)
                except av.FFmpegError as error:
                    what = f"its {frame.layout.name} sound can't be mixed to mono ({error})"
                    raise MediaError(what, where=self.path, hint="convert it with ffmpeg -ac 1") from error
                yield from done
            yield from pieces.close()
            if pieces.cut_s:
                self._note(f"{pieces.cut_s:.2f} s of sound overlap earlier sound and were cut.")

    def _shown(self, threads: str, after_s: float) -> Iterator[VideoFrame]:
        """The frames later than after_s; with threads other than "SLICE", damage raises _DamagedError."""
        with opened(self.path) as container:
            streams = chosen(container, self.path)
            streams.video.thread_type = threads
            decoded = self._decoded(container, streams, streams.video, strict=threads != "SLICE")
            if self.info.container == "avi":
                decoded = self._in_time_order(decoded)
            upright, time_s = None, -math.inf
            events: dict[str, list[float]] = defaultdict(list)
            for frame in decoded:
                upright = upright or Upright(frame, streams.video)
                before_s, time_s = time_s, frame.time
                if time_s is None:
                    time_s = max(before_s + period_s(streams.video), 0.0)
                    events["Frames without a time, put one average frame after their predecessor"].append(time_s)
                if time_s <= before_s:
                    time_s = before_s + NUDGE_S
                    events["Frames with a time no later than the last, put 1 ms after it"].append(time_s)
                if frame.is_corrupt:
                    events["Damaged frames, patched by the decoder"].append(time_s)
                if not upright.fits(frame):
                    events["Frames of another size, scaled to that of the first"].append(time_s)
                if time_s > after_s:
                    try:
                        image = upright(frame)
                    except av.FFmpegError as error:
                        what = f"its {frame.format.name} pixels can't be converted ({error})"
                        hint = "convert it with ffmpeg -pix_fmt yuv420p"
                        raise MediaError(what, where=self.path, hint=hint) from error
                    yield VideoFrame(time_s, image)
            self._count(events)

    def _decoded(self, container: Any, streams: Streams, stream: Any, strict: bool = False) -> Iterator[Any]:
        """One stream's frames; what doesn't decode is left out and counted, or raises _DamagedError when strict."""
        lost: list[float] = []
        sent_s = shown_s = -math.inf
        for packet in packets(container, streams, self._note):
            if packet.stream.index != stream.index:
                continue
            time_s = math.nan if packet.pts is None else float(packet.pts * packet.time_base)
            if time_s > sent_s and not packet.is_discard:
                sent_s = time_s
            try:
                frames = stream.decode(packet)
            except av.FFmpegError as error:
                if strict:
                    raise _DamagedError from error
                lost.append(time_s)
                continue
            for frame in frames:
                shown_s = shown_s if frame.time is None else max(shown_s, frame.time)
                yield frame
        # Half a frame is no loss: the second field of a frame may be a packet of its own.
        if strict and sent_s - shown_s > 0.75 * period_s(streams.video):
            raise _DamagedError
        self._count({f"{stream.type.capitalize()} packets that don't decode, left out with all that needs them": lost})

    def _in_time_order(self, frames: Iterator[Any]) -> Iterator[Any]:
        """Frames with their times sorted: AVI stores none for display, and FFmpeg may give them in decoding order."""
        queue: deque[Any] = deque()
        times: list[int] = []
        moved: list[float] = []

        def leave() -> Any:
            frame = queue.popleft()
            if frame.pts is not None and frame.pts != (pts := heapq.heappop(times)):
                frame.pts = pts
                moved.append(frame.time)
            return frame

        for frame in frames:
            queue.append(frame)
            if frame.pts is not None:
                heapq.heappush(times, frame.pts)
            if len(queue) > _AVI_REORDER:
                yield leave()
        while queue:
            yield leave()
        self._count({"Frames with times out of order, which were sorted": moved})

    def _count(self, events: dict[str, list[float]]) -> None:
        for what, times in events.items():
            if times:
                first = f" (the first at {times[0]:.2f} s)" if math.isfinite(times[0]) else ""
                self._note(f"{what}: {len(times)}{first}.")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _DamagedError(Exception):
    """A packet didn't decode while several threads were at work."""


def _info(path: Path, container: Any, streams: Streams, first: Any, upright: Upright) -> MediaInfo:
    video, audio = streams
    duration_s = length_s(video)
    if duration_s is None:
        duration_s = math.nan if container.duration is None else container.duration / av.time_base
    audio_start = None if audio is None else audio.start_time
    return MediaInfo(
        path=path,
        container=container.format.name,
        width=upright.width,
        height=upright.height,
        rotation=first.rotation % 360,
        video_codec=video.codec_context.name,
        average_rate=float(video.average_rate) if video.average_rate else None,
        frames_hint=video.frames or None,
        video_start_s=first.time or 0.0,
        duration_s=duration_s,
        audio_codec=None if audio is None else audio.codec_context.name,
        audio_rate=None if audio is None else audio.codec_context.sample_rate,
        audio_start_s=None if audio_start is None else float(audio_start * audio.time_base) - origin_s(container),
        audio_duration_s=None if audio is None else length_s(audio),
    )
