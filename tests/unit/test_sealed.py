"""No changed bit of a file that avgate keeps is ever used: checkpoints, features, runs' states and outcomes."""

from __future__ import annotations

import copy
import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load, load_file, save, save_file

from avgate.compare.outcome import Outcome
from avgate.core.errors import CheckpointError, FeatureError
from avgate.core.sealed import read_header, read_sealed, write_sealed
from avgate.features.store import FeatureStore
from avgate.models.checkpoint import SHIPPED, load_checkpoint
from avgate.training.run_state import RunState
from tests.outcomes import outcome
from tests.tiny import make_checkpoint, make_track

KEY = "tinyvoice-00"


def checkpoint(folder):
    return make_checkpoint().save(folder / "checkpoint.safetensors")


def features(folder):
    return FeatureStore(folder).write("clip", KEY, make_track("audio", 8), "source")


def read_features(path):
    return FeatureStore(path.parents[1]).read("clip", KEY)


def state(folder):
    RunState.new({"recipe": "tiny"}, torch.nn.Linear(2, 1)).save(folder)
    return folder / "resume.safetensors"


def read_state(path):
    return RunState.load(path.parent, {"recipe": "tiny"})


KINDS = [
    pytest.param(checkpoint, load_checkpoint, id="checkpoint"),
    pytest.param(features, read_features, id="features"),
    pytest.param(state, read_state, id="state of a run"),
]


def refused(path, read):
    with pytest.raises(CheckpointError if path.name != "clip.safetensors" else FeatureError) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value.what


