"""Label files that users had trouble with: `avgate labels FILE --out o.csv`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.timeline import Grid
from avgate.corpora.manifest import Manifest
from avgate.labels.formats import read_labels
from avgate.labels.tracks import labels_on_grid
from avgate.media import Media
from tests.cases.measure import Case, Found, Measured, at, converted, measured


def _reads(name: str, right: str, times_s: tuple[float, ...], **expected: tuple[float, ...]) -> Case:
    """A file that is read, with these values of each target at these times."""

    def look(folder: Path) -> Found:
        found = converted([folder / name])
        if found.error is not None:
            return str(found), False
        track = found.result
        if not set(expected) <= set(track.targets):
            return f"targets {', '.join(track.targets)}", False
        values = {target: at(track, target, *times_s) for target in expected}
        right = all(np.allclose(values[t], expected[t], atol=1e-3, equal_nan=True) for t in expected)
        shown = "; ".join(f"{t} {' '.join(f'{v:g}' for v in np.round(values[t], 3))}" for t in expected)
        return shown, right

    return Case("labels", name, right, look)


def _bounded(name: str) -> Case:
    """A file that is refused within a second, without much memory."""

    def look(folder: Path) -> Found:
        found = converted([folder / name])
        right = isinstance(found.error, CorpusError) and found.seconds < 1 and found.memory < 200 << 20
        return f"{found}, {found.memory / 1e6:.0f} MB", right

    return Case("labels", name, "one clear error within a second, bounded memory", look)


def _two_raters(folder: Path) -> Found:
    found = measured(lambda: read_labels(folder / "two_tiers_of_one_name.TextGrid"))
    if found.error is not None:
        return str(found), isinstance(found.error, CorpusError) and "'valence'" in str(found.error)
    targets = found.result.targets
    merged = converted([folder / "two_tiers_of_one_name.TextGrid"])
    return f"{len(targets)} tiers: {', '.join(targets)}; then {merged}", len(targets) == 2


def _darma(name: str) -> Case:
    def look(folder: Path) -> Found:
        found = measured(lambda: read_labels(folder / name))
        if found.error is not None:
            return str(found), isinstance(found.error, CorpusError)
        track = found.result
        x, y = track.values[0] * 1000
        named = track.targets[1] == "arousal" if "empty" in name else len(set(track.targets)) == 2
        kept = abs(x + 7.8) < 1e-2 and abs(y + 335.4) < 1e-1
        return f"{', '.join(track.targets)}: {x:g}, {y:g}", bool(named and kept)

    return Case("labels", name, "an error, or columns that keep their place", look)


def _steps(name: str, first_s: float) -> Case:
    """The spacing and the first time of a file with 0.5 s steps, or an error that asks for the unit."""

    def look(folder: Path) -> Found:
        found = measured(lambda: read_labels(folder / name))
        if found.error is not None:
            asks = isinstance(found.error, CorpusError) and "second" in str(found.error)
            return str(found), asks
        time_s = found.result.time_s
        steps = np.diff(time_s)
        right = bool(np.allclose(steps, 0.5)) and abs(time_s[0] - first_s) < 1e-6
        return f"steps of {np.median(steps):g} s from {time_s[0]:g} s on", right

    return Case("labels", name, "0.5 s steps, or the unit is asked for", look)


def _pause(folder: Path) -> Found:
    files = [folder / "pause_of_2s" / name for name in ("a_v.csv", "a_a.csv")]
    merged = converted(files)
    if merged.error is not None:
        return str(merged), False
    alone = np.isnan(at(merged.result, "arousal", 1.05, 1.55, 2.05)).all()
    with tempfile.TemporaryDirectory() as root:
        cell = f"valence={files[0]}; arousal={files[1]}"
        rows = f'clip,video,labels,split,group\nc,{files[0]},"{cell}",train,p\n'
        (Path(root) / "manifest.csv").write_text(rows)
        listed = measured(lambda: _on_grid(Path(root)))
    if listed.error is not None:
        return str(listed), False
    unknown = bool(np.isnan(listed.result[10:24, 1]).all())
    return f"in labels {'un' if alone else ''}known, in a manifest {'un' if unknown else ''}known", bool(
        alone
    ) and unknown


def _on_grid(root: Path) -> np.ndarray:
    corpus = Manifest(root)
    order = [corpus.targets.index(target) for target in ("valence", "arousal")]
    return labels_on_grid(corpus.labels(corpus.clips()[0]), Grid(10.0), 30)[:, order]


def _affwild2(folder: Path) -> Found:
    video = folder.parent / "media" / "vp8_hidden_frames.webm"
    found: Measured = measured(
        lambda: read_labels(folder / "affwild2_75_frames.txt", frames=lambda: Media(video).frame_times())
    )
    if found.error is not None:
        return str(found), False
    shown = np.array([frame.time_s for frame in Media(video).frames()])
    times = found.result.time_s
    right = len(times) == len(shown) == 75 and np.array_equal(times, shown)
    return f"{len(times)} labels for {len(Media(video).frame_times())} frames", bool(right)


NAN = float("nan")
PARENT, CHILD = (0.0, 0.1, 0.2, 0.3, 0.4), (0.0, -0.1, -0.2, -0.3, -0.4)
EACH = (0.5, 1.5, 2.5, 3.5, 4.5)
FIFTHS = (1.0, 3.0, 5.0, 7.0, 9.0)

LABELS = (
    _reads("elan_symbolic_association.eaf", "dependent tiers have their parent's times", EACH, valence=PARENT,
           arousal=CHILD, dominance=PARENT),
    _reads("elan_time_subdivision.eaf", "subdivisions without a time share the span evenly", FIFTHS,
           valence=(0.1, 0.2, 0.3, 0.4, 0.5), arousal=(0.7,) * 5),
    _reads("elan_time_origin_10s.eaf", "10 to 15 s", (0.5, 4.5, *(t + 10 for t in EACH)), valence=(NAN, NAN, *PARENT)),
    _reads("elan_without_schema.eaf", "read", EACH, valence=PARENT),
    Case("labels", "two_tiers_of_one_name.TextGrid", "two raters, or an error that names both", _two_raters),
    _reads("empty_point_tier.TextGrid", "read", (0.5, 1.5), valence=(0.1, 0.2)),
    _reads("with_comments.TextGrid", "read", (0.5, 1.5, 2.5), valence=(0.1, 0.2, NAN)),
    _reads("decimal_comma.csv", "read", (0.0, 0.5, 1.0, 1.5), valence=(0.1, -0.2, 0.3, 0.25), arousal=(0, 1, 0, -1)),
    _reads("decimal_comma.TextGrid", "read", (0.75, 1.75), valence=(0.1, 0.2), arousal=(0.3, -0.4)),
    _darma("darma_empty_label.csv"),
    _darma("darma_equal_labels.csv"),
    _reads("carma_14.csv", "read", (0.5, 1.5, 2.5), rating=(0.5, -0.25, NAN)),
    _steps("muse_toolbox_input_ms.csv", 0.0),
    _steps("muse_toolbox_output_s.csv", 0.5),
    Case("labels", "pause_of_2s/", "the pause is unknown, in labels and in a manifest alike", _pause),
    *map(_bounded, ("elan_huge_time.eaf", "table_of_a_week.csv", "carma_far_end.csv", "nova_sr.annotation",
                    "nova_sr4.annotation")),
    Case("labels", "affwild2_75_frames.txt", "75 labels for 75 frames", _affwild2),
)  # fmt: skip
