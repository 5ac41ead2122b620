"""Reads a video or sound file as a stream of upright frames and mono sound, with times in seconds."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
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
from avgate.media.display import Seen, countable, timed
from avgate.media.info import MediaInfo, stated_info
from avgate.media.picture import Upright
from avgate.media.sound import Pieces

_WORTH_A_NOTE_S = 0.1  # codecs delay sound by less
_UNTIMED = 2000  # most frames without a time from which the first one's is counted back
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
        decoded = self._decoded(container, streams, streams.video)
        first = next(decoded, None)
        if first is None:
            hint = "the file is damaged or incomplete: copy it again, or convert it with ffmpeg"
            raise MediaError("no frame of its video can be decoded", where=self.path, hint=hint)
        upright = Upright(first, streams.video)
        size = {"width": upright.width, "height": upright.height}
        start_s = first.time
        if start_s is None:  # as where times begin below 0 in Matroska: count back
            later = ((i, frame.time) for i, frame in enumerate(islice(decoded, _UNTIMED), 1) if frame.time is not None)
            untimed, known_s = next(later, (0, 0.0))
            start_s = known_s - untimed * period_s(streams.video)
        self.info = replace(self.info, **size, rotation=first.rotation % 360, video_start_s=start_s)
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

        A frame without a time, or with one that the frames around it contradict, is put between its neighbours; the
        first ones count back from the first time that is known. A frame whose time lastingly isn't later than its
        predecessor's by 0.1 ms is put 1 ms after it. Packets that can't be decoded are left out. The notes count all
        of these.

        Raises:
            MediaError: the file can't be read any more, or its pixels can't be converted.
        """
        for time_s, image in self._every(pictures=True):
            yield VideoFrame(time_s, image)

    def frame_times(self) -> np.ndarray:
        """Times of all frames in seconds, float64 [n]: those of `frames`.

        Packets are counted where each is sure to give one frame (most H.264 and HEVC in MP4 and Matroska, and codecs of
        single pictures), which is a hundred times faster than `frames`. Other files are decoded, at about twice the
        speed of `frames`. Where packets are counted, frames that damage costs are among them.
        """
        if not self.has_frames:
            return np.zeros(0)
        packets = []
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
            for packet in read_packets(container, streams, self._note):
                if packet.stream.index == streams.video.index and packet.size:
                    packets.append(Seen(packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt))
                    tick = packet.time_base
            if countable(container, streams.video, packets):
                ticks = sorted(float(seen.pts) for seen in packets if seen.pts is not None)
                return np.array(ticks) * tick.numerator / tick.denominator
        return np.array([time_s for time_s, _ in self._every(pictures=False)])

    def sound(self, chunk_s: float = 30.0) -> Iterator[Waveform]:
        """The sound as mono pieces of up to chunk_s seconds, in order and without overlap; no piece without sound.

        Channels are mixed by their layout as FFmpeg does, so that a voice in the middle keeps its level; where they
        cancel out, the loudest one is taken. The samples are counted, and where the file's times lastingly differ from
        the count by over 20 ms, they are followed: a gap shorter than 0.1 s is filled with silence, a new piece starts
        after a longer one, and sound that overlaps earlier sound is cut.

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
            pieces, layout = Pieces(max(1, round(chunk_s * SAMPLE_RATE))), ""
            for frame in self._decoded(container, streams, streams.audio):
                layout = frame.layout.name
                with self._mixing(layout):
                    done = pieces.push(frame)
                yield from done
            with self._mixing(layout):
                done = pieces.close()
            yield from done
            self.sound_end_s = pieces.end_s
            for note in pieces.notes():
                self._note(note)

    @contextmanager
    def _mixing(self, layout: str) -> Iterator[None]:
        """Turn what FFmpeg says of sound that can't be mixed, resampled or both into a MediaError."""
        try:
            yield
        except av.FFmpegError as error:
            what = f"its {layout} sound can't be mixed to mono ({reason(error)})"
            raise MediaError(what, where=self.path, hint="convert it with ffmpeg -ac 1") from error

    def _every(self, pictures: bool) -> Iterator[tuple[float, Any]]:
        """Times of all frames in seconds, with their pictures if these are wanted; none of a sound file."""
        if not self.has_frames:
            return
        last_s = -math.inf
        try:
            for time_s, image in self._shown("AUTO", last_s, pictures):
                last_s = time_s
                yield time_s, image
        except _DamagedError:
            # Around damage, several decoder threads lose good frames, too, and patch others by chance.
            yield from self._shown("NONE", last_s, pictures)

    def _shown(self, threads: str, after_s: float, pictures: bool) -> Iterator[tuple[float, Any]]:
        """Frames later than after_s; damage raises _DamagedError unless `threads` is "NONE"."""
        with open_container(self.path) as container:
            streams = choose_streams(container, self.path)
            streams.video.thread_type = threads
            if not pictures:
                streams.video.codec_context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
            decoded = self._decoded(container, streams, streams.video, strict=threads != "NONE")
            if self.info.container == "avi":
                decoded = self._in_time_order(decoded)
            upright = None
            events: dict[str, list[float]] = defaultdict(list)
            for time_s, frame, problem in timed(decoded, period_s(streams.video), self.info.video_start_s):
                upright = upright or Upright(frame, streams.video)
                if problem is not None:
                    events[problem].append(time_s)
                if frame.is_corrupt:
                    events["Damaged frames, patched by the decoder"].append(time_s)
                if not upright.fits(frame):
                    events["Frames of another size, scaled to that of the first"].append(time_s)
                if time_s <= after_s:
                    continue
                try:
                    yield time_s, upright(frame) if pictures else None
                except av.FFmpegError as error:
                    what = f"its {frame.format.name} pixels can't be converted ({reason(error)})"
                    hint = "convert it with ffmpeg -pix_fmt yuv420p"
                    raise MediaError(what, where=self.path, hint=hint) from error
            self._count(events)

    def _decoded(self, container: Any, streams: Streams, stream: Any, strict: bool = False) -> Iterator[Any]:
        """Frames of one stream; packets that can't be decoded are counted. If strict, damage raises _DamagedError."""
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
                if strict and frame.is_corrupt:
                    raise _DamagedError
                shown_s = shown_s if frame.time is None else max(shown_s, frame.time)
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
    """Something was damaged while several threads were decoding."""
