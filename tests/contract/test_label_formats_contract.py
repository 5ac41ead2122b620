"""What every label format promises. A new one in LABEL_FORMATS is covered without a new test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avgate.core.errors import CorpusError
from avgate.core.types import LabelTrack
from avgate.labels.formats import LABEL_FORMATS, label_format, read_labels, write_labels

VALUE_ERROR = 5e-6
"""Six decimals, held in 32-bit floats."""
TIME_ERROR = 5.1e-4
"""Half a millisecond: what the coarsest clocks round to."""

FORMATS = pytest.mark.parametrize("chosen", LABEL_FORMATS, ids=lambda f: f.name)


@st.composite
def sampled(draw: st.DrawFn) -> LabelTrack:
    """Labels at any whole rate from 1 to 60 per second from 0 on, some unknown: what every format can hold.

    The first and last label are known, and whoever is unknown is so in all targets, as some formats leave out the rest.
    """
    n, k, rate = draw(st.integers(2, 40)), draw(st.integers(1, 3)), draw(st.integers(1, 60))
    number = st.floats(-1, 1, width=32)
    values = draw(arrays(np.float32, (n, k), elements=number))
    unknown = draw(arrays(bool, n))
    unknown[[0, -1]] = False
    values[unknown] = np.nan
    return LabelTrack(np.arange(n) / rate, values, ("valence", "arousal", "dominance")[:k])


def read_all(files: list[Path], labels: LabelTrack) -> list[LabelTrack]:
    names = labels.targets if len(files) > 1 else (labels.targets[0],) if len(labels.targets) == 1 else (None,)
    return [read_labels(f, frames=lambda: labels.time_s, target=n) for f, n in zip(files, names, strict=True)]


@FORMATS
@given(labels=sampled())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path, chosen, labels):
    parts = read_all(write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name), labels)
    assert sum((part.targets for part in parts), ()) == labels.targets
    for part in parts:
        column = [labels.targets.index(t) for t in part.targets]
        known = ~np.isnan(labels.values).any(1)
        found = np.array([np.argmin(np.abs(part.time_s - t)) for t in labels.time_s[known]])
        assert np.abs(part.time_s[found] - labels.time_s[known]).max() <= TIME_ERROR
        assert np.abs(part.values[found] - labels.values[known][:, column]).max() <= VALUE_ERROR
        # Nothing is known that wasn't before.
        assert (~np.isnan(part.values).all(1)).sum() == known.sum()


@FORMATS
def test_a_value_ends_where_the_next_one_begins_if_the_format_holds_intervals(tmp_path, chosen):
    labels = LabelTrack(np.arange(5) / 4, np.linspace(-1, 1, 5, dtype=np.float32)[:, None], ("valence",))
    (part,) = read_all(write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name), labels)
    if part.until_s is not None:
        assert part.until_s == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25], abs=TIME_ERROR)


@FORMATS
def test_names_that_a_spreadsheet_would_run_are_read_back_and_run_by_none(tmp_path, chosen):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 2), np.float32), ("=x", "-y"))
    files = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    if chosen.name != "affwild2":  # which takes only names of letters
        assert sum((part.targets for part in read_all(files, labels)), ()) == labels.targets
    for file in files:
        if file.suffix in (".csv", ".txt"):
            assert not any(cell.startswith(("=", "-y")) for cell in file.read_text().replace("\n", ",").split(","))


@FORMATS
def test_files_of_several_targets_are_one_or_one_each(tmp_path, chosen):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 2), np.float32), ("valence", "arousal"))
    files = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    names = [f.name for f in files]
    assert names == (
        [f"clip.valence{chosen.suffix}", f"clip.arousal{chosen.suffix}"] if chosen.single else [f"clip{chosen.suffix}"]
    )


@FORMATS
@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\xff\xfe\x00garbage", b"nonsense\nmore nonsense\n", b"time_s,valence\n", b"<?xml"],
    ids=str,
)
def test_a_broken_file_is_one_clear_error_that_names_it(tmp_path, chosen, content):
    path = tmp_path / f"broken{chosen.suffix}"
    path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        chosen.read(path, lambda: np.arange(3.0))
    assert str(path.name) in str(error.value)
    assert error.value.hint


@FORMATS
def test_every_cut_of_a_file_is_read_or_refused_clearly(tmp_path, chosen):
    labels = LabelTrack(np.arange(4) / 2, np.full((4, 1), 0.5, np.float32), ("valence",))
    (path,) = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        for end in range(0, len(whole), max(1, len(whole) // 60)):
            file.write_bytes(whole[:end])
            try:
                found = read_labels(path, frames=lambda: labels.time_s)
            except CorpusError:
                continue
            assert len(found.time_s) <= 4
            assert (np.isnan(found.values) | (np.abs(found.values) <= 1)).all()
        file.write_bytes(whole)


@FORMATS
def test_other_limits_bring_values_to_minus_one_to_one_unless_the_file_says_them_itself(tmp_path, chosen):
    labels = LabelTrack(np.arange(3) / 2, np.array([[0.0], [0.5], [1.0]], np.float32), ("valence",))
    (path,) = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    found = read_labels(path, frames=lambda: labels.time_s, limits=(0, 1))
    assert found.values[:, 0] == pytest.approx([0, 0.5, 1] if chosen.scaled else [-1, 0, 1])


def test_values_outside_the_limits_are_refused_with_their_time(tmp_path):
    path = tmp_path / "clip.csv"
    path.write_text("time_s,valence\n0,0\n1,50\n")
    with pytest.raises(CorpusError, match=r"valence at 1.00 s: 50 is not in \[-1, 1\]"):
        read_labels(path)
    assert read_labels(path, limits=(0, 100)).values[:, 0] == pytest.approx([-1, 0])


def test_no_format_takes_another_ones_files(tmp_path):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 1), np.float32), ("valence",))
    for chosen in LABEL_FORMATS:
        (path,) = write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
        takers = [f.name for f in LABEL_FORMATS if path.name.endswith(f.suffix) and f.recognises(path)]
        assert takers[0].removesuffix("-binary") == chosen.name.removesuffix("-binary")


def test_unknown_names_and_missing_files_are_told(tmp_path):
    with pytest.raises(CorpusError, match="no such label file"):
        read_labels(tmp_path / "clip.eaf")
    (tmp_path / "clip.docx").write_text("x")
    with pytest.raises(CorpusError, match=r"isn't a label file of a known format.*\n.*\.eaf \(elan\)"):
        read_labels(tmp_path / "clip.docx")
    with pytest.raises(Exception, match="did you mean 'elan'"):
        label_format("elam")


def test_a_file_of_several_targets_cant_be_one_target(tmp_path):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 2), np.float32), ("valence", "arousal"))
    (path,) = write_labels(labels, tmp_path / "clip.csv", "csv")
    with pytest.raises(CorpusError, match=r"several targets in it \(valence, arousal\)"):
        read_labels(path, target="dominance")


def test_labels_without_times_need_a_video(tmp_path):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 1), np.float32), ("valence",))
    write_labels(labels, tmp_path / "clip.txt", "affwild2")
    with pytest.raises(CorpusError, match="the file has no times"):
        read_labels(tmp_path / "clip.txt")


@FORMATS
def test_an_existing_file_is_replaced(tmp_path, chosen):
    labels = LabelTrack(np.arange(3) / 2, np.zeros((3, 1), np.float32), ("valence",))
    write_labels(labels, tmp_path / f"clip{chosen.suffix}", chosen.name)
    before = sorted(p.name for p in tmp_path.iterdir())
    (path,) = write_labels(replace(labels, values=labels.values + 1), tmp_path / f"clip{chosen.suffix}", chosen.name)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert read_labels(path, frames=lambda: labels.time_s).values == pytest.approx(1)
