"""NOVA: an XML header NAME.annotation and its data NAME.annotation~, as text or binary (Baur et al. 2020)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avgate.core.errors import CorpusError
from avgate.core.files import atomic_write
from avgate.core.tables import read_rows
from avgate.core.text import number, quoted
from avgate.core.timeline import LONGEST_S
from avgate.core.types import LabelTrack
from avgate.labels.formats.base import DECIMALS, Frames, checked_ends, scale
from avgate.labels.formats.xml import read_xml
from avgate.labels.tracks import grid_for, labels_on_grid, steps_of

_HINT = "export a continuous annotation from NOVA, header and data side by side"


@dataclass(frozen=True)
class Nova:
    """Continuous schemes: sample i, from i / sr to (i + 1) / sr seconds, is a score from min to max with a confidence.

    Samples are regular from 0 on; labels at other times are put on this grid when they are written. An unknown label is
    NaN with confidence 0. Discrete and free schemes hold classes and words, not values, and are refused.

    Args:
        name: its name on the command line.
        binary: whether to write samples as pairs of 32-bit floats rather than text.
        program: what the program calls itself.
    """

    name: str = "nova"
    binary: bool = False
    program: str = "NOVA"
    suffix: str = ".annotation"
    single: bool = True
    scaled: bool = True

    def recognises(self, path: Path) -> bool:
        """Any file of that suffix."""
        return True

    def read(self, path: Path, frames: Frames | None = None) -> LabelTrack:
        """Read the scores, text or binary as the header says; see LabelFormat."""
        info, scheme = self._header(path)
        low, high, rate = (self._attribute(scheme, name, path) for name in ("min", "max", "sr"))
        if not (high > low and rate > 0):
            what = "max must exceed min, and sr be above 0"
            raise CorpusError(what, where=path, hint=_HINT)
        data = path.with_name(f"{path.name}~")
        if not data.is_file():
            raise CorpusError("the data file beside the header is missing", where=data, hint=_HINT)
        if info.get("ftype", "ASCII").upper() == "BINARY":
            whole = data.read_bytes()
            if len(whole) % 8:
                raise CorpusError("its length isn't a multiple of 8 bytes (one sample)", where=data, hint=_HINT)
            scores = np.frombuffer(whole, "<f4").reshape(-1, 2)[:, 0].astype(np.float64)
        else:
            text = read_rows(data, ";", blank=True)
            scores = np.array([text.number(i, 0, "score") if row else np.nan for i, row in enumerate(text.rows)])
        size = info.get("size")
        if not len(scores) or (size is not None and size.strip().lstrip("0") != str(len(scores))):
            what = f"there are {len(scores)} samples, but its header says {quoted(str(size))}"
            raise CorpusError(what, where=data, hint=_HINT)
        if not len(scores) / rate <= LONGEST_S:
            what = f"{len(scores)} samples at sr {rate:g} last {len(scores) / rate:g} s"
            raise CorpusError(what, where=path, hint="correct sr: it is samples per second")
        values = scale(scores, low, high)[:, None].astype(np.float32)
        start_s, until_s = (np.arange(len(values)) + i for i in (0, 1))
        labels = LabelTrack(start_s / rate, values, (scheme.get("name") or path.stem,), until_s / rate)
        return checked_ends(labels, path, _HINT)

    def write(self, labels: LabelTrack, path: Path) -> None:
        """Write data and header, the header last, so that it never exists without its data; see LabelFormat."""
        grid = grid_for({str(path): labels}, at_zero=True)
        rate = grid.rate
        n = steps_of({str(path): labels}, grid)
        if labels.until_s is None:  # the step that the last one falls into is the last
            n = min(n, int(grid.index(labels.time_s[-1:] + 0.2 / rate)[0]) + 1)
        values = labels_on_grid(labels, grid, n)
        scores = np.stack([values[:, 0], (~np.isnan(values[:, 0])).astype(float)], axis=1).astype("<f4")
        with atomic_write(path.with_name(f"{path.name}~")) as temporary:
            if self.binary:
                temporary.write_bytes(scores.tobytes())
            else:
                lines = (f"{score:.{DECIMALS}f};{confidence:g}\n" for score, confidence in scores.tolist())
                temporary.write_text("".join(lines), "utf-8")
        root = ET.Element("annotation", {"ssi-v": "3"})
        ET.SubElement(root, "info", {"ftype": "BINARY" if self.binary else "ASCII", "size": str(n)})
        ET.SubElement(root, "meta", {"annotator": "avgate"})
        scheme = {"name": labels.targets[0], "type": "CONTINUOUS", "sr": f"{rate:.6g}", "min": "-1", "max": "1"}
        ET.SubElement(root, "scheme", scheme)
        with atomic_write(path) as temporary:
            ET.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)

    @staticmethod
    def _header(path: Path) -> tuple[ET.Element, ET.Element]:
        root = read_xml(path, _HINT)
        info, scheme = root.find("info"), root.find("scheme")
        if info is None or scheme is None:
            raise CorpusError("the header has no info or no scheme", where=path, hint=_HINT)
        if scheme.get("type", "").upper() != "CONTINUOUS":
            what = f"the scheme is {quoted(scheme.get('type', 'of no type'))}, not CONTINUOUS, so it holds no values"
            raise CorpusError(what, where=path, hint=_HINT)
        return info, scheme

    @staticmethod
    def _attribute(scheme: ET.Element, name: str, path: Path) -> float:
        value = number(scheme.get(name, "").strip(), comma=True)
        if value is None:
            raise CorpusError(f"the scheme has no number '{name}'", where=path, hint=_HINT)
        return value
