"""Files beside the project, that users had trouble with, give their right values; `make cases` prints a table."""

from __future__ import annotations

import pytest

from tests.cases.table import CASES

SLOW = ("face_and_muted_track.mp4", "right_channel_inverted.mov", "frames_closer_than_a_tick.mp4", "mpeg1_open_gop.mpg")
"""Files that take a second or more."""


def marked(case):
    slow = case.name in SLOW or case.room == "models"
    return pytest.param(case, id=f"{case.room}/{case.name}", marks=pytest.mark.slow if slow else ())


@pytest.mark.usefixtures("any_face_model")
@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_the_right_value_is_found(cases_dir, case):
    found, holds = case.look_in(cases_dir)
    if holds is None:
        pytest.skip(found)
    assert holds, f"right: {case.right}; found: {found}"


def test_every_file_beside_the_project_is_looked_at(cases_dir):
    looked_at = {f"{case.room}/{case.name.rstrip('/')}" for case in CASES}
    there = {f"{path.parent.name}/{path.name}" for path in cases_dir.glob("*/*") if not path.name.endswith("~")}
    assert there == looked_at
