"""Features on disk: what was written is what is read, and nothing else is ever taken for it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from avgate.core.errors import FeatureError, OutputError
from avgate.core.sealed import write_sealed
from avgate.core.timeline import Grid
from avgate.features.store import FeatureStore, source_fingerprint
from tests.tiny import disk_full_after, make_track

KEY, SOURCE = "tinyvoice-0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def manifest_rows(store):
    with store.write_manifest().open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_track_comes_back_bit_by_bit_with_its_unknown_rows(store):
    active = np.linspace(0, 1, 30, dtype=np.float32)
    written = make_track("audio", 30, absent=range(5, 12), grid=Grid(10.0, -0.25), active=active)
    store.write("clip", KEY, written, SOURCE)
    read = store.read("clip", KEY)

    assert read.values.dtype == np.float32
    np.testing.assert_array_equal(read.values, written.values)
    np.testing.assert_array_equal(read.present, written.present)
    np.testing.assert_array_equal(read.active, active)
    assert np.isnan(read.values[5:12]).all()
    for name in ("grid", "backbone", "modality", "columns", "fingerprint"):
        assert getattr(read, name) == getattr(written, name)


def test_a_backbone_that_cannot_tell_voice_activity_still_cannot_afterwards(store):
    store.write("clip", KEY, make_track("video", 4), SOURCE)

    assert store.read("clip", KEY).active is None


def test_features_that_were_not_extracted_are_missed_with_the_next_step(store):
    assert not store.has("clip", KEY, SOURCE)
    with pytest.raises(FeatureError, match="have not been extracted") as caught:
        store.read("clip", KEY)
    assert caught.value.where == str(store.path("clip", KEY))
    assert "avgate extract" in caught.value.hint


def test_features_of_another_media_file_or_parameter_set_are_not_reused(store):
    store.write("clip", KEY, make_track("audio", 4), SOURCE)

    assert store.has("clip", KEY, SOURCE)
    assert not store.has("clip", KEY, "another source!!")
    assert not store.has("clip", "tinyvoice-otherparameters", SOURCE)
    assert not store.has("another clip", KEY, SOURCE)


def test_features_of_another_clip_are_never_taken_for_this_ones(store):
    path = store.write("clip", KEY, make_track("audio", 4), SOURCE)
    path.rename(store.path("renamed", KEY))

    assert not store.has("renamed", KEY, SOURCE), "so that they're extracted again"
    with pytest.raises(FeatureError, match="features of another clip: 'clip'") as caught:
        store.read("renamed", KEY)
    assert caught.value.where == str(store.path("renamed", KEY))
    assert "avgate extract" in caught.value.hint


def test_features_without_a_row_are_neither_kept_nor_read(store):
    with pytest.raises(FeatureError, match="no step of 'tinyvoice' features") as caught:
        store.write("clip", KEY, make_track("audio", 0), SOURCE)
    assert caught.value.where == "clip"

    path = store.write("clip", KEY, make_track("audio", 4), SOURCE)
    with safe_open(path, "np") as file:  # as a version before 0.3 may have written it
        save_file({name: x[:0] for name, x in load_file(path).items()}, path, {"avgate": file.metadata()["avgate"]})
    assert not store.has("clip", KEY, SOURCE)
    with pytest.raises(FeatureError, match="it holds no row"):
        store.read("clip", KEY)


def test_a_damaged_file_is_told_apart_from_one_that_is_missing_or_of_another_recording(store):
    path = store.write("clip", KEY, make_track("audio", 4), SOURCE)
    assert store.damage("clip", KEY) is None
    assert store.damage("another clip", KEY) is None
    path.write_bytes(path.read_bytes() + b"\0")
    assert "it is damaged" in store.damage("clip", KEY).what


def test_writing_again_replaces_what_was_there(store):
    store.write("clip", KEY, make_track("audio", 4, seed=1), SOURCE)
    store.write("clip", KEY, make_track("audio", 9, seed=2), "new source")

    np.testing.assert_array_equal(store.read("clip", KEY).values, make_track("audio", 9, seed=2).values)
    assert not store.has("clip", KEY, SOURCE)
    assert store.has("clip", KEY, "new source")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def other_tensors(path):
    save_file({"values": np.zeros((3, 2), np.float32)}, path)


def checkpoint_like(path):
    save_file({"weights/head": np.zeros(3, np.float32)}, path, {"avgate": json.dumps({"format": 1})})


def header_is_no_table(path):
    save_file({"values": np.zeros((3, 2), np.float32)}, path, {"avgate": "[1, 2]"})


def header_of_another_version(path):
    save_file(
        {"values": np.zeros((3, 2), np.float32)}, path, {"avgate": json.dumps({"clip": "clip", "source": SOURCE})}
    )


def later_version(path, header=(), tensors=()):
    """Sealed and whole, with more in it than this version knows."""
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["avgate"]) | dict(header)
    write_sealed(path, save(load_file(path) | dict(tensors), {"avgate": json.dumps(about)}))


def another_seal(path):
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"seal":', b'"sael":'))


def folder(path):
    path.unlink()
    path.mkdir()


SPOILT = [
    pytest.param(lambda p: p.write_bytes(b""), id="empty"),
    pytest.param(lambda p: p.write_text("time,loudness\n0,1\n"), id="text"),
    pytest.param(truncate, id="truncated"),
    pytest.param(other_tensors, id="foreign safetensors"),
    pytest.param(checkpoint_like, id="checkpoint"),
    pytest.param(header_is_no_table, id="foreign header"),
    pytest.param(header_of_another_version, id="another version"),
    pytest.param(lambda p: later_version(p, {"unit": "percent"}), id="later version's header"),
    pytest.param(lambda p: later_version(p, (), {"scale": np.ones(3)}), id="later version's tensor"),
    pytest.param(another_seal, id="another seal"),
    pytest.param(folder, id="folder"),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_file_is_never_taken_for_features(store, spoil):
    path = store.write("clip", KEY, make_track("audio", 8), SOURCE)
    spoil(path)

    assert not store.has("clip", KEY, SOURCE), "so that it's extracted again"
    with pytest.raises(FeatureError, match="this isn't a feature file of avgate") as caught:
        store.read("clip", KEY)
    assert caught.value.where == str(path)
    assert "avgate extract" in caught.value.hint


@pytest.mark.parametrize("spoil", SPOILT[:-1])
def test_extracting_again_repairs_a_spoilt_file(store, spoil):
    path = store.write("clip", KEY, make_track("audio", 8), SOURCE)
    spoil(path)
    store.write("clip", KEY, make_track("audio", 8), SOURCE)

    assert store.has("clip", KEY, SOURCE)


def test_a_full_disk_leaves_the_old_features_and_no_half_written_file(store):
    old = make_track("audio", 8)
    path = store.write("clip", KEY, old, SOURCE)
    with disk_full_after(2000), pytest.raises(OutputError) as caught:
        store.write("clip", KEY, make_track("audio", 5000), "new source")

    assert caught.value.where == str(path)
    assert "disk" in caught.value.hint
    np.testing.assert_array_equal(store.read("clip", KEY).values, old.values)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_store_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "features").write_text("a file")

    with pytest.raises(OutputError, match="features"):
        FeatureStore(tmp_path / "features").write("clip", KEY, make_track("audio", 4), SOURCE)


def test_manifest_lists_every_track(store):
    store.write("b", KEY, make_track("audio", 8), SOURCE)
    store.write("a", KEY, make_track("audio", 5, rate=25.0), SOURCE)
    store.write("a", "tinyface-00", make_track("video", 3), "other")

    assert manifest_rows(store) == [
        {"clip": "a", "backbone": "tinyface", "key": "tinyface-00", "file": "tinyface-00/a.safetensors"}
        | {"rate": "10.0", "steps": "3", "source": "other"},
        {"clip": "a", "backbone": "tinyvoice", "key": KEY, "file": f"{KEY}/a.safetensors"}
        | {"rate": "25.0", "steps": "5", "source": SOURCE},
        {"clip": "b", "backbone": "tinyvoice", "key": KEY, "file": f"{KEY}/b.safetensors"}
        | {"rate": "10.0", "steps": "8", "source": SOURCE},
    ]


def test_manifest_keeps_clip_names_in_any_script(store):
    store.write("被験者1, take 2", KEY, make_track("audio", 2), SOURCE)

    assert [row["clip"] for row in manifest_rows(store)] == ["被験者1, take 2"]


def test_manifest_leaves_out_what_a_killed_or_running_extraction_left_behind(store):
    path = store.write("clip", KEY, make_track("audio", 8), SOURCE)
    path.with_name(".avgate-0123456789ab.safetensors").write_bytes(path.read_bytes())
    path.with_name(".avgate-ba9876543210.safetensors").write_bytes(path.read_bytes()[:100])
    path.with_name("spoilt.safetensors").write_bytes(b"")
    path.with_name("misnamed.safetensors").write_bytes(path.read_bytes().replace(b"clip", b"clap"))

    assert [row["clip"] for row in manifest_rows(store)] == ["clip"]


def test_find_gives_the_one_key_with_that_beginning(store):
    store.write("clip", "facemesh-aa-model1", make_track("video", 4), SOURCE)
    store.write("clip", "facemesh-bb-model1", make_track("video", 4), SOURCE)

    assert store.find("facemesh-bb") == "facemesh-bb-model1"


def test_find_says_what_to_run_where_nothing_was_extracted(store):
    with pytest.raises(FeatureError, match="no features 'facemesh-aa'") as caught:
        store.find("facemesh-aa")
    assert caught.value.where == str(store.root)
    assert "avgate extract" in caught.value.hint


def test_find_takes_what_fits_this_version_alone(store):
    for model in ("model-v1", "model-v2"):
        store.write("clip", f"facemesh-aa-{model}", make_track("video", 4), SOURCE)

    assert store.find("facemesh-aa", lambda key: key.endswith("-v2")) == "facemesh-aa-model-v2"
    with pytest.raises(
        FeatureError, match=r"only those of another version: facemesh-aa-model-v1, facemesh-aa-model-v2"
    ):
        store.find("facemesh-aa", lambda key: key.endswith("-v3"))


def test_features_of_another_recording_than_the_one_that_is_known_are_not_read(store):
    store.write("clip", KEY, make_track("audio", 4), SOURCE)

    assert len(store.read("clip", KEY, SOURCE).values) == 4
    with pytest.raises(FeatureError, match="features of another recording") as caught:
        store.read("clip", KEY, "another source!!")
    assert "avgate extract" in caught.value.hint


def test_a_manifest_that_is_right_is_not_written_again_and_one_that_is_not_is(store):
    store.write("a", KEY, make_track("audio", 4), SOURCE)
    manifest = store.write_manifest()
    right, stamp = manifest.read_bytes(), manifest.stat().st_ino
    assert store.write_manifest().stat().st_ino == stamp
    manifest.write_bytes(right + b"x")
    assert store.write_manifest().read_bytes() == right


def test_find_does_not_guess_between_two_face_models(store):
    for model in ("model1", "model2"):
        store.write("clip", f"facemesh-aa-{model}", make_track("video", 4), SOURCE)

    with pytest.raises(FeatureError, match="facemesh-aa-model1, facemesh-aa-model2") as caught:
        store.find("facemesh-aa")
    assert "delete" in caught.value.hint


MEGABYTE = 1 << 20


@pytest.fixture
def media(tmp_path):
    """A file's fingerprint with some of its bytes changed."""

    def written(size, changed=(), name="clip.mp4"):
        content = bytearray(np.random.default_rng(0).bytes(size))
        for i in changed:
            content[i] ^= 1
        (tmp_path / name).write_bytes(content)
        return source_fingerprint(tmp_path / name)

    return written


