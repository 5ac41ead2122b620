"""Keeping pace: a file is played by the clock, and a machine that is too slow looks and listens less often."""

from __future__ import annotations

import time
from collections.abc import Callable

LATE_S = 0.1
"""A frame that waits for longer than this has its face skipped, and so have the next ones until there is no backlog."""

MOST_LATE_S = 2 * LATE_S
"""Up to here, one face is looked at in every step all the same, so that the estimate isn't without one for long. Above,
sound is analysed less often, too."""

LISTEN_S = 0.5
"""Seconds between two analyses of sound then. Each looks back as far, as a rule, so that nothing goes unheard."""

CAUGHT_UP_S = 0.02
"""Lateness that counts as none."""

STALLED_S = 1.0
"""A file that is played even later than this is stopped until the machine has caught up; a camera can't be."""


class Pace:
    """Decides in which frames the face is looked for and how often sound is analysed, so that what waits never grows.

    Args:
        step_s: length of the model's steps in seconds.

    Attributes:
        frames: how many frames there were.
        skipped: how many of their faces were skipped.
    """

    def __init__(self, step_s: float):
        self.frames = self.skipped = 0
        self._step_s, self._behind, self._far_behind = step_s, False, False
        self._looked_s = -float("inf")
        self._spare_s = 0.0

    def every(self, length_s: float, late_s: float) -> int:
        """Of how many steps of sound one is to be analysed.

        Args:
            length_s: length of the next piece of sound. Results wait for such pieces anyway, so all may wait as long.
            late_s: how long the piece has been waiting.
        """
        self._spare_s = length_s
        self._far_behind = late_s - length_s > (CAUGHT_UP_S if self._far_behind else MOST_LATE_S)
        return max(1, round(LISTEN_S / self._step_s)) if self._far_behind else 1

    def looks(self, time_s: float, late_s: float) -> bool:
        """Whether to look for the face in the next frame.

        Args:
            time_s: the frame's time in seconds.
            late_s: how long the frame has been waiting.
        """
        self.frames += 1
        late_s -= self._spare_s
        self._behind = late_s > (CAUGHT_UP_S if self._behind else LATE_S)
        # Rounding must not make a step of 0.1 s longer than 0.1 s between two frames.
        due = time_s - self._looked_s >= self._step_s - 1e-6 and late_s <= MOST_LATE_S
        if self._behind and not due:
            self.skipped += 1
            return False
        self._looked_s = time_s
        return True


class Playback:
    """The clock of a recording that is played; it starts when the first piece is waited for.

    Args:
        speed: 2 is twice as fast; 0 is as fast as the machine can, where nothing is ever late.
        clock: gives the time in seconds, for tests.
        sleep: waits for so many seconds, for tests.

    Attributes:
        stopped_s: for how long the playing was stopped, because the machine couldn't follow.
    """

    def __init__(
        self,
        speed: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.speed, self.clock, self.stopped_s = speed, clock, 0.0
        self._sleep, self._start_s = sleep, None if speed else 0.0

    def due_s(self, time_s: float) -> float:
        """When something of that time in the recording is played, on the clock; now, where the speed is 0."""
        if not self.speed:
            return self.clock()
        if self._start_s is None:
            self._start_s = self.clock() - time_s / self.speed
        return self._start_s + time_s / self.speed

    def wait(self, time_s: float) -> float:
        """Wait until something of that time in the recording is played.

        Returns:
            How many seconds too late it is.
        """
        early_s = self.due_s(time_s) - self.clock()
        if early_s > 0:
            self._sleep(early_s)
        late_s = max(0.0, self.clock() - self.due_s(time_s))
        if late_s > STALLED_S and self._start_s is not None:
            self._start_s += late_s
            self.stopped_s += late_s
            return 0.0
        return late_s
