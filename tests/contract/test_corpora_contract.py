"""What every corpus promises; a new one in CORPORA adds how its folder is made to FOLDERS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avgate.core.errors import CorpusError, UsageError
from avgate.core.types import Clip
from avgate.corpora import CORPORA, open_corpus
from avgate.corpora.base import Corpus
from tests.affwild2 import write_affwild2
from tests.dialogues import write_hazumi
from tests.open_corpora import write_cremad, write_emodb, write_ravdess
from tests.own_corpus import write_own_corpus


def rendered(root: Path) -> None:
    from avgate.corpora.rendered import RenderConfig, render

    render(root, RenderConfig(identities=3, clips_per_identity=1, seconds=1.0), workers=1)


def hazumi(root: Path) -> None:
    write_hazumi(root)


def manifest(root: Path) -> None:
    write_own_corpus(root)


def affwild2(root: Path) -> None:
    write_affwild2(root)


FOLDERS: dict[str, Callable[[Path], None]] = {
    "rendered": rendered,
    "hazumi": hazumi,
    "affwild2": affwild2,
    "cremad": write_cremad,
    "emodb": write_emodb,
    "ravdess": write_ravdess,
    "manifest": manifest,
}


@pytest.fixture(scope="module", params=CORPORA)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp(request.param)
    FOLDERS[request.param](root)
    return open_corpus(request.param, root)


def labelled(corpus: Corpus) -> list[Clip]:
    return [clip for clip in corpus.clips() if clip.labels is not None]


def test_clips_have_unique_names_and_existing_files(corpus):
    clips = corpus.clips()
    assert len({clip.name for clip in clips}) == len(clips) > 0
    assert all(clip.video.is_file() and clip.labels.is_file() for clip in clips if clip.labels is not None)
    assert not any(set(clip.name) & set("/\\\0") for clip in clips)


def test_splits_are_all_there_and_share_no_group(corpus):
    groups = {split: {c.group for c in corpus.clips() if c.split == split} for split in ("train", "validation", "test")}
    assert all(groups.values())
    assert sum(map(len, groups.values())) == len(set.union(*groups.values()))


def test_labels_are_of_the_corpus_targets_in_range_and_in_time_order(corpus):
    for clip in labelled(corpus):
        labels = corpus.labels(clip)
        assert labels.targets == corpus.targets
        assert labels.values.shape == (len(labels.time_s), len(corpus.targets))
        assert np.nanmax(np.abs(labels.values)) <= 1
        assert (np.diff(labels.time_s) > 0).all()


def test_features_that_come_along_are_finite_where_present_and_cover_the_labels(corpus):
    kinds = set()
    for clip in labelled(corpus):
        tracks, times_s = corpus.tracks(clip), corpus.labels(clip).time_s
        for track in tracks or []:
            assert np.isfinite(track.values[track.present]).all()
            assert np.isnan(track.values[~track.present]).all()
            step = track.grid.index(times_s)
            assert step.min() >= 0
            assert step.max() < len(track.present)
        kinds.add(None if tracks is None else tuple((t.modality, t.backbone, t.columns, t.fingerprint) for t in tracks))
    assert len(kinds) == 1


@pytest.mark.parametrize("name", CORPORA)
def test_a_folder_that_is_none_is_refused_with_what_to_do(name, tmp_path):
    with pytest.raises(CorpusError, match="->"):
        open_corpus(name, tmp_path / "nothing")


def test_an_unknown_kind_is_answered_with_what_there_is(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'rendered'"):
        open_corpus("renderd", tmp_path)
