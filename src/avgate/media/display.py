"""Frames in the order of display: each gets a time of its own, and those that needn't be decoded are counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

from avgate.media.recording import CLOSEST_S

NUDGE_S = 1e-3
"""Seconds after its predecessor at which a frame is put whose own time lastingly isn't later by CLOSEST_S."""

_HELD = 8  # frames that are looked at before one with a doubtful time is placed
_LATE = 1.5  # average frame periods; a frame that comes later may have a wrong time
_BREAK = 4.0  # what it costs to take a time that isn't later than the one before, where leaving one out costs 1

INTRA = frozenset(
    ["mjpeg", "png", "rawvideo", "prores", "dnxhd", "dvvideo", "huffyuv", "ffvhuff", "ffv1", "utvideo", "jpeg2000"]
)
"""Codecs of which every packet gives a frame, whatever comes before it."""

UNTIMED = "Frames without a time, placed by their neighbours"
WRONG = "Frames with a time that those around them contradict, placed by their neighbours"
NUDGED = "Frames with a time not later than their predecessor's by 0.1 ms, put 1 ms after it"


class Seen(NamedTuple):
    """What is asked of a packet of which a frame may be counted."""

    pts: int | None
    is_keyframe: bool
    is_discard: bool
    is_corrupt: bool


def timed(frames: Iterable[Any], period_s: float, first_s: float) -> Iterator[tuple[float, Any, str | None]]:
    """The frames in the same order with strictly increasing times in seconds, and what was wrong with their own time.

    A frame without a time, or with one that the frames after it contradict, comes between its neighbours.

    Args:
        frames: decoded frames in the order of display.
        period_s: average time between frames in seconds.
        first_s: time of the first frame in seconds, if it has none.
    """
    held: list[Any] = []
    last_s = stamp_s = -math.inf  # the last frame's time, and what its own is taken to be, which may be earlier
    for coming in chain(frames, [None]):
        if coming is not None:
            held.append(coming)
        while held:
            own_s = held[0].time
            late_s = math.inf if last_s == -math.inf else last_s + _LATE * period_s
            if own_s is not None and stamp_s < own_s <= late_s:
                right, times = 0, [own_s]
            elif coming is None or len(held) >= _HELD:
                times = [frame.time for frame in held]
                right = _first_right(times, stamp_s, period_s)
            else:
                break
            before_s = first_s - period_s if last_s == -math.inf else last_s
            if right == 0:
                own, stamp_s = times[0] >= last_s + CLOSEST_S, times[0]
                last_s, problem = (stamp_s, None) if own else (last_s + NUDGE_S, NUDGED)
                yield last_s, held.pop(0), problem
                continue
            step_s = period_s if right == len(times) else (times[right] - before_s) / (right + 1)
            if last_s == -math.inf and right < len(times):
                before_s, step_s = times[right] - (right + 1) * period_s, period_s
            if step_s < CLOSEST_S:  # there is no room between the neighbours, such as after frames that were nudged
                step_s = NUDGE_S
            for i in range(right):
                frame = held.pop(0)
                last_s = stamp_s = before_s + (i + 1) * step_s
                yield last_s, frame, UNTIMED if frame.time is None else WRONG


def _first_right(times: Sequence[float | None], last_s: float, period_s: float) -> int:
    """Which of the times is the first that is right, if the fewest are wrong; their number if none is."""
    n = len(times)
    cost, first = [math.inf] * n, list(range(n))
    passed = [0]  # how many times are known before each
    for time_s in times:
        passed.append(passed[-1] + (time_s is not None))
    for j, time_s in enumerate(times):
        if time_s is None:
            continue
        for i in range(-1, j):
            before_s = last_s if i < 0 else times[i]
            if before_s is None:
                continue
            step_s = time_s - before_s
            # Among explanations with as few wrong times, the one with the steadiest rate is taken.
            uneven = 0.0 if step_s == math.inf else 0.4 * min(1.0, abs(step_s / (j - i) - period_s) / period_s)
            total = (0.0 if i < 0 else cost[i]) + passed[j] - passed[i + 1] + (uneven if step_s > 0 else _BREAK)
            if total < cost[j]:
                cost[j], first[j] = total, j if i < 0 else first[i]
    best = min(range(n), key=lambda j: cost[j] + passed[n] - passed[j + 1])
    return first[best] if cost[best] < math.inf else n


def countable(container: Any, stream: Any, packets: Sequence[Seen]) -> bool:
    """Whether each packet is sure to give one frame, so that frames needn't be decoded to be counted.

    It is for codecs without dependence between frames, and for H.264 and HEVC in MP4 and Matroska where neither fields
    are coded, nor frames begin before the first key frame, nor times are missing or crowded.

    Args:
        container: from `open_container`.
        stream: the video.
        packets: all of its packets, in the file's order.
    """
    times = [packet.pts for packet in packets if packet.pts is not None]
    if not packets or len(times) < len(packets) or any(packet.is_discard or packet.is_corrupt for packet in packets):
        return False
    steps = sorted(b - a for a, b in pairwise(sorted(times)))
    # A wrong time among frames that are reordered is one that comes too close to another.
    if steps and not steps[0] > steps[len(steps) // 2] / 2:
        return False
    codec = stream.codec_context
    if codec.name in INTRA:
        return container.format.name != "avi" and times == sorted(times)
    if codec.name not in ("h264", "hevc") or container.format.name.split(",")[0] not in ("mov", "matroska"):
        return False
    whole = codec.name == "hevc" or _codes_frames(codec.extradata or b"")
    return whole and packets[0].is_keyframe and times[0] == min(times)


def _codes_frames(extradata: bytes) -> bool:
    """Whether H.264 in MP4 or Matroska is sure to be coded in frames, not in fields, each of which may be a packet.

    Reads the sequence parameter sets of the avcC box: ISO/IEC 14496-15, 5.3.3, and 14496-10, 7.3.2.1.1.
    """
    if len(extradata) < 7 or extradata[0] != 1:
        return False
    at, sets = 6, extradata[5] & 31
    for _ in range(sets):
        length = int.from_bytes(extradata[at : at + 2], "big")
        try:
            if not _frames_only(extradata[at + 2 : at + 2 + length]):
                return False
        except IndexError:
            return False
        at += 2 + length
    return sets > 0


def _frames_only(parameters: bytes) -> bool:
    """The flag frame_mbs_only of one sequence parameter set; False for one with scaling lists, which aren't read."""
    content = parameters.replace(b"\0\0\3", b"\0\0")
    bits = iter([byte >> k & 1 for byte in content[4:] for k in range(7, -1, -1)])

    def fixed(n: int) -> int:
        value = 0
        for _ in range(n):
            if (bit := next(bits, None)) is None:
                raise IndexError("the parameters end early")
            value = 2 * value + bit
        return value

    def golomb() -> int:
        zeros = 0
        while not fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + fixed(zeros)

    golomb()  # seq_parameter_set_id
    if content[1] in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        if golomb() == 3:  # chroma_format_idc
            fixed(1)
        golomb(), golomb(), fixed(1)
        if fixed(1):  # seq_scaling_matrix_present_flag
            return False
    golomb()  # log2_max_frame_num_minus4
    order = golomb()  # pic_order_cnt_type
    if order == 0:
        golomb()
    elif order == 1:
        fixed(1), golomb(), golomb()
        for _ in range(golomb()):
            golomb()
    golomb()  # max_num_ref_frames
    gaps = fixed(1)  # gaps_in_frame_num_value_allowed_flag
    golomb(), golomb()
    return not gaps and bool(fixed(1))
