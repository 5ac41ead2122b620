"""One clock for all packets of a file: wrong stamps are found out, and times that start over are counted on."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from statistics import median
from typing import Any, NamedTuple

_AHEAD = 128  # packets of all streams that are looked at before one of them is placed
_AHEAD_BYTES = 1 << 26
_WINDOW = 32  # packets of one stream that are explained together
_FIRM = 4  # the explanation is kept for one packet of so many; the others show how it goes on

_SLACK_S = 0.15  # stamps that wobble differ by less from a steady rate
_SLACK = 1.5  # or by that many packets
_SLACK_SOUND = 4.0  # or, in sound, by that many times as much as they usually do from packet to packet
_OVERLAP_S = 1.0  # where times don't start over as a rule, going back by less is an overlap
_REORDER_S = 0.5  # the display of a frame may be put off by that much more than that of the frames around it
_REORDER = 8  # or by that many packets
_MIXED = 16  # packets; a frame is never decoded further from those that are shown beside it

# What an explanation of stamps costs. The cheapest one of a whole window is taken.
_WRONG = 1.0  # a stamp is wrong
_WRONG_TOO = 0.25  # so is the one after it, where the next good one is where it would be if they hadn't been
_RESTART = 4.0  # the times start over, or leap
_GAP = 0.5  # a gap; less than _WRONG, since a picture may stand still until the last frame
_LONG_GAP = 1.5  # a gap of more than _LONG_S; more than _WRONG, so that a single stamp doesn't make one
_LONG_S = 86_400.0


class _Stamp(NamedTuple):
    """A packet's time.

    Attributes:
        serial: the packet's number in the file.
        number: its number in the stream.
        mark: seconds that rise from packet to packet: the decoding time of pictures, the display time of sound.
        loose: whether it is a picture whose decoding time isn't known, and which may be out of order.
        show: display time in seconds, where it is known, else the mark.
        end: end of what it shows, in seconds.
        odd: whether it goes back, leaps, or is displayed at another moment than its decoding time suggests.
    """

    serial: int
    number: int
    mark: float
    loose: bool
    show: float
    end: float
    odd: bool


class _Line:
    """What is known of one stream.

    Attributes:
        part: the part of the file that it is in; None before its first packet.
        first: its first mark in that part.
        believed: the last stamps that were believed in that part, the newest last.
        due: where its next packet should begin, in seconds on the corrected clock.
        waiting: stamps that weren't placed yet, in the file's order.
        odd: how many of these are odd.
        verdicts: what is already known of the first of these: whether each is "right", "wrong", or begins "anew".
        read: number of its packets that were read.
        sound: whether its packets have sound, at a steady rate.
    """

    def __init__(self) -> None:
        self.part: int | None = None
        self.first, self.due = math.nan, 0.0
        self.believed: deque[_Stamp] = deque(maxlen=_WINDOW)
        self.waiting: deque[_Stamp] = deque()
        self.verdicts: deque[str] = deque()
        self.odd = self.read = 0
        self.sound = False

    @property
    def base(self) -> _Stamp | None:
        """The last stamp that was believed; None before the first one."""
        return self.believed[-1] if self.believed else None


class Clock:
    """Corrects the times of packets. They count from the container's start, and go on where the file's times jump.

    A packet is placed when those that follow it are known (128 packets of all streams, or 64 MB). Each stamp is right,
    or wrong, or begins a further part of the file, in which times start over or leap. What explains the stamps around
    it most simply is taken: a stamp that those after it contradict is wrong, and a jump is one where those after it
    agree. A packet with a wrong stamp is left without one, and so comes between its neighbours.

    A file joined from several others has parts, each with times of its own. Streams enter the next part at slightly
    different places in the file, but are all moved by the same amount. Packets that aren't shown decide nothing.

    Args:
        origin_s: time in seconds that becomes 0.
        leap_s: times that go ahead by more have leapt.
        starts_over: whether the container's times may start over (MPEG-PS, MPEG-TS, Ogg). In others, times that go
            back by less than a second, and not to the start of the part, are an overlap.
        guessed: whether FFmpeg makes decoding times of the display times (Matroska), which may then be out of order.

    Attributes:
        restarts: times in seconds at which a further part begins.
        wrong: kind of stream -> where its packets with a wrong stamp should begin, in seconds.
    """

    def __init__(self, origin_s: float, leap_s: float, starts_over: bool, guessed: bool = False):
        self.restarts: list[float] = []
        self.wrong: dict[str, list[float]] = defaultdict(list)
        self._leap_s, self._starts_over, self._guessed = leap_s, starts_over, guessed
        self._offsets = [-origin_s]  # seconds, one for each part
        self._begins = [0]  # number of the packet that began each part
        self._newest = [-math.inf]  # latest mark in each part
        self._lines: dict[int, _Line] = defaultdict(_Line)
        self._end_s = -math.inf
        self._all_read = False

    def correct(self, packets: Iterable[Any]) -> Iterator[tuple[Any, float]]:
        """The packets in the same order, with corrected times, each with its end in seconds (-inf without times)."""
        queue: deque[tuple[Any, _Stamp | None]] = deque()
        held = 0
        for serial, packet in enumerate(packets):
            queue.append((packet, self._enter(packet, serial)))
            held += packet.size
            while len(queue) > _AHEAD or held > _AHEAD_BYTES:
                held -= queue[0][0].size
                yield self._place(*queue.popleft())
        self._all_read = True
        while queue:
            yield self._place(*queue.popleft())

    def _enter(self, packet: Any, serial: int) -> _Stamp | None:
        """Read the packet's stamp; None where it has none, or isn't shown, so that its time may be anywhere."""
        if packet.is_discard:
            return None
        line = self._lines[packet.stream.index]
        line.read, line.sound = line.read + 1, packet.stream.type == "audio"
        pts, dts = packet.pts, packet.dts
        if pts is None and dts is None:
            return None
        tick = float(packet.time_base)
        picture = packet.stream.type == "video"
        show = (dts if pts is None else pts) * tick
        mark, loose = show if dts is None or not picture else dts * tick, picture and dts is None
        before, odd = line.waiting[-1] if line.waiting else line.base, False
        if before is not None:
            step, put_off = mark - before.mark, (show - mark) - (before.show - before.mark)
            back_s = _REORDER_S if loose or before.loose else _SLACK_S / 2
            odd = step < -back_s or step > min(self._leap_s, _LONG_S) or abs(put_off) > _REORDER_S
        end = show + (packet.duration or 0) * tick
        stamp = _Stamp(serial, line.read, mark, loose, show, end, odd)
        line.waiting.append(stamp)
        line.odd += odd
        return stamp

    def _place(self, packet: Any, stamp: _Stamp | None) -> tuple[Any, float]:
        line = self._lines[packet.stream.index]
        if stamp is None:
            self._move(packet, line)
            return packet, -math.inf
        if not line.verdicts:
            verdicts, more = self._explain(line), not self._all_read or len(line.waiting) > _WINDOW
            line.verdicts.extend(verdicts[: 1 + len(verdicts) // _FIRM] if more else verdicts)
        verdict = line.verdicts.popleft()
        line.waiting.popleft()
        line.odd -= stamp.odd
        if verdict == "wrong" and self._guessed and not line.sound and line.base and not _far(stamp, line):
            return packet, stamp.end + self._move(packet, line)  # frames tell when they are in the order of display
        if verdict == "wrong":
            self.wrong[packet.stream.type].append(line.due)
            packet.pts = packet.dts = None
            line.due += stamp.end - stamp.show
            return packet, line.due
        if line.base is None or line.part is None:
            line.part, line.first = len(self._offsets) - 1, stamp.mark
        elif verdict == "anew" and self._begins_part(stamp, line.base, line.first):
            self._turn(stamp, line, line.part)
            line.believed.clear()
        line.believed.append(stamp)
        self._newest[line.part] = max(self._newest[line.part], stamp.mark)
        line.due = stamp.end + self._move(packet, line)
        self._end_s = max(self._end_s, line.due)
        return packet, line.due

    def _move(self, packet: Any, line: _Line) -> float:
        """Move the packet to the time of its stream's part, and return by how many seconds."""
        shift = round(self._offsets[-1 if line.part is None else line.part] / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        return float(shift * packet.time_base)

    def _begins_part(self, stamp: _Stamp, base: _Stamp, first: float) -> bool:
        """Whether times that lastingly go back, or leap, are those of a further part, and not an overlap."""
        overlaps = 0 <= base.mark - stamp.mark < _OVERLAP_S
        return self._starts_over or not overlaps or abs(first - stamp.mark) <= _SLACK_S

    def _turn(self, stamp: _Stamp, line: _Line, part: int) -> None:
        """Go to the next part: the one that another stream has just begun, or a new one."""
        newest = len(self._offsets) - 1
        if part == newest or stamp.serial - self._begins[newest] > 2 * _AHEAD:
            start_s, end_s = stamp.show, self._end_s
            for other in self._lines.values():
                if other is not line and other.part == part:
                    coming = list(zip(other.waiting, self._explain(other), strict=False))
                    last = next((i for i, (_, verdict) in enumerate(coming) if verdict == "anew"), None)
                    if last is None:
                        coming = [each for each in coming if each[0].serial < stamp.serial]
                    else:
                        start_s = min(start_s, coming[last][0].show)
                    ends = [each.end for each, verdict in coming[:last] if verdict == "right"]
                    end_s = max(end_s, max(ends, default=-math.inf) + self._offsets[part])
            self.restarts.append(end_s)
            self._offsets.append(end_s - start_s)
            self._begins.append(stamp.serial)
            self._newest.append(-math.inf)
        line.part, line.first = len(self._offsets) - 1, stamp.mark

    def _explain(self, line: _Line) -> list[str]:
        """Verdicts on the stream's next stamps, at most _WINDOW."""
        window = list(islice(line.waiting, _WINDOW))
        if not line.odd:
            return ["right"] * len(window)
        newest = -math.inf if line.part is None else self._newest[line.part]
        return _simplest(window, list(line.believed), newest, self._leap_s, line.sound)


def _simplest(window: list[_Stamp], believed: list[_Stamp], newest: float, leap_s: float, sound: bool) -> list[str]:
    """The cheapest explanation of stamps after others, by dynamic programming over the last stamp that is right."""
    base = believed[-1] if believed else None
    everything = _sorted_out(believed + window)
    known = everything[max(0, len(believed) - 1) :]
    rises = [b.mark - a.mark for a, b in pairwise(known) if b.mark > a.mark]
    typical_s = median(rises) if rises else 0.0
    lengths = [stamp.end - stamp.show for stamp in known]
    if sound and min(lengths) > 0:  # which stamps that wobble say better than their steps do
        typical_s = median(lengths)
    reorder_s = max(_REORDER_S, _REORDER * typical_s)
    slack_s = reorder_s if any(stamp.loose for stamp in known) else max(_SLACK_S, _SLACK * typical_s)
    misplaced = _misplaced(everything, reorder_s)
    levels = [stamp.mark - typical_s * stamp.number for stamp in known]  # constant where the rate is steady
    if sound and len(levels) > 2:
        slack_s = max(slack_s, _SLACK_SOUND * median(abs(b - a) for a, b in pairwise(levels)))
    n, first = len(known), 0 if base is None else 1
    # The best explanation in which known[i] is right: its cost, the right one before it, and the verdict on it.
    cost, back, verdict = [math.inf] * n, [-1] * n, ["right"] * n
    if base is not None:
        cost[0] = 0.0
    for j in range(first, n):
        if known[j].number in misplaced:
            continue
        if base is None:
            cost[j] = _WRONG * j
        for i in range(j):
            off = levels[j] - levels[i]
            anew = off < -slack_s or known[j].mark > max(known[i].mark, newest) + leap_s
            gap = _GAP if known[j].mark - known[i].mark < _LONG_S else _LONG_GAP
            step = _RESTART if anew else gap if off > slack_s else min(abs(off), 1e-3)
            wrong = j - i - 1
            if wrong:
                step += _WRONG + (wrong - 1) * (_WRONG_TOO if abs(off) <= slack_s else _WRONG)
            if cost[i] + step < cost[j]:
                cost[j], back[j], verdict[j] = cost[i] + step, i, "anew" if anew else "right"
    verdicts = ["wrong"] * n
    at = min(range(n), key=lambda j: cost[j] + _WRONG * (n - 1 - j))
    while at >= first and cost[at] < math.inf:
        verdicts[at] = verdict[at]
        at = back[at]
    return verdicts[first:]


def _sorted_out(stamps: list[_Stamp]) -> list[_Stamp]:
    """The stamps, with an unknown decoding time not later than the next one that is known, as in Matroska's first ones.

    There, FFmpeg makes decoding times of the display times, for which it has to see some of these.
    """
    out, limit = [], math.inf
    for stamp in reversed(stamps):
        limit = limit if stamp.loose else stamp.mark
        out.append(stamp._replace(mark=min(stamp.mark, limit)) if stamp.loose else stamp)
    return out[::-1]


def _misplaced(stamps: list[_Stamp], reorder_s: float) -> set[int]:
    """Numbers of pictures whose display time those decoded well before or after them contradict.

    A display time far from the decoding time proves nothing. Decoding times are made of the sorted display times, some
    frames late, so that the first frames after a pause are put off by as long as the pause is.
    """
    put_off = median(stamp.show - stamp.mark for stamp in stamps)
    plain = [abs(stamp.show - stamp.mark - put_off) <= reorder_s for stamp in stamps]
    sure = [stamp for stamp, good in zip(stamps, plain, strict=True) if good]
    return {
        stamp.number
        for stamp, good in zip(stamps, plain, strict=True)
        if not good and any(_contradict(stamp, other) or _contradict(other, stamp) for other in sure)
    }


def _far(stamp: _Stamp, line: _Line) -> bool:
    """Whether pictures decoded well before or after this one contradict its display time."""
    before = any(stamp.number - each.number > _MIXED and each.show > stamp.show for each in line.believed)
    return before or any(each.number - stamp.number > _MIXED and each.show < stamp.show for each in line.waiting)


def _contradict(one: _Stamp, later: _Stamp) -> bool:
    """Whether the later one in the file is shown earlier, though too many packets are between them."""
    return later.number - one.number > _MIXED and later.show < one.show and later.mark > one.mark
