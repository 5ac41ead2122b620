"""openSMILE's low-level descriptors of eGeMAPSv02, without the functionals that its own settings add."""

from __future__ import annotations

from collections import deque
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from avgate.core.types import SAMPLE_RATE

_SETTINGS = Path(__file__).with_name("egemaps.conf")
"""openSMILE's own files of the descriptors, put together: the same numbers, a fifth sooner for a second of sound."""

_RUNS = 1000
"""Runs after which a new instance is made, since the wrapper keeps a callback of each run."""

_ROWS = 1000
"""Rows that openSMILE hands to Python at once. It runs without the GIL: one row at a time, its default, it waits for
the GIL a hundred times per second of sound, and a busy Python thread beside it makes it twenty times slower."""


def low_level_descriptors(samples: np.ndarray) -> np.ndarray:
    """The descriptors of a stretch of sound, one row for each 10 ms, as openSMILE gives them; from any thread.

    Args:
        samples: float32 [n] in [-1, 1) at 16 kHz, at least 100 ms.

    Returns:
        float32 [m 25].
    """
    try:
        instance = _idle.pop()
    except IndexError:
        instance = _Instance()
    rows = instance(samples)
    if instance.runs < _RUNS:
        _idle.append(instance)
    else:
        instance.free()
    return rows


@cache
def _binding() -> tuple[Any, Path]:
    """OpenSMILE's own binding to its library, and the folder of its settings.

    The rest of the package needs pandas, which takes longer to load than half a minute of sound to analyse.
    """
    package = find_spec("opensmile")
    assert package is not None
    assert package.origin is not None
    core = Path(package.origin).parent / "core"
    spec = spec_from_file_location("opensmile_binding", core / "lib.py")
    assert spec is not None
    assert spec.loader is not None
    binding = module_from_spec(spec)
    spec.loader.exec_module(binding)
    return binding, core / "config"


class _Instance:
    """openSMILE, set up once and reset after each run: to set it up takes as long as half a second of sound."""

    def __init__(self) -> None:
        binding, own = _binding()
        files = {
            "source": "shared/standard_external_wave_input.conf.inc",
            "gemaps": "gemaps/v01b/GeMAPSv01b_core.lld.conf.inc",
            "egemaps": "egemaps/v02/eGeMAPSv02_core.lld.conf.inc",
            "sink": "shared/standard_external_data_output_single.conf.inc",
            "bufferModeConf": "shared/BufferMode.conf.inc",
            "bufferModeRbConf": "shared/BufferModeRb.conf.inc",
            "bufferModeRbLagConf": "shared/BufferModeRbLag.conf.inc",
        }
        options: dict[str, Any] = {option: own / file for option, file in files.items()}
        options |= {"sampleRate": SAMPLE_RATE, "nBits": 16, "sinkLevel": "lld", "blockSize": _ROWS}
        self._smile, self.runs = binding.OpenSMILE(), 0
        self._smile.initialize(str(_SETTINGS), options)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """See low_level_descriptors."""
        rows: list[np.ndarray] = []
        if self.runs:
            self._smile.reset()
        self.runs += 1
        self._smile.external_sink_set_callback_ex("extsink", lambda data, _: rows.append(data.copy()))
        self._smile.external_audio_source_write_data("extsource", (samples * 32768).astype(np.int16).tobytes())
        self._smile.external_audio_source_set_eoi("extsource")
        self._smile.run()
        found = np.concatenate(rows)
        rows.clear()  # which the callback holds on to
        return found

    def free(self) -> None:
        """Give back what openSMILE holds outside Python."""
        self._smile.free()


_idle: deque[_Instance] = deque()
"""Instances that nobody uses now; as many as ran at once at most."""