@pytest.mark.parametrize("size", [10, MEGABYTE, 4 * MEGABYTE])
def test_the_same_content_has_the_same_fingerprint_wherever_it_is(media, size):
    assert media(size) == media(size, name="renamed.mkv")
    assert len(media(size)) == 16


@pytest.mark.parametrize("at", [0, 500_000, MEGABYTE - 1])
def test_any_changed_byte_of_a_small_file_changes_its_fingerprint(media, at):
    assert media(MEGABYTE, [at]) != media(MEGABYTE)


@pytest.mark.parametrize("size", [10, 4 * MEGABYTE])
def test_a_file_that_grew_or_shrank_has_another_fingerprint(media, size):
    assert len({media(size - 1), media(size), media(size + 1)}) == 3


def test_two_empty_recordings_of_other_lengths_are_told_apart(tmp_path):
    for name, size in (("a", 4 * MEGABYTE), ("b", 5 * MEGABYTE)):
        (tmp_path / name).write_bytes(bytes(size))

    assert source_fingerprint(tmp_path / "a") != source_fingerprint(tmp_path / "b")


@pytest.mark.parametrize("share", [0, 1 / 15, 7 / 15, 1])
def test_changes_at_the_sampled_places_of_a_big_file_change_its_fingerprint(media, share):
    size = 4 * MEGABYTE
    at = int(share * (size - (1 << 16))) + 1000

    assert media(size, [at]) != media(size)


def test_a_big_file_encoded_anew_has_another_fingerprint(media):
    size = 4 * MEGABYTE

    assert media(size, range(size // 2, size // 2 + 300_000, 1000)) != media(size)


def test_a_single_byte_between_the_samples_of_a_big_file_goes_unnoticed(media):
    """The price of not reading whole corpora: changes shorter than the gaps between samples can be missed."""
    assert media(4 * MEGABYTE, [(1 << 16) + 1000]) == media(4 * MEGABYTE)


def test_links_to_nothing_in_a_folder_of_images_dont_count(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"image")
    before = source_fingerprint(tmp_path)
    (tmp_path / "b.jpg").symlink_to(tmp_path / "nowhere")
    assert source_fingerprint(tmp_path) == before
