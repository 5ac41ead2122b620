"""Several recordings at the same time: the same results as one after the other, and each failure told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avgate import Predictor
from avgate.cli import main
from avgate.corpora.rendered import Rendered
from tests.clips import tone
from tests.recordings import write_sound


def test_an_estimate_is_the_same_to_the_bit_with_any_number_of_threads(tmp_path):
    """One recording alone has all cores, and several at a time one each."""
    sound = write_sound(tmp_path / "a.wav", tone(1.0, 16_000))  # so short that threads would share its sums otherwise
    predictor, before = Predictor(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(predictor(sound).raw)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for name, values in found[0].items():
        assert all(np.array_equal(values, other[name]) for other in found), name


@pytest.mark.slow
def test_recordings_predicted_in_several_processes_give_the_same_bytes_and_failures(
    corpus, checkpoint, tmp_path, capfd
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    videos = [str(clip.video) for clip in Rendered(corpus).clips()[:2]]
    given = ["predict", videos[0], str(broken), videos[1], "--checkpoint", str(checkpoint)]
    said = {}
    for jobs in ("1", "2"):
        with pytest.raises(SystemExit) as ended:
            main([*given, "--out", str(tmp_path / jobs), "--jobs", jobs])
        assert ended.value.code == 1
        said[jobs] = capfd.readouterr().err.replace(str(tmp_path / jobs), "OUT")
    assert "1 of 3 recordings failed" in said["2"]
    assert sorted(said["1"].splitlines()) == sorted(said["2"].splitlines()), "all is told, in any order"
    names = sorted(path.name for path in (tmp_path / "1").iterdir() if path.is_file())
    assert len(names) == 8
    assert names == sorted(path.name for path in (tmp_path / "2").iterdir() if path.is_file())
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
