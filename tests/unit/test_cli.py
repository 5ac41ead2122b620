"""The command line answers at once."""

from __future__ import annotations

import subprocess
import sys


def test_help_of_the_command_line_comes_without_loading_torch_or_mediapipe():
    code = "import sys; from avgate.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'mediapipe', 'cv2', 'av'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    for verb in ("predict", "train", "evaluate", "extract", "render", "report", "demo"):
        assert verb in said
