"""Writing a rendered corpus: clips in parallel processes, taken up again where an earlier run stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avgate.core.errors import UsageError
from avgate.core.files import atomic_write, make_folder, write_csv
from avgate.core.processes import Workers, worker_count
from avgate.core.text import reason
from avgate.corpora.rendered.config import RenderConfig
from avgate.corpora.rendered.read import MANIFEST_COLUMNS

if TYPE_CHECKING:
    from avgate.corpora.rendered.clip import Studio
    from avgate.corpora.rendered.portrait import Portrait

VERSION = 1
"""Raised by hand whenever the code changes what a config renders to."""


def render(
    root: Path,
    config: RenderConfig | None = None,
    *,
    workers: int | None = None,
    on_clip: Callable[[str], None] | None = None,
) -> Path:
    """Render a corpus into a folder; clips that are there already are kept.

    Args:
        root: the folder; made if it isn't there.
        config: what to render; None is the default corpus.
        workers: processes that render side by side; None is one per core. With 1 it happens in this process.
        on_clip: called with the name of each clip as soon as it is there (at once for those of an earlier run).

    Returns:
        The manifest, written last: a folder that has one is complete.

    Raises:
        UsageError: the folder holds something else, or a corpus of another config.
        OutputError: the folder can't be written to.
    """
    from avgate.corpora.rendered.clip import clip_files, clip_name, group_name

    config = config or RenderConfig()
    workers = worker_count(workers)
    if workers < 1:
        raise UsageError(f"{workers} processes can't render anything", where="workers", hint="use 1 or more")
    root = make_folder(root)
    _claim(root, config)
    for folder in ("clips", "labels", "marks"):
        make_folder(root / folder)

    takes = [(identity, take) for identity in range(config.identities) for take in range(config.clips_per_identity)]
    done = [key for key in takes if all((root / file).is_file() for file in clip_files(clip_name(*key)).values())]
    report = on_clip or (lambda _: None)
    for key in done:
        report(clip_name(*key))
    missing = [key for key in takes if key not in done]
    if missing:
        _render_all(root, config, missing, min(workers, len(missing)), lambda key: report(clip_name(*key)))

    manifest = root / "manifest.csv"
    rows = []
    for identity, take in takes:
        name = clip_name(identity, take)
        home = {"split": config.split(identity), "group": group_name(identity)}
        row = {"clip": name, **clip_files(name), **home}
        rows.append([row[column] for column in MANIFEST_COLUMNS])
    write_csv(manifest, MANIFEST_COLUMNS, rows)
    return manifest


def _claim(root: Path, config: RenderConfig) -> None:
    """Write corpus.json, or make sure that the one which is there describes the same corpus."""
    file = root / "corpus.json"
    wanted = {"corpus": "rendered", "version": VERSION, "seed": config.seed, "config": asdict(config)}
    if not file.exists():
        if any(not entry.name.startswith(".") for entry in root.iterdir()):
            hint = "choose a new or empty folder"
            raise UsageError("the folder isn't empty and holds no rendered corpus", where=root, hint=hint)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "choose a new folder, or delete this one"
        raise UsageError(f"the file can't be read: {reason(error)}", where=file, hint=hint) from error
    if found != wanted:
        what = f"the folder holds a corpus of another config ({_difference(found, wanted)})"
        hint = "choose a new folder, delete this one, or use the config that it was made with"
        raise UsageError(what, where=root, hint=hint)


def _difference(found: Any, wanted: dict[str, Any]) -> str:
    """The first thing in which two corpora differ, in words."""
    was, now = _flat(found), _flat(wanted)
    name = next(n for n in [*now, *was] if was.get(n) != now.get(n))
    return f"{name} is {was.get(name, 'missing')} there, {now.get(name, 'missing')} here"


def _flat(tree: Any, name: str = "") -> dict[str, Any]:
    """A nested mapping as dotted name -> value."""
    if not isinstance(tree, dict):
        return {name: tree}
    branches = (_flat(branch, f"{name}.{key}" if name else key) for key, branch in tree.items())
    return {key: value for branch in branches for key, value in branch.items()}


_Take = tuple[int, int]
"""Number of a person, and number of the clip."""


def _render_all(
    root: Path, config: RenderConfig, takes: list[_Take], workers: int, report: Callable[[_Take], None]
) -> None:
    """Render these clips, and report each once it is there."""
    from avgate.corpora.rendered.portrait import load_portrait

    set_up = partial(_open_studio, config, load_portrait(config.size))
    with Workers(partial(_record, root), workers, set_up) as pool:
        for take, _ in pool.run(takes):
            report(take)


_studio: Studio | None = None
"""This process's, see _open_studio."""


def _open_studio(config: RenderConfig, portrait: Portrait) -> None:
    """Prepare this process for rendering clips of a corpus."""
    global _studio
    from avgate.corpora.rendered.clip import Studio

    _studio = Studio(config, portrait)


def _record(root: Path, take: _Take) -> None:
    """Render one clip."""
    assert _studio is not None
    _studio.record(root, *take)
