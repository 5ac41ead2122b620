"""Models by name come from the commit that the name says, unchanged, as data: no pickle is opened, no program run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avgate.core.errors import ModelFileError
from avgate.features.hub import find_model, load_encoder, settings_of
from tests.deep import write_image
from tests.hub import COMMIT, hub_of
from tests.pickles import Runs

NAME = "some/vit"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("model") / "vit")


def found(source: str, cache: Path, hub: str = "http://127.0.0.1:9", **variables: str) -> str:
    """What find_model says in a new process, since huggingface_hub reads its settings when it is imported."""
    code = (
        "import sys\n"
        "from avgate.core.errors import AvgateError\n"
        "from avgate.features.hub import find_model\n"
        "try:\n    print(find_model(sys.argv[1]))\n"
        "except AvgateError as error:\n    print(f'{error.what} | {error.hint}')\n"
    )
    settings = {"HF_ENDPOINT": hub, "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    environment = os.environ | settings | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", code, source], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_a_commit_is_downloaded_once_and_then_found_without_the_hub(model, tmp_path):
    with hub_of(NAME, model) as hub:
        folder = Path(found(f"{NAME}@{COMMIT}", tmp_path, hub))
    assert sorted(f.name for f in folder.iterdir()) == sorted(f.name for f in model.iterdir())
    for file in model.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()
    assert found(f"{NAME}@{COMMIT}", tmp_path) == str(folder)


@pytest.mark.slow
def test_what_comes_with_other_bytes_than_the_hub_says_is_refused(model, tmp_path):
    changed = bytearray((model / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    with hub_of(NAME, model, {"model.safetensors": bytes(changed)}) as hub:
        said = found(f"{NAME}@{COMMIT}", tmp_path, hub)
    assert "its checksum differs" in said


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_was_changed_in_the_cache_is_refused(model, tmp_path, file):
    with hub_of(NAME, model) as hub:
        folder = Path(found(f"{NAME}@{COMMIT}", tmp_path, hub))
    blob = (folder / file).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    assert "its checksum differs" in found(f"{NAME}@{COMMIT}", tmp_path)


@pytest.mark.slow
def test_a_name_alone_is_never_downloaded(model, tmp_path):
    with hub_of(NAME, model) as hub:
        said = found(NAME, tmp_path, hub)
    assert "doesn't say which of its versions" in said
    assert f"{NAME}@COMMIT" in said
    assert not list(tmp_path.glob("**/*.safetensors"))


def named(cache: Path) -> None:
    """Let the name alone stand for the commit, as where somebody downloaded it by its name."""
    refs = next(cache.glob("models--*")) / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(COMMIT)


@pytest.mark.slow
def test_a_name_alone_stands_for_what_is_in_the_cache(model, tmp_path):
    with hub_of(NAME, model) as hub:
        folder = found(f"{NAME}@{COMMIT}", tmp_path, hub)
    named(tmp_path)
    assert found(NAME, tmp_path) == folder


@pytest.mark.slow
def test_a_model_of_which_the_hub_has_pickles_alone_is_refused_and_they_are_not_fetched(model, tmp_path):
    pickled = Path(shutil.copytree(model, tmp_path / "pickled"))
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    cache = tmp_path / "cache"
    with hub_of(NAME, pickled) as hub:
        assert "no weights as safetensors" in found(f"{NAME}@{COMMIT}", cache, hub)
    named(cache)
    assert "no weights as safetensors" in found(NAME, cache)
    assert not list(cache.glob("**/*.bin"))


@pytest.mark.slow
def test_a_commit_that_cannot_be_had_says_how_to_get_it(tmp_path):
    said = found(f"{NAME}@{COMMIT}", tmp_path, HF_HUB_OFFLINE="1")
    assert "can't be downloaded" in said
    assert f"hf download {NAME} --revision {COMMIT}" in said


@pytest.mark.parametrize("commit", ["main", "v1.0", "5" * 39, ""])
def test_branches_and_tags_are_no_commits(commit):
    with pytest.raises(ModelFileError, match="is no commit"):
        find_model(f"{NAME}@{commit}")


def test_weights_as_a_pickle_are_refused_and_not_run(model, tmp_path):
    folder = Path(shutil.copytree(model, tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    torch.save(Runs(tmp_path / "ran"), folder / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="no weights as safetensors"):
        find_model(str(folder))
    with pytest.raises(ModelFileError, match="can't be loaded"):
        load_encoder(folder, "cpu", half=False)
    assert not (tmp_path / "ran").exists()


def test_a_program_that_comes_with_a_model_is_not_run_and_nobody_is_asked(model, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(model, tmp_path / "programmed"))
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "mine.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    for read in (settings_of, lambda folder: load_encoder(folder, "cpu", half=False)):
        with pytest.raises(ModelFileError, match=r"can't be (read|loaded)"):
            read(folder)
    assert not (tmp_path / "ran").exists()
