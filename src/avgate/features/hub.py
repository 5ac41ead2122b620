"""Checkpoints of transformers models: found in a folder or on the Hugging Face hub, checked and loaded."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from avgate.core.errors import ModelFileError, UsageError
from avgate.core.files import sha256_of
from avgate.core.text import reason

DEVICE = "AVGATE_DEVICE"
"""Environment variable: the device of deep backbones, such as cpu or cuda:1. Unset: the first GPU, else the CPU."""

_UNUSED = r"pooler|masked_spec_embed|mask_token"
"""Weights that hidden states don't depend on in eval mode; many checkpoints lack them."""

_SETTINGS = ["config.json", "preprocessor_config.json"]

_WEIGHTS = "*.safetensors"

_PARTS = "*.safetensors.index.json"
"""Which of several files of weights has what."""

_AS_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""How checkpoints are read: nothing more is fetched, and programs that come with one aren't run, nor asked about."""

_STEPS = ["do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order"]


def find_model(source: str) -> Path:
    """The folder of a transformers checkpoint.

    Args:
        source: a folder; or a name on the hub with @ and a commit behind it, which is downloaded unless it is in the
            hub's cache; or a name alone, of what is in that cache.

    Raises:
        ModelFileError: it isn't there and can't be downloaded, has no weights as safetensors, or was changed in the
            cache after it had come.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1):
        raise ModelFileError("there is no such folder", where=source, hint="give the folder that save_pretrained wrote")
    if not folder.is_dir():
        folder = _on_the_hub(source)
    if not (folder / "config.json").is_file():
        hint = "give the folder that save_pretrained wrote"
        raise ModelFileError("there is no config.json in this folder", where=folder, hint=hint)
    if not list(folder.glob(_WEIGHTS)):
        # Pickles, which are programs and may do anything to whoever opens them.
        hint = "of many models the hub has a commit with model.safetensors: give that, or what save_pretrained wrote"
        raise ModelFileError("it has no weights as safetensors, and no others are opened", where=source, hint=hint)
    return folder


def _on_the_hub(source: str) -> Path:
    """The folder in the hub's cache, with what was downloaded into it just now or before, unchanged since."""
    name, at, commit = source.partition("@")
    if at and not re.fullmatch("[0-9a-f]{40}", commit):
        hint = f"write {name}@ and the 40 hex digits of a commit: branches and tags can come to mean something else"
        raise ModelFileError(f"'{commit}' is no commit", where=source, hint=hint)
    _require("huggingface_hub", "hf")
    from huggingface_hub import snapshot_download

    failure: Exception | None = None
    for offline in (True, False) if commit else (True,):
        try:
            found = snapshot_download(
                name, revision=commit or None, allow_patterns=[*_SETTINGS, _WEIGHTS, _PARTS], local_files_only=offline
            )
        except Exception as error:  # a dozen kinds: unknown name, no network, no permission
            failure = error
            continue
        folder = Path(found)
        # What is here may be a part, of a download that was cut or that left out the weights.
        if not (offline and commit) or ((folder / "config.json").is_file() and list(folder.glob(_WEIGHTS))):
            _refuse_changed(folder)
            return folder
    if not commit:
        raise ModelFileError(
            "the model isn't in the hub's cache, and its name alone doesn't say which of its versions to download",
            where=source,
            hint=f"write {name}@COMMIT, with the 40 hex digits of a commit; or run `hf download {name}` once, "
            "or give a folder with the checkpoint",
        )
    raise ModelFileError(
        f"the model isn't in the hub's cache and can't be downloaded ({reason(failure)})",
        where=source,
        hint=f"go online once and run `hf download {name} --revision {commit}`, or give a folder with the checkpoint",
    ) from failure


def _refuse_changed(folder: Path) -> None:
    """Refuse files of the hub's cache that aren't what the hub has: there, a link leads to a file named by its sum."""
    for file in checkpoint_files(folder):
        blob = file.resolve()
        if not file.is_symlink() or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
            continue  # a cache without links, as on Windows
        if len(blob.name) == 64:
            found = file_digest(blob)
        else:  # git's own sum, of what is small
            data = blob.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        if found != blob.name:
            what = "it was changed after it had been downloaded, or it came damaged: its checksum differs"
            raise ModelFileError(what, where=file, hint="delete the model from the hub's cache; it is downloaded again")


