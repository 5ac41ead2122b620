"""Packets without content for tests of the clock: only their times, which are wrong in a known way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace

from avgate.core.timeline import LONGEST_S
from avgate.media.clock import Clock

MS = Fraction(1, 1000)
VIDEO, SOUND = SimpleNamespace(index=0, type="video"), SimpleNamespace(index=1, type="audio")


@dataclass
class Stamped:
    """A packet: what the clock asks of it, and its true time in seconds."""

    stream: SimpleNamespace
    true_s: float
    pts: int | None
    dts: int | None
    duration: int
    is_discard: bool = False
    size: int = 100
    time_base: Fraction = MS

    @property
    def time_s(self) -> float | None:
        """Seconds, as the packet's display time says them."""
        return None if self.pts is None else float(self.pts * MS)


def stream(kind: SimpleNamespace, true_s: Iterable[float], duration_s: float) -> list[Stamped]:
    """Packets of one stream, at times in seconds."""
    return [Stamped(kind, t, round(1000 * t), round(1000 * t), round(1000 * duration_s)) for t in true_s]


def steady(seconds: float, start_s: float = 0.0, fps: float = 25, sound_s: float = 0.02) -> list[Stamped]:
    """A picture and sound at steady rates, in the order of time."""
    video = stream(VIDEO, (start_s + i / fps for i in range(round(seconds * fps))), 1 / fps)
    sound = stream(SOUND, (start_s + i * sound_s for i in range(round(seconds / sound_s))), sound_s)
    return sorted(video + sound, key=lambda packet: packet.true_s)


def reordered(packets: Sequence[Stamped], put_off_s: float = 0.08) -> list[Stamped]:
    """The same with pictures in the order of decoding, where two of three are shown before one that precedes them."""
    video = [packet for packet in packets if packet.stream is VIDEO]
    whole = len(video) // 3 * 3
    after = iter([video[i + (2, -1, -1)[i % 3]] if i < whole else video[i] for i in range(len(video))])
    out = []
    for packet in packets:
        if packet.stream is VIDEO:
            out.append(replace(next(after), dts=packet.pts - round(1000 * put_off_s)))
        else:
            out.append(packet)
    return out


def off(packets: Iterable[Stamped], wrong: Callable[[Stamped, int], float]) -> list[Stamped]:
    """The packets with stamps that are `wrong(packet, its number in its stream)` seconds later than the truth."""
    numbers, out = {0: 0, 1: 0}, []
    for packet in packets:
        late = round(1000 * wrong(packet, numbers[packet.stream.index]))
        numbers[packet.stream.index] += 1
        out.append(replace(packet, pts=packet.pts + late, dts=packet.dts + late))
    return out


def corrected(
    packets: Sequence[Stamped], starts_over: bool = False, guessed: bool = False
) -> tuple[list[Stamped], Clock]:
    """The packets as the clock corrects them, and the clock."""
    clock = Clock(0.0, 10.0 if starts_over else LONGEST_S, starts_over, guessed)
    return [packet for packet, _ in clock.correct([replace(packet) for packet in packets])], clock
