"""Reads a video or sound file as a stream of upright frames and mono sound, with times in seconds."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from avgate.core.errors import MediaError
from avgate.core.text import reason
from avgate.core.types import SAMPLE_RATE, VideoFrame, Waveform
from avgate.media.container import (
    Streams,
    choose_streams,
    index_is_cut,
    open_container,
    origin_s,
    period_s,
    read_packets,
    video_streams,
)
from avgate.media.info import MediaInfo, stated_info
from avgate.media.picture import Upright
from avgate.media.recording import CLOSEST_S
from avgate.media.sound import Pieces

NUDGE_S = 1e-3
"""Seconds after its predecessor at which a frame is put whose own time isn't later by CLOSEST_S."""

_WORTH_A_NOTE_S = 0.1  # codecs delay sound by less
_AVI_REORDER = 8  # frames; H.264 encoders rarely reorder over more than 4


def probe(path: str | Path) -> MediaInfo:
    """What a media file contains. Raises MediaError as `Media` does."""
    return Media(path).info


class Media:
    """A video or sound file on disk, decoded as a stream.

    `frames` and `sound` open it anew each time, and may run side by side.

    Times are the container's own, in seconds. In files that start at an arbitrary time (MPEG-PS, MPEG-TS, Ogg, and any
    file that starts later than an hour), they count from the start, as in players. Where times start over, as in files
    joined end to end, they are counted on. The notes say so in both cases.

    Args:
        path: a regular file, or a link to one; never a URL, device, pipe or playlist.

    Attributes:
        path: the file.
        info: what the container states.
        notes: what the user must know, one sentence each; complete after `frames` and `sound` have run to their end.
        sound_end_s: when the sound ends in seconds, silence included; known after `sound` has run.

    Raises:
        MediaError: the file is missing, can't be read, has neither video nor sound, is incomplete, or no frame of its
            video can be decoded.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.notes: list[str] = []
        self.sound_end_s = 0.0
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
            self.info = stated_info(self.path, container, streams)
            if streams.video is not None:
                self._look_at_first_frame(container, streams)
            if abs(start_s := origin_s(container)) >= _WORTH_A_NOTE_S:
                self._note(f"The file's times start at {start_s:.3f} s; here they count from there, as in players.")
            video, audio = streams
            for used, found in ((video, video_streams(container)), (audio, container.streams.audio)):
                if used is not None and len(found) > 1:
                    self._note(
                        f"The file has {len(found)} {used.type} streams; number {found.index(used) + 1} is used."
                    )
            if index_is_cut(self.path):
                self._note("The file is incomplete: its index (moov) is cut off, and what it doesn't list is missing.")
            if streams.audio is None:
                unknown = "This FFmpeg can't decode the codec of the sound."
                self._note(unknown if container.streams.audio else "The file has no sound.")

    def _look_at_first_frame(self, container: Any, streams: Streams) -> None:
        first = next(self._decoded(container, streams, streams.video), None)
        if first is None:
            hint = "the file is damaged or incomplete: copy it again, or convert it with ffmpeg"
            raise MediaError("no frame of its video can be decoded", where=self.path, hint=hint)
        upright = Upright(first, streams.video)
        size = {"width": upright.width, "height": upright.height}
        self.info = replace(self.info, **size, rotation=first.rotation % 360, video_start_s=first.time or 0.0)
        if upright.widened:
            self._note(f"The pixels aren't square: frames are widened from {first.width}x{first.height}.")

    @property
    def name(self) -> str:
        """The file, as messages name it."""
        return str(self.path)

    @property
    def has_frames(self) -> bool:
        """Whether there is a video, and not sound alone."""
        return self.info.video_codec is not None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames in pixels; 0 for a sound file."""
        return self.info.width, self.info.height

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame once, upright, in the order of display, with strictly increasing times; none of a sound file.

        A frame without a time is put one average frame period after its predecessor. A frame whose time isn't later
        than its predecessor's by 0.1 ms is put 1 ms after it. Packets that can't be decoded are left out. The notes
        count all three.

        Raises:
            MediaError: the file can't be read any more, or its pixels can't be converted.
        """
        if not self.has_frames:
            return
        last_s = -math.inf
        try:
            for frame in self._shown("AUTO", last_s):
                last_s = frame.time_s
                yield frame
        except _DamagedError:
            # Around a damaged packet, several decoder threads lose good frames, too; how many depends on the machine.
            yield from self._shown("SLICE", last_s)

    def frame_times(self) -> np.ndarray:
        """Times of all frames in seconds, float64 [n], without decoding them, which is a hundred times faster.

        They are the times of `frames`, except in damaged files: frames that can't be decoded are left out there, but
        not here.
        """
        times: list[float] = []
        if not self.has_frames:
            return np.zeros(0)
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
            for packet in read_packets(container, streams, self._note):
                mark = packet.pts if packet.pts is not None else packet.dts
                if packet.stream.index == streams.video.index and packet.size and not packet.is_discard:
                    times.append(math.nan if mark is None else float(mark * packet.time_base))
        if any(math.isnan(time_s) for time_s in times):
            return np.array([frame.time_s for frame in self.frames()])
        times.sort()
        for i in range(1, len(times)):
            if times[i] < times[i - 1] + CLOSEST_S:
                times[i] = times[i - 1] + NUDGE_S
        return np.array(times, np.float64)

    def sound(self, chunk_s: float = 30.0) -> Iterator[Waveform]:
        """The sound as mono pieces of up to chunk_s seconds, in order and without overlap; no piece without sound.

        Channels are mixed by their layout as FFmpeg does, so that a voice in the middle keeps its level; where they
        cancel out, the loudest one is taken. Times are right to 20 ms: a gap shorter than 0.1 s is filled with silence,
        a new piece starts after a longer one, and sound that overlaps earlier sound is cut.

        Args:
            chunk_s: length of the longest piece in seconds, above 0.

        Raises:
            MediaError: the file can't be read any more, or its channels can't be mixed.
        """
        if not chunk_s > 0:
            raise ValueError(f"chunk_s must be above 0, not {chunk_s}")
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
            if streams.audio is None:
                return
            pieces = Pieces(max(1, round(chunk_s * SAMPLE_RATE)))
            for frame in self._decoded(container, streams, streams.audio):
                try:
                    done = pieces.push(frame)
                except av.FFmpegError as error:
                    what = f"its {frame.layout.name} sound can't be mixed to mono ({reason(error)})"
                    raise MediaError(what, where=self.path, hint="convert it with ffmpeg -ac 1") from error
                yield from done
            yield from pieces.close()
            for note in pieces.notes():
                self._note(note)

    def _shown(self, threads: str, after_s: float) -> Iterator[VideoFrame]:
        """Frames later than after_s; damage raises _DamagedError unless `threads` is "SLICE"."""
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
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
                    events["Frames without a time, put one average frame period after their predecessor"].append(time_s)
                if time_s < before_s + CLOSEST_S:
                    time_s = before_s + NUDGE_S
                    events["Frames with a time not later than their predecessor's, put 1 ms after it"].append(time_s)
                if frame.is_corrupt:
                    events["Damaged frames, patched by the decoder"].append(time_s)
                if not upright.fits(frame):
                    events["Frames of another size, scaled to that of the first"].append(time_s)
                if time_s > after_s:
                    try:
                        image = upright(frame)
                    except av.FFmpegError as error:
                        what = f"its {frame.format.name} pixels can't be converted ({reason(error)})"
                        hint = "convert it with ffmpeg -pix_fmt yuv420p"
                        raise MediaError(what, where=self.path, hint=hint) from error
                    yield VideoFrame(time_s, image)
            self._count(events)

    def _decoded(self, container: Any, streams: Streams, stream: Any, strict: bool = False) -> Iterator[Any]:
        """Frames of one stream; packets that can't be decoded are counted, or raise _DamagedError if strict."""
        lost: list[float] = []
        sent_s = shown_s = -math.inf
        for packet in read_packets(container, streams, self._note):
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
                if stream.type == "audio" and frame.time is not None:
                    self.sound_end_s = max(self.sound_end_s, frame.time + frame.samples / frame.sample_rate)
                yield frame
        # Less than a frame isn't a loss: the second field of a frame may be a packet of its own.
        if strict and sent_s - shown_s > 0.75 * period_s(stream):
            raise _DamagedError
        kind = stream.type.capitalize()
        self._count({f"{kind} packets that can't be decoded, left out with all that need them": lost})

    def _in_time_order(self, frames: Iterator[Any]) -> Iterator[Any]:
        """Frames with their times sorted: AVI stores no display times, and FFmpeg may give them in decoding order."""
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
    """A packet couldn't be decoded while several threads were decoding."""
