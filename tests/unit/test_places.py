"""Addresses: what is one, what is shown of it, what is written there, and what refuses them."""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from avgate import cli
from avgate.cli.options import within_ranges
from avgate.core import places, remote
from avgate.core.errors import AvgateError, FeatureError, MediaError, OutputError, PlaceError, UsageError
from avgate.core.files import atomic_write, make_folder, output_folder, refuse_overwriting, write_json
from avgate.core.places import Address, local_copy, place
from avgate.core.sealed import read_header
from avgate.core.types import Clip
from avgate.features.extract import extract
from avgate.features.store import FeatureStore
from avgate.models.checkpoint import load_checkpoint
from avgate.training.run_state import RunState
from tests.clips import greys, make_clip, tone
from tests.tiny import make_checkpoint, make_track

fsspec = pytest.importorskip("fsspec", reason='addresses need pip install "avgate[scale]"')

STORE = "memory://bucket/features"
SIGNED = "https://anna:s3c@r3t@host.example/a/clip.mp4?X-Signature=s1gn3d"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    monkeypatch.setattr(places, "_writable", set())
    system.store.clear()
    yield system
    system.store.clear()


def names(system: Any) -> list[str]:
    return sorted(system.find("/"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a/b", "a/b"),
        ("/a:b/c", "/a:b/c"),
        ("C:/videos", "C:/videos"),
        ("file:///a/b c", "/a/b c"),
        ("local:///a", "/a"),
        ("a//b", "a/b"),
    ],
)
def test_paths_and_file_addresses_are_paths(text, path):
    assert place(text) == Path(path)


def test_an_address_has_the_parts_of_a_path():
    at = place("S3://bucket/a/clip.one.mp4")
    assert isinstance(at, Address)
    assert (str(at), at.name, at.stem, at.suffix) == ("s3://bucket/a/clip.one.mp4", "clip.one.mp4", "clip.one", ".mp4")
    assert str(at.parent) == "s3://bucket/a"
    assert str(place("s3://bucket/a/") / "b") == "s3://bucket/a/b"
    assert str(place("s3://bucket").parent) == "s3://bucket"
    assert pickle.loads(pickle.dumps(at)) == at


@pytest.mark.parametrize("text", ["s3://", "s3:///", "file://host/x", "simplecache::s3://bucket/x"])
def test_addresses_that_lead_nowhere_are_refused(text):
    with pytest.raises(UsageError):
        place(text)


def test_passwords_and_signatures_are_never_shown(memory):
    at = place(SIGNED)
    told = [str(at), repr(at), f"{at}", str(at / "x"), str(at.parent), at.name]
    told += [str(remote.told(OSError(f"no answer from {SIGNED}"), SIGNED, "read"))]
    with pytest.raises(AvgateError) as caught:
        place("nosuch://anna:s3cr3t@host/x?s1gn3d").exists()
    told.append(str(caught.value))
    assert [text for text in told if "s3c" in text or "r3t" in text or "s1gn3d" in text or "anna" in text] == []
    assert str(at) == "https://host.example/a/clip.mp4"
    assert (at / "x").url == "https://anna:s3c@r3t@host.example/a/clip.mp4/x?X-Signature=s1gn3d"


def test_an_unknown_scheme_gets_a_guess_and_a_missing_library_the_command(memory, monkeypatch):
    with pytest.raises(UsageError) as caught:
        place("s4://bucket/x").exists()
    assert "s3" in caught.value.hint
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UsageError) as caught:
        place("s3://bucket/x").exists()
    assert caught.value.hint == "pip install 'avgate[scale]'"
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError) as caught:
        place("s3://bucket/x").exists()
    assert caught.value.hint == "pip install 'avgate[scale]'"


