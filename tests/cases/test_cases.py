"""Files beside the project, that users had trouble with, give their right values; `make cases` prints a table."""

from __future__ import annotations

import pytest

from tests.cases.table import CASES


@pytest.mark.slow  # every kind has faster tests of its own, which make their own input
@pytest.mark.usefixtures("any_face_model")
@pytest.mark.parametrize("case", CASES, ids=[f"{case.room}/{case.name}" for case in CASES])
def test_the_right_value_is_found(cases_dir, case):
    found, holds = case.look_in(cases_dir)
    if holds is None:
        pytest.skip(found)
    assert holds, f"right: {case.right}; found: {found}"


def test_every_file_beside_the_project_is_looked_at(cases_dir):
    looked_at = {f"{case.room}/{case.name.rstrip('/')}" for case in CASES}
    there = {f"{path.parent.name}/{path.name}" for path in cases_dir.glob("*/*") if not path.name.endswith("~")}
    assert there == looked_at