def header_bytes(path):
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def each_flipped(path, bits):
    """Flip one bit of a file at a time, and back."""
    file = os.open(path, os.O_RDWR)
    for bit in map(int, bits):
        before = os.pread(file, 1, bit // 8)
        os.pwrite(file, bytes([before[0] ^ 1 << bit % 8]), bit // 8)
        yield bit
        os.pwrite(file, before, bit // 8)
    os.close(file)


def dense_sample(path, some=150):
    """Bits of a file: those of the seal and what is before it, and some of the header behind it and of the data."""
    random, begin, size = np.random.default_rng(0), header_bytes(path), path.stat().st_size
    first = [8 * byte + int(random.integers(8)) for byte in range(180)]
    return [*first, *random.integers(8 * 180, 8 * begin, some), *random.integers(8 * begin, 8 * size, some)]


def little(path):
    write_sealed(path, save({"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, bool)}, {"avgate": '"ä\\" {}"'}))
    return path


def test_what_was_sealed_is_read_and_other_programs_read_it_too(tmp_path):
    path = little(tmp_path / "a.safetensors")
    metadata, tensors = read_sealed(path, load)

    assert metadata == {"avgate": '"ä\\" {}"'}
    assert {name: x.tolist() for name, x in tensors.items()} == {"a": [[0, 1, 2], [3, 4, 5]], "b": [True, True]}
    assert {name: x.tolist() for name, x in load_file(path).items()} == {
        name: x.tolist() for name, x in tensors.items()
    }
    with safe_open(path, "np") as file:
        assert file.metadata()["avgate"] == metadata["avgate"]
    assert read_header(path)["a"] == {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}
    assert read_header(path)["__metadata__"] == metadata


def test_the_same_content_gives_the_same_bytes(tmp_path):
    metadata = {name: name for name in "zyxwvu"}
    for name in "ab":
        write_sealed(tmp_path / name, save({"a": np.zeros(3), "b": np.ones(2)}, metadata))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow
def test_every_single_bit_counts(tmp_path):
    path = little(tmp_path / "a.safetensors")
    of_header = 8 * header_bytes(path)
    for bit in each_flipped(path, range(8 * path.stat().st_size)):
        with pytest.raises(ValueError, match=r"^its (bytes aren't those that were written|header makes no sense)"):
            read_sealed(path, load)
        if bit < of_header:
            with pytest.raises(ValueError, match="its"):
                read_header(path)
    read_sealed(path, load)


@pytest.mark.parametrize(("make", "read"), KINDS)
def test_a_flipped_bit_is_an_error_that_names_the_file(make, read, tmp_path):
    path = make(tmp_path)
    for bit in each_flipped(path, dense_sample(path)):
        what = refused(path, read)
        assert "checksum" in what or "header" in what, bit


@pytest.mark.slow
@pytest.mark.parametrize(("make", "read"), KINDS[1:])
def test_every_flipped_bit_is_an_error_that_names_the_file(make, read, tmp_path):
    path = make(tmp_path)
    for bit in each_flipped(path, range(8 * path.stat().st_size)):
        assert refused(path, read), bit


def test_an_outcome_with_a_flipped_bit_is_none_and_named(tmp_path, capsys):
    path = tmp_path / "run.safetensors"
    outcome().save(path, "this one")
    for bit in each_flipped(path, dense_sample(path, 20)[::4]):
        assert Outcome.load(path, "this one") is None, bit
        assert "run.safetensors can't be read" in capsys.readouterr().err, bit


def cut(path, other):
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path, other):
    path.write_bytes(path.read_bytes()[:100])


def appended(path, other):
    path.write_bytes(path.read_bytes() + b"\0")


def exchanged_header(path, other):
    """The other file's header, with its seal, before this one's data."""
    path.write_bytes(other.read_bytes()[: header_bytes(other)] + path.read_bytes()[header_bytes(path) :])


def exchanged_seal(path, other):
    whole = bytearray(path.read_bytes())
    whole[32:161] = other.read_bytes()[32:161]
    path.write_bytes(whole)


def zeros(path, other):
    """As a file system leaves behind what it couldn't write before the power went."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("spoil", [cut, cut_in_the_header, appended, exchanged_header, exchanged_seal, zeros])
@pytest.mark.parametrize(("make", "read"), KINDS)
def test_a_file_that_is_not_as_it_was_written_is_refused(make, read, spoil, tmp_path):
    path = make(tmp_path)
    other = tmp_path / "other.safetensors"
    shutil.copy(path, other)
    with safe_open(path, "np") as file:
        metadata = {"avgate": file.metadata()["avgate"] + " "}
    held = {name: x + (1 if x.dtype.kind == "f" else 0) for name, x in load_file(path).items()}
    write_sealed(path, save(held, metadata))
    spoil(path, other)

    refused(path, read)


@pytest.mark.parametrize(("make", "read"), KINDS)
def test_files_of_versions_without_seals_are_read_as_they_are(make, read, tmp_path):
    path = make(tmp_path)
    with safe_open(path, "np") as file:
        metadata = {"avgate": file.metadata()["avgate"]}
    save_file(load_file(path), path, metadata)

    assert b'"seal"' not in path.read_bytes()
    assert read(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_that_come_with_avgate_are_sealed(name):
    assert SHIPPED[name].read_bytes()[8:31] == b'{"__metadata__":{"seal"'


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"sdal": "0", "avgate": "{}"}])
def test_a_header_that_avgate_never_wrote_is_refused(metadata, tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "a", metadata)
    for read in (lambda path: read_sealed(path, load), read_header):
        with pytest.raises(ValueError, match="header makes no sense"):
            read(tmp_path / "a")


def leaves(value, path=()):
    """Every place in JSON's dicts and lists, but within what a run may say of itself as it likes."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        if key not in ("trained_on", "scores", "recipe", "identity"):
            yield from leaves(part, (*path, key))


def with_part(value, path, part):
    changed = copy.deepcopy(value)
    if not path:
        return part
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = part
    return changed


@pytest.mark.parametrize("part", [None, {"a": 1}, [[]], 1e999, "deep"], ids=str)
@pytest.mark.parametrize(("make", "read"), KINDS)
def test_a_description_of_another_kind_is_an_error_that_names_the_file(make, read, part, tmp_path):
    path = make(tmp_path)
    with safe_open(path, "np") as file:
        about, held = json.loads(file.metadata()["avgate"]), load_file(path)
    deep = "[" * 50_000 + "]" * 50_000
    for place in leaves(about):
        if part == 1e999 and place in (("best_score",), ("history",)):
            continue  # a number, and before the first epoch there is none
        text = json.dumps(with_part(about, place, part)).replace('"deep"', deep)
        save_file(held, path, {"avgate": text})
        assert refused(path, read), place


def test_the_state_of_another_model_is_an_error_that_names_the_file(tmp_path):
    state(tmp_path)
    with pytest.raises(CheckpointError, match=r"resume\.safetensors: the run's state is of another model"):
        read_state(tmp_path / "resume.safetensors").restore(torch.nn.Linear(3, 1), None)


def test_a_header_tells_that_the_data_behind_it_are_cut_short(tmp_path):
    path = little(tmp_path / "a.safetensors")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(ValueError, match=f"it has {size - 1} bytes, not {size}"):
        read_header(path)
