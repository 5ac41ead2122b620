"""`avgate benchmark` after features were extracted again or labels were changed: no old result comes back."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from avgate.cli import main
from avgate.features.store import FeatureStore, read_track, source_fingerprint
from tests.own_corpus import write_own_corpus

SETTINGS = ("train.epochs=1", "window_s=2.0", "hop_s=1.0", "tuning=()", "smooth_s=(0.0,)")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    found = write_own_corpus(tmp_path / "corpus")
    extract(found, 8)
    return found


def extract(manifest: Path, bands: int, *more: str) -> None:
    """Log-mel features with so many bands."""
    where = ["--corpus", "manifest", "--data", str(manifest), "--recipe", "smoke", "--workers", "1"]
    main(["extract", *where, *more, "--set", f'backbones=("logmel?bands={bands}",)'])


def trained_now(manifest: Path, out: Path, bands: int, *more: str) -> bool:
    """Compare; whether the only training was done anew, which leaves another file."""
    (run,) = list(out.glob("runs/*")) or [None]
    before = run and run.stat().st_mtime_ns
    args = ["--data", str(manifest), "--out", str(out), "--recipe", "smoke", "--folds", "0", "--seeds", "1"]
    args += ["--fusions", "audio", "--reference", "audio", "--workers", "1", *more]
    main(["benchmark", "manifest", *args, "--set", f'backbones=("logmel?bands={bands}",)', *SETTINGS])
    (run,) = out.glob("runs/*")
    return run.stat().st_mtime_ns != before


@pytest.mark.long
def test_features_that_were_extracted_with_another_setting_are_trained_on_anew(manifest, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    assert trained_now(manifest, out, 8)
    assert not trained_now(manifest, out, 8)
    extract(manifest, 6)
    capsys.readouterr()
    assert trained_now(manifest, out, 6), "of the same store"
    assert "1 of the trainings in" in " ".join(capsys.readouterr().err.split())
    extract(manifest, 4, "--store", str(other))
    assert trained_now(manifest, out, 4, "--store", str(other)), "of another store"
    moved = shutil.copytree(other, tmp_path / "moved")
    assert not trained_now(manifest, out, 4, "--store", str(moved)), "a store that was moved holds the same"


@pytest.mark.slow  # test_kept_trainings.py shows the same of made-up features
def test_features_of_the_same_name_and_setting_with_other_values_are_trained_on_anew(manifest, tmp_path):
    """As another face model, other weights at the same path or a repaired video leave them."""
    assert trained_now(manifest, tmp_path / "out", 8)
    video = manifest.parent / "videos" / "clip0.mp4"
    (path,) = (manifest.parent / "features").glob("*/clip0.safetensors")
    track = read_track(path)
    store = FeatureStore(manifest.parent / "features")
    store.write("clip0", path.parent.name, replace(track, values=track.values + 1), source_fingerprint(video))
    assert trained_now(manifest, tmp_path / "out", 8)
    assert not trained_now(manifest, tmp_path / "out", 8)


@pytest.mark.slow
def test_changed_labels_are_trained_on_anew(manifest, tmp_path):
    assert trained_now(manifest, tmp_path / "out", 8)
    file = manifest.parent / "labels" / "clip0.csv"
    with file.open(newline="") as table:
        rows = list(csv.reader(table))
    rows[5][1] = "0.123"
    with file.open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    assert trained_now(manifest, tmp_path / "out", 8)
    assert not trained_now(manifest, tmp_path / "out", 8)