def test_a_file_at_an_address_appears_when_it_is_complete(memory):
    with atomic_write("memory://bucket/a.csv") as temporary:
        temporary.write_text("half")
        assert temporary.suffix == ".csv"
        assert names(memory) == []
    assert place("memory://bucket/a.csv").read_bytes() == b"half"
    with contextlib.suppress(KeyboardInterrupt), atomic_write("memory://bucket/a.csv") as temporary:
        temporary.write_text("other")
        raise KeyboardInterrupt
    assert place("memory://bucket/a.csv").read_bytes() == b"half"
    assert not temporary.parent.exists()
    assert names(memory) == ["/bucket/a.csv"]


def test_what_is_at_an_address_can_be_looked_at_and_listed(memory):
    for name in ("b/y", "a/x", "z"):
        write_json(place("memory://bucket") / name, [1])
    at = place("memory://bucket")
    assert at.folders() == ["a", "b"]
    assert list(at.files()) == ["a/x", "b/y", "z"]
    assert (at / "a").is_dir()
    assert not (at / "a").is_file()
    assert (at / "z").is_file()
    assert (at / "z").size() == len((at / "z").read_bytes()) == sum(at.files().values()) / 3
    assert not (at / "c").exists()
    assert ((at / "c").folders(), (at / "c").files()) == ([], {})


def test_a_folder_that_can_be_written_to_is_left_as_it_was(memory):
    at = place("memory://bucket/run")
    assert make_folder(at) == at
    with output_folder(at) as found:
        assert found == at
    assert names(memory) == []


def test_a_place_that_cannot_be_written_to_is_found_out_before(memory, monkeypatch):
    def denied(*_, **__):
        raise PermissionError("Access Denied for key AKIA123")

    monkeypatch.setattr(type(memory), "pipe_file", denied)
    monkeypatch.setattr(type(memory), "cat_file", denied)
    with pytest.raises(OutputError, match="memory://bucket/run: can't be written: access is denied") as caught:
        make_folder(place("memory://bucket/run"))
    assert "AKIA" not in str(caught.value)
    with pytest.raises(OutputError):
        refuse_overwriting([], {"--out": place("memory://bucket/run/x.json")})
    with pytest.raises(PlaceError, match="can't be read: access is denied"):
        place("memory://bucket/run").read_bytes()


def test_an_output_at_an_address_overwrites_no_input(memory):
    at = place("memory://bucket/x.json")
    with pytest.raises(UsageError, match="it is an input"):
        refuse_overwriting([at], {"--out": at})


@pytest.mark.parametrize("write", [make_folder, lambda path: write_json(path / "x.json", 1)], ids=["folder", "file"])
def test_an_address_that_was_made_a_path_makes_no_folder(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="this is an address"):
        write(Path("s3://bucket/x"))
    assert list(tmp_path.iterdir()) == []


def options_of(verb: str) -> dict[str, bool]:
    """The options of a verb that are places -> whether they take addresses."""
    found = {}
    for name, hint in get_type_hints(cli.VERBS[verb], include_extras=True).items():
        text = repr(hint)
        if "Path" in text:
            found[name] = "Address" in text
    return found


PATHS = [(verb, option) for verb in cli.VERBS for option, both in options_of(verb).items() if not both]
PLACES = [(verb, option) for verb in cli.VERBS for option, both in options_of(verb).items() if both]


@pytest.mark.parametrize(("verb", "option"), PATHS)
def test_every_option_that_takes_paths_alone_refuses_addresses(verb, option):
    for given in (Path("s3://bucket/x"), (Path("a"), Path("gs://bucket/x"))):
        with pytest.raises(UsageError, match="this is an address") as caught:
            within_ranges(cli.VERBS[verb])(**{option: given})
        assert caught.value.where == f"--{option.replace('_', '-')}"


def test_there_are_options_of_both_kinds_and_every_store_is_one_that_takes_addresses():
    assert len(PATHS) > 20
    assert {("train", "out"), ("evaluate", "checkpoints"), ("evaluate", "out")} <= {*PLACES}
    stores = {(verb, "store") for verb in cli.VERBS if "store" in get_type_hints(cli.VERBS[verb])}
    assert stores <= {*PLACES}


