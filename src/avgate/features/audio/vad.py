"""Voice activity: is someone speaking? Silero's recurrent network, run from the ONNX file in the package silero-vad.

docs/voice-activity.md compares it with other detectors.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.errors import ModelFileError
from avgate.core.state import Stateful
from avgate.features.audio.chunks import Chunk
from avgate.features.onnx_file import load_onnxruntime

THRESHOLD = 0.5
"""Probability from which on a frame counts as speech; the one that the network's authors use."""

FRAME, FRAME_BEFORE = 512, 64
"""Samples that one probability is for (32 ms), and samples before them that the network also sees."""

_PART = 128
"""Samples from one probability to the next in the output (8 ms). A whole number of parts makes a second."""

_STATE = np.zeros((1, 1, 128), np.float32)
"""The network's memory (LSTM) before it has heard anything."""


class VoiceActivity(Stateful):
    """The probability of speech in the chunks of one clip, given in order.

    The network looks back only and remembers what it heard, so its memory goes on from chunk to chunk. It begins anew
    after a gap in the sound.
    """

    STATE = ("_end", "_next", "_state", "_previous")

    def __init__(self) -> None:
        self._end: int | None = None
        self._next, self._state = 0, (_STATE, _STATE)
        self._previous = np.zeros(0, np.float32)

    def __call__(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Hear the next chunk.

        Args:
            chunk: the one after the chunk of the previous call.

        Returns:
            Centres in samples from the chunk's first one, int64 [m], 8 ms apart; probabilities float32 [m], of which
            four in a row belong to one frame. Those within the chunk's core are valid.

        Raises:
            ModelFileError: the package silero-vad or its file is missing.
        """
        if chunk.core_start != self._end:
            self._next, self._state = chunk.core_start, (_STATE, _STATE)
            self._previous = np.zeros(0, np.float32)
        # The last frame of the previous chunk can reach into this one, as the last one here can into the next.
        start = self._next - len(self._previous) * FRAME
        heard = np.append(self._previous, self._hear(chunk)) if self._next < chunk.core_end else self._previous
        self._previous, self._end = heard[-1:], chunk.core_end
        probability = np.repeat(heard, FRAME // _PART)
        return start - chunk.start + np.arange(len(probability)) * _PART + _PART // 2, probability

    def _hear(self, chunk: Chunk) -> np.ndarray:
        """Probabilities of the frames that begin in the chunk's core and weren't heard yet."""
        n = -(-(chunk.core_end - self._next) // FRAME)
        first = self._next - chunk.start
        samples = chunk.samples[max(0, first - FRAME_BEFORE) : first + n * FRAME]
        before = max(0, FRAME_BEFORE - first)
        samples = np.pad(samples, (before, FRAME_BEFORE + n * FRAME - before - len(samples)))
        rows = np.lib.stride_tricks.sliding_window_view(samples, FRAME_BEFORE + FRAME)[::FRAME]
        given = {"input": rows, "h": self._state[0], "c": self._state[1]}
        probability, *self._state = _network().run(["speech_probs", "hn", "cn"], given)
        self._next += n * FRAME
        return probability


@cache
def _network() -> Any:
    """The network, loaded once per process."""
    onnxruntime = load_onnxruntime()
    # Only the file is used: the package's own code loads torch and sets it to one thread for the whole process.
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModelFileError("the package silero-vad is missing", hint="pip install silero-vad")
    path = Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    if not path.is_file():
        raise ModelFileError("this file of silero-vad is missing", where=path, hint="pip install -U silero-vad")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