def settings_of(folder: Path) -> dict[str, Any]:
    """A checkpoint's configuration, the library's defaults included.

    For a model of images and text: the image encoder's, which is the part that `load_encoder` returns.

    Raises:
        ModelFileError: it can't be read.
    """
    _require("transformers", "hf")
    from transformers import AutoConfig

    try:
        with _quiet():
            settings = AutoConfig.from_pretrained(folder, **_AS_DATA).to_dict()
    except Exception as error:  # the library raises many kinds for a damaged config.json
        hint = "give a checkpoint that transformers.AutoModel loads"
        raise ModelFileError(f"its config.json can't be read ({reason(error)})", where=folder, hint=hint) from error
    return settings.get("vision_config") or settings


def preprocessor_of(folder: Path) -> dict[str, Any]:
    """A checkpoint's preprocessor_config.json; empty if it has none.

    Where the file names its class, what it leaves out is what the library fills in for that class.
    """
    file = folder / "preprocessor_config.json"
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        hint = "download the checkpoint again"
        raise ModelFileError(f"it can't be read ({reason(error)})", where=file, hint=hint) from error
    if not isinstance(found, dict):
        return {}
    if named := found.get("image_processor_type") or found.get("feature_extractor_type"):
        return {**_class_defaults(str(named)), **found}
    return found


def _class_defaults(name: str) -> dict[str, Any]:
    """The settings of one of the library's preprocessors; empty where this machine's library has none of the name."""
    import transformers

    name = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", name)
    for kind in ("ImageProcessorPil", "ImageProcessor"):
        try:
            settings = json.loads(getattr(transformers, name + kind)().to_json_string())
        except Exception:  # no such class, or one that needs a package that isn't there
            continue
        # What a class has no word on, it doesn't do.
        return {**dict.fromkeys(_STEPS, False), **{key: value for key, value in settings.items() if value is not None}}
    return {}


def weights_fingerprint(files: Sequence[Path]) -> str:
    """16 hex digits that change with any byte of the files. A file is read again only after it was changed."""
    digests = [file_digest(file) for file in sorted(files, key=lambda file: file.name)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def file_digest(file: Path) -> str:
    """SHA-256 of a file, which is read again only after it was changed."""
    stat = file.stat()
    return _digest(file, stat.st_size, stat.st_mtime_ns)


@cache
def _digest(file: Path, size: int, changed_ns: int) -> str:
    """SHA-256 of all of a file; its size and time of change are there for the cache alone."""
    return sha256_of(file)


def checkpoint_files(folder: Path) -> list[Path]:
    """The files that a checkpoint's output depends on."""
    return [file for file in folder.iterdir() if file.suffix == ".safetensors" or file.name in _SETTINGS]


def device() -> str:
    """The device of deep backbones, see DEVICE.

    Raises:
        UsageError: this machine or its PyTorch lacks the device.
    """
    import torch

    wanted = os.environ.get(DEVICE) or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError) as error:
        hint = "give cpu, or a device that this machine and its PyTorch have, such as cuda:0"
        raise UsageError(f"'{wanted}' can't be used ({reason(error)})", where=DEVICE, hint=hint) from error
    return wanted


@contextmanager
def exact() -> Iterator[None]:
    """Inference with full float32 precision: no TF32 convolutions, which GPUs use by default.

    With TF32, features would differ from a CPU's, and between batch sizes, in the fourth digit.
    """
    import torch

    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def load_encoder(folder: Path, where: str, half: bool) -> Any:
    """A transformers encoder in eval mode, loaded without the library's messages.

    Args:
        folder: the checkpoint.
        where: device.
        half: float16, on a GPU only.

    Raises:
        ModelFileError: the library can't load it, weights are missing (the library would put random ones in their
            place), or weights contain NaN or Inf.
    """
    _require("transformers", "hf")
    import torch
    from transformers import AutoModel

    try:
        with _quiet():
            model, loading = AutoModel.from_pretrained(
                folder, **_AS_DATA, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # the library raises many kinds for a damaged checkpoint
        hint = "give a checkpoint that transformers.AutoModel loads"
        raise ModelFileError(f"it can't be loaded ({reason(error)})", where=folder, hint=hint) from error
    missing = [name for name in loading["missing_keys"] if not re.search(_UNUSED, name)]
    if missing:
        what = f"{len(missing)} of its weights are missing, such as {min(missing)}"
        hint = "give a checkpoint that save_pretrained wrote; weight names must not begin with module. or model."
        raise ModelFileError(what, where=folder, hint=hint)
    # For a model of images and text: the image encoder.
    model = getattr(model, "vision_model", model)
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise ModelFileError("its weights contain NaN or Inf", where=folder, hint="download or train it again")
    return model.to(where, torch.float16 if half and where.startswith("cuda") else torch.float32).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the library print neither messages nor progress bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _require(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ModelFileError(
            f"this backbone needs the package {module}", hint=f"install it: pip install 'avgate[{extra}]'"
        )