def test_the_docs_name_every_option_that_takes_addresses():
    page = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    words = {"the checkpoints": "checkpoints", "the recordings": "videos"}
    named = set()
    for verbs, options in re.findall(r"^\| (`.*) \| (.*) \|$", page, re.M):
        for option in options.split(", "):
            name = words.get(option) or option.strip("`").removeprefix("--")
            named |= {(verb, name) for verb in re.findall(r"`([\w-]+)`", verbs)}
    assert named == {*PLACES}


def test_a_command_line_with_an_address_where_none_will_do_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["render", "--out", "s3://anna:s3cr3t@bucket/x"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "--out: this is an address (s3://...)" in said
    assert "s3cr3t" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def both(memory: Any, tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
    """The same features in a folder and at an address."""
    stores = FeatureStore(STORE), FeatureStore(tmp_path / "features")
    for store in stores:
        for key, modality in (("tinyvoice-0", "audio"), ("tinyface-0", "video")):
            for clip in "ba":
                store.write(clip, key, make_track(modality, 12, seed=ord(clip)), "source")
        store.write_manifest()
    return stores


def test_a_store_at_an_address_has_the_bytes_of_one_in_a_folder(both):
    there, here = both
    files = {f.relative_to(here.root).as_posix(): f.read_bytes() for f in here.root.rglob("*") if f.is_file()}
    assert {name: (there.root / name).read_bytes() for name in there.root.files()} == files
    assert len(files) == 5
    assert there.find("tinyvoice") == "tinyvoice-0"
    assert there.has("a", "tinyvoice-0", "source")
    assert (there.read("a", "tinyvoice-0").values == here.read("a", "tinyvoice-0").values).all()


def test_damage_at_an_address_is_found_and_not_listed(both, memory):
    there, _ = both
    path = there.path("a", "tinyface-0")
    whole = path.read_bytes()
    with pytest.raises(FeatureError, match="have not been extracted"):
        there.read("c", "tinyface-0")
    assert there.damage("c", "tinyface-0") is None
    with pytest.raises(FeatureError, match="there are no features 'other'"):
        there.find("other")
    for damaged in (whole[:-1], whole[:40], b"", bytes([whole[0] ^ 1]) + whole[1:]):
        memory.pipe_file("/bucket/features/tinyface-0/a.safetensors", damaged)
        assert not there.has("a", "tinyface-0", "source")
        assert there.damage("a", "tinyface-0").where == f"{STORE}/tinyface-0/a.safetensors"
        rows = there.write_manifest().read_bytes().decode().splitlines()
        assert len(rows) == 4
        assert not any("tinyface-0/a." in row for row in rows)


@pytest.mark.parametrize("columns", [3, 3000])
def test_a_header_is_read_without_the_values_however_long_it_is(columns, memory, monkeypatch):
    store = FeatureStore(STORE)
    wide = make_track("audio", 400)
    values = wide.values.repeat(columns // 3, axis=1)
    track = replace(wide, values=values, columns=tuple(f"column{i}" for i in range(columns)))
    path = store.write("a", "wide-0", track, "source")
    whole = path.read_bytes()
    read: list[int] = []
    part = Address.read_part

    def counted(self: Address, begin: int, end: int) -> bytes:
        read.append(end - begin)
        return part(self, begin, end)

    monkeypatch.setattr(Address, "read_part", counted)
    assert read_header(path)["values"]["shape"] == [400, columns]
    n = 8 + int.from_bytes(whole[:8], "little")
    assert sum(read) <= max(n, 1 << 14)
    assert sum(read) < len(whole) or columns == 3


@pytest.mark.slow
def test_extracting_to_an_address_gives_what_extracting_to_a_folder_does(memory, tmp_path, capsys):
    for name in "ab":
        make_clip(tmp_path / f"{name}.mp4", greys(20), sound=[(0.0, tone(1))])
    clips = [Clip(name, tmp_path / f"{name}.mp4", "train", name) for name in "ab"]
    assert extract(clips, STORE, ("logmel",), 10.0, workers=1) == 2
    assert extract(clips, tmp_path / "store", ("logmel",), 10.0, workers=1) == 2
    there, here = FeatureStore(STORE).root, tmp_path / "store"
    files = {f.relative_to(here).as_posix(): f.read_bytes() for f in here.rglob("*") if f.is_file()}
    assert {name: (there / name).read_bytes() for name in there.files()} == files
    assert extract(clips, STORE, ("logmel",), 10.0, workers=1) == 0
    name = next(name for name in files if name.endswith("/b.safetensors"))
    memory.pipe_file(f"/bucket/features/{name}", files[name][:-1])
    capsys.readouterr()
    assert extract(clips, STORE, ("logmel",), 10.0, workers=1) == 1
    assert f"{STORE}/{name}" in capsys.readouterr().err
    assert (there / name).read_bytes() == files[name]


def test_features_are_not_extracted_again_where_the_store_cannot_be_read(memory, tmp_path, monkeypatch):
    make_clip(tmp_path / "a.mp4", greys(20), sound=[(0.0, tone(1))])
    clips = [Clip("a", tmp_path / "a.mp4", "train", "a")]
    extract(clips, STORE, ("logmel",), 10.0, workers=1)

    def away(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(type(memory), "cat_file", away)
    with pytest.raises(PlaceError, match="can't be reached"):
        extract(clips, STORE, ("logmel",), 10.0, workers=1)


def test_a_checkpoint_at_an_address_is_that_of_a_file(memory, tmp_path):
    checkpoint = make_checkpoint()
    checkpoint.save("memory://bucket/run/checkpoint.safetensors")
    here = checkpoint.save(tmp_path / "checkpoint.safetensors")
    for address in ("memory://bucket/run", "memory://bucket/run/checkpoint.safetensors"):
        assert load_checkpoint(address).fingerprint == load_checkpoint(here).fingerprint
    with pytest.raises(AvgateError, match="there is no such checkpoint") as caught:
        load_checkpoint("memory://bucket/other")
    assert caught.value.where == "memory://bucket/other"


def test_a_run_at_an_address_goes_on(memory):
    model = make_checkpoint().build()
    run, identity = place("memory://bucket/run"), {"clips": ["a"]}
    assert RunState.load(run, identity) is None
    RunState.new(identity, model).save(run)
    found = RunState.load(run, identity)
    assert found is not None
    assert found.epoch == 0
    assert sorted(run.files()) == ["history.csv", "resume.safetensors"]
    with pytest.raises(UsageError, match="this folder holds another run"):
        RunState.load(run, {"clips": ["b"]})


def test_a_recording_at_an_address_is_there_for_a_while_under_its_name(memory):
    memory.pipe_file("/bucket/clip.mp4", b"a video")
    with local_copy(place("memory://bucket/clip.mp4")) as copy:
        assert (copy.name, copy.read_bytes()) == ("clip.mp4", b"a video")
    assert not copy.parent.exists()
    with pytest.raises(MediaError) as caught, local_copy(place("memory://bucket/clip.mp4")) as copy:
        raise MediaError("it is damaged", where=copy, hint="copy it again")
    assert str(caught.value) == "memory://bucket/clip.mp4: it is damaged\n  -> copy it again"
    assert not copy.parent.exists()


@pytest.mark.parametrize("name", ["..", ".", "a/..", "none.mp4", "x" * 300, "a\0b", "folder"])
def test_a_recording_that_is_not_there_or_has_no_name_is_one_error(name, memory):
    memory.pipe_file("/bucket/folder/x", b"x")
    with pytest.raises(AvgateError) as caught, local_copy(place(f"memory://bucket/{name}")):
        pass
    assert caught.value.where
    assert "Traceback" not in str(caught.value)
