"""Whether a model's reliability follows people's votes, and which clips are taken."""

from __future__ import annotations

import numpy as np
import pytest

from avgate.apps.cremad import Row, followed, reliability_table, spread, voice_over_face
from avgate.core.errors import UsageError
from avgate.corpora.cremad import CremaD
from tests.open_corpora import write_cremad

PEOPLE = np.random.default_rng(0).uniform(-1, 1, 200)


def rows(model: np.ndarray) -> list[Row]:
    pairs = zip(model.tolist(), PEOPLE.tolist(), strict=True)
    return [Row(f"clip{i}", f"actor{i % 20}", mine, people) for i, (mine, people) in enumerate(pairs)]


@pytest.mark.slow
def test_a_model_that_relies_on_what_people_rely_on_correlates_whatever_its_scale():
    found = followed(rows(0.1 * PEOPLE**3))
    assert found["correlation"] == pytest.approx(1)
    assert found["interval"] == pytest.approx([1, 1])
    assert (found["clips"], found["actors"]) == (200, 20)
    assert followed(rows(-PEOPLE))["correlation"] == pytest.approx(-1)


@pytest.mark.slow
def test_a_model_that_relies_on_either_sense_at_random_does_not():
    found = followed(rows(np.random.default_rng(1).uniform(-1, 1, 200)))
    low, high = found["interval"]
    assert low < 0 < high
    assert f"| {found['correlation']:+.2f} [{low:+.2f}, {high:+.2f}] |" in reliability_table({"some": found})


def test_people_rely_on_the_sense_whose_votes_are_those_for_both(tmp_path):
    write_cremad(tmp_path)
    votes = CremaD(tmp_path).votes["1001_IEO_ANG_HI"]
    # All ten heard and saw anger; eight heard it, and six saw it.
    assert voice_over_face(votes) == pytest.approx(0.8 - 0.6)
    assert voice_over_face({**votes, "voice": votes["face"]}) == pytest.approx(0)


def test_a_selection_of_clips_is_spread_over_the_actors(tmp_path):
    write_cremad(tmp_path)
    clips = CremaD(tmp_path).clips()
    few = spread(clips, 10)
    assert len({clip.group for clip in few}) == len(few) == 10
    assert [clip for clip in clips if clip in few] == few
    assert spread(clips, None) == spread(clips, 1000) == clips
    with pytest.raises(UsageError, match="1 clip or more"):
        spread(clips, 0)
