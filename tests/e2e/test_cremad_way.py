"""CREMA-D from its label files and videos to its tables, from one command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from avgate import load_checkpoint
from avgate.cli import main
from avgate.core.errors import UsageError
from avgate.corpora.base import splits_of
from avgate.corpora.cremad import CremaD
from avgate.labels.categories import SOURCE
from tests.clips import make_clip, tone
from tests.conftest import SHARED
from tests.open_corpora import write_cremad

SMALL = (
    *("train.epochs=2", "train.batch=16", "window_s=2.0", "hop_s=2.0", "smooth_s=(0,)", "train.threads=1"),
    *("model.encoders.audio.channels=(8,)", "model.encoders.video.channels=(8,)", "model.fusion.iterations=1"),
)
FUSIONS = ("audio", "iaca", "rhgrjca")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, any_face_model: None) -> Path:
    """The real label files, and generated videos of 60 clips: ten of each of six actors, all parts of the splits."""
    from skimage.data import astronaut

    labels = SHARED / "data" / "cremad"
    if not labels.is_dir():
        pytest.skip("cremad is missing: no shared/data folder beside the project")
    root = tmp_path_factory.mktemp("cremad") / "clone"
    (root / "VideoFlash").mkdir(parents=True)
    for name in ("processedResults", "VideoDemographics.csv"):
        (root / name).symlink_to(labels / name)
    corpus = CremaD(root)
    splits = splits_of(corpus.sex)
    wanted = {"train": 3, "validation": 1, "test": 2}
    actors = {a for s, n in wanted.items() for a in [actor for actor in sorted(splits) if splits[actor] == s][:n]}
    names = [name for name in corpus.votes if name.split("_")[0] in actors]
    chosen = [name for actor in sorted(actors) for name in [n for n in names if n.startswith(actor)][:60:6]]
    face = np.ascontiguousarray(astronaut()[:300:2, 60:400:2])
    for i, name in enumerate(chosen):
        images = [np.roll(face, round(3 * np.sin(i + frame)), axis=1) for frame in range(10)]
        sound = [(0.0, tone(1.0, frequency=120 + 5 * i, level=0.2 + 0.01 * i))]
        make_clip(root / "VideoFlash" / f"{name}.flv", images, rate=10, codec="flv", sound=sound)
    return root


@pytest.mark.long  # test_open_corpora.py and test_cremad.py show the reader and the correlation, piece by piece
def test_reproduce_compares_fusions_and_says_whether_gates_follow_people(clone: Path, tmp_path, capsys):
    where = ["--data", str(clone), "--out", str(tmp_path), "--workers", "1", "--folds", "2"]
    main(["reproduce", "cremad", *where, "--fusions", *FUSIONS, "--set", *SMALL])
    said = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["clips"] == 60
    assert set(results["fusions"]) == set(FUSIONS)

    # The fusions that weigh their modalities are measured, on each clip once and with the votes of people.
    reliability = json.loads((tmp_path / "reliability.json").read_text())
    assert set(reliability) == {"iaca", "rhgrjca"}
    with (tmp_path / "reliability.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["fusion"] == "rhgrjca"]
    votes = CremaD(clone).votes
    assert len({row["clip"] for row in rows}) == len(rows) == reliability["rhgrjca"]["clips"] == 60
    assert len({row["actor"] for row in rows}) == reliability["rhgrjca"]["actors"] == 6
    for row in rows:
        v, f, b = (votes[row["clip"]][p].counts for p in ("voice", "face", "both"))
        shared = [np.minimum(x / x.sum(), b / b.sum()).sum() for x in (v, f)]
        assert float(row["people_voice_less_face"]) == pytest.approx(shared[0] - shared[1], abs=1e-6)
    assert f"| rhgrjca | 60 | {reliability['rhgrjca']['correlation']:+.2f} [" in said

    trained_on = load_checkpoint(tmp_path / "checkpoints" / "rhgrjca-seed0-fold0.safetensors").trained_on
    assert trained_on["emotion_map"].startswith(SOURCE)

    # Nothing is decoded or trained again, and fewer clips are a selection of them.
    main(["reproduce", "cremad", *where, "--fusions", *FUSIONS, "--set", *SMALL])
    assert capsys.readouterr().out == said
    small = ["--data", str(clone), "--out", str(tmp_path / "few"), "--workers", "1", "--folds", "0", "--clips", "18"]
    main(["reproduce", "cremad", *small, "--fusions", "rhgrjca", "--set", *SMALL])
    assert json.loads((tmp_path / "few" / "reliability.json").read_text())["rhgrjca"]["clips"] == 6


def test_what_another_corpus_has_is_refused(tmp_path, fails):
    where = ["--data", tmp_path, "--out", tmp_path / "out"]
    assert "--seeds: this option isn't for affwild2" in fails(2, "reproduce", "affwild2", *where, "--seeds", 2)
    assert "--sample: this option isn't for cremad" in fails(2, "reproduce", "cremad", *where, "--sample", "x.csv")
    write_cremad(tmp_path / "clone")
    for file in (tmp_path / "clone" / "VideoFlash").iterdir():
        file.unlink()
    where[1] = tmp_path / "clone"
    assert 'git lfs pull --include "VideoFlash/*"' in fails(7, "reproduce", "cremad", *where)
    assert "give 1 to" in fails(UsageError.exit_code, "reproduce", "cremad", *where, "--clips", 0)
