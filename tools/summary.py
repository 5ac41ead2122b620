"""Write the bullets that open docs/results.md from the tables on that page: `python tools/summary.py`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results.md"
ALL, CLEAN, ABSENCE, RENDERED = (
    "Real people, every fusion",
    "Real people, trained on clean clips",
    "Real people, trained for absence",
    "Rendered people, every fusion",
)
"""Headings of the page, as results.py writes them."""

SCORES, GATES, ALONE = "CCC pooled", "Does the gate see it?", "A modality lost in all steps"
VOICE_HALF, VOICE_GONE = "audio corrupted in half of the steps", "audio corrupted in all steps"
"""How the sentences above the tables are told apart."""

LOST, MISLEADING = ("absent", "noise"), ("swapped", "frozen", "shifted")


@dataclass(frozen=True)
class Table:
    """One table of the page.

    Attributes:
        head: the sentence above it.
        columns: titles of all columns but the first.
        rows: first cell -> the others.
    """

    head: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]

    def cell(self, row: str, column: str) -> str:
        """One cell, as it stands on the page."""
        return self.rows[row][self.columns.index(column)]


class Page(dict[str, list[Table]]):
    """Heading -> the tables below it."""

    def __init__(self, text: str):
        for part in re.split(r"^## ", text, flags=re.M)[1:]:
            heading, _, body = part.partition("\n")
            self[heading] = [
                Table(
                    found[1],
                    tuple(_cells(found[2])[1:]),
                    {c[0]: tuple(c[1:]) for c in map(_cells, found[3].splitlines())},
                )
                for found in re.finditer(r"^(.+)\n\n(\|.+)\n\|-.*\n((?:\|.*(?:\n|$))*)", body, re.M)
            ]

    def table(self, heading: str, sentence: str) -> Table | None:
        """The table below a heading whose own sentence says this."""
        return next((table for table in self.get(heading, []) if sentence in table.head), None)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(map(float, _pair(cell).split(" / ")))


def _pair(cell: str) -> str:
    """The numbers of a cell, one per target, without deviations and without what stands in brackets."""
    return " / ".join(part.split()[0] for part in cell.split("(")[0].split("/"))


def with_bullets(text: str) -> str:
    """The page with its bullets made anew, between the title and the line that says how the page was made."""
    title, made, rest = text.partition("\nMade by ")
    title = title.splitlines()[0]
    bullets = "".join(f"- {bullet}\n" for bullet in _bullets(Page(rest)))
    note = "These bullets are made by `python tools/summary.py`, which reads all their numbers from the tables below.\n"
    return f"{title}\n\n{bullets}\n{note}{made}{rest}"


def _bullets(page: Page) -> list[str]:
    return [*_clean(page), *_lost(page), *_misleading(page), *_gates(page), *_rendered(page), *_limits(page)]


def _clean(page: Page) -> Iterable[str]:
    """Who wins where nothing is missing, and which of these differences are more than chance."""
    table = page.table(ALL, SCORES) or page.table(CLEAN, SCORES)
    if table is None:
        return
    targets = _targets(table)
    best = max(table.rows, key=lambda name: sum(_scores(table, name)))
    others = [name for name in ("hgrjca", "rhgrjca", "concat", "audio", "video") if name in table.rows and name != best]
    words = {
        "hgrjca": "hgrjca (the published gates)",
        "rhgrjca": "rhgrjca (gates and reliability)",
        "audio": "the voice alone",
        "video": "the face alone",
    }
    listed = ", ".join(f"{words.get(name, name)} {_said(table, name)}" for name in others)
    yield (
        f"**On complete recordings of real people, {best} scores highest.** Of {len(table.rows)} models, it "
        f"has a CCC (agreement; 1 is perfect) of {_said(table, best)} ({' / '.join(targets)}); {listed}."
    )
    chance = {name: _beyond_chance(table, name) for name in table.rows if name != "hgrjca"}
    real = [f"{words.get(name, name)} {', '.join(found)}" for name, found in chance.items() if found]
    said = "; ".join([*real, "all other differences may be chance"]) if real else "no, every difference may be chance"
    yield f"**Is that more than chance?** Against hgrjca, corrected for {len(chance)} comparisons: {said}."


def _lost(page: Page) -> Iterable[str]:
    """What is left when the voice is lost, and what being able to lose it costs."""
    gone, scores, alone = (page.table(ABSENCE, what) for what in (VOICE_GONE, SCORES, ALONE))
    if not (gone and scores and alone) or not {"rhgrjca", "hgrjca", "concat", "video"} <= gone.rows.keys():
        return
    noise = {name: gone.cell(name, "noise") for name in ("rhgrjca", "hgrjca", "concat", "video")}
    yield (
        f"**Where the voice is lost, falling back on the face {_helps(noise['rhgrjca'], noise['hgrjca'])}.** Trained "
        f"for absence, and with nothing but noise for a voice, rhgrjca keeps {_pair(noise['rhgrjca'])}, hgrjca "
        f"{_pair(noise['hgrjca'])}, concat {_pair(noise['concat'])}; a model of the face alone has "
        f"{_pair(noise['video'])} (rhgrjca's difference from it: {alone.cell('rhgrjca', 'audio noise')}). On complete "
        f"recordings, that training leaves rhgrjca {_said(scores, 'rhgrjca')} and hgrjca {_said(scores, 'hgrjca')}."
    )


def _misleading(page: Page) -> Iterable[str]:
    """What is left when the voice is another one's, or out of step."""
    half = page.table(ABSENCE, VOICE_HALF)
    if half is None or not {"rhgrjca", "concat"} <= half.rows.keys():
        return
    pairs = [
        f"{kind} {_pair(half.cell('rhgrjca', kind))} against {_pair(half.cell('concat', kind))}" for kind in MISLEADING
    ]
    verdict = _verdict([half.cell("rhgrjca", k) for k in MISLEADING], [half.cell("concat", k) for k in MISLEADING])
    yield (
        f"**Where the voice misleads without looking odd, rhgrjca is {verdict} concat.** With half of the voice "
        f"another clip's (swapped), standing still (frozen) or out of step (shifted): {', '.join(pairs)}."
    )


def _gates(page: Page) -> Iterable[str]:
    """How well gates tell a modality that is lost, and one that misleads."""
    table = page.table(ABSENCE, GATES)
    if table is None or "rhgrjca: voice_reliability" not in table.rows:
        return
    seen, unseen = (_areas(table, "rhgrjca", "reliability", kinds) for kinds in (LOST, MISLEADING))
    said = [
        "**What the gates see.** rhgrjca's reliabilities tell absence and noise, on which they were trained, by an "
        f"AUROC of at least {min(seen):.2f} (1 is always, 0.5 is chance), and swapped, frozen or shifted features by "
        f"at most {max(unseen):.2f}."
    ]
    if any(name.startswith("hgrjca: ") for name in table.rows):
        absent, noise = (max(_areas(table, "hgrjca", "", (kind,))) for kind in LOST)
        said.append(f"The best of hgrjca's gates reaches {absent:.2f} for absence and {noise:.2f} for noise.")
    yield " ".join(said)


def _rendered(page: Page) -> Iterable[str]:
    """Who wins on rendered clips, target by target."""
    table = page.table(RENDERED, SCORES)
    if table is None:
        return
    targets = _targets(table)
    best = {t: max(table.rows, key=lambda name: _scores(table, name)[targets.index(t)]) for t in targets}
    listed = []
    for k, (target, name) in enumerate(best.items()):
        p = table.rows[name][3 * k + 2]
        listed.append(
            f"{name}'s in {target} ({_pair(table.cell(name, target))}{f', p = {p} against hgrjca' if p else ''})"
        )
    yield (
        f"**On rendered people**, the highest scores are {' and '.join(listed)}; hgrjca has {_said(table, 'hgrjca')}. "
        f"These are {_clips(table)} of one face, warped, with a synthetic voice: they check the method, and say "
        "nothing of people."
    )


def _limits(page: Page) -> Iterable[str]:
    table = page.table(ALL, SCORES) or page.table(CLEAN, SCORES) or page.table(ABSENCE, SCORES)
    if table is None:
        return
    yield (
        f"**What this doesn't show.** The real people are one corpus, Hazumi ({_clips(table)}): "
        "features from its authors, one step per exchange of a dialogue, and the targets "
        f"{' and '.join(_targets(table))}, not valence and arousal. Nothing here was measured on Aff-Wild2; those "
        "numbers are quoted. Intervals and p resample clips, not trainings."
    )


def _clips(table: Table) -> str:
    found = re.search(r"\d+ clips", table.head)
    return found[0] if found else "few clips"


def _targets(table: Table) -> list[str]:
    return [column for i, column in enumerate(table.columns) if i % 3 == 0 and column != "minutes"]


def _scores(table: Table, name: str) -> list[float]:
    return [_numbers(table.cell(name, target))[0] for target in _targets(table)]


def _said(table: Table, name: str) -> str:
    return " / ".join(_pair(table.cell(name, target)) for target in _targets(table))


def _beyond_chance(table: Table, name: str) -> list[str]:
    """The differences from hgrjca whose corrected p is below 0.05."""
    row, found = table.rows[name], []
    for k, target in enumerate(_targets(table)):
        _, difference, p = row[3 * k : 3 * k + 3]
        if p and float(p) < 0.05:
            found.append(f"{difference.split()[0]} in {target} (p = {p})")
    return found


def _areas(table: Table, model: str, gate: str, kinds: Sequence[str]) -> list[float]:
    """AUROC of a model's gates of each modality for corruptions of that same modality."""
    return [
        float(table.cell(row, f"{modality} {kind}"))
        for plain, modality in (("voice", "audio"), ("face", "video"))
        for row in table.rows
        if row.startswith(f"{model}: {plain}_{gate}")
        for kind in kinds
    ]


def _helps(one: str, other: str) -> str:
    return "helps" if all(a > b for a, b in zip(_numbers(one), _numbers(other), strict=True)) else "does not help"


def _verdict(one: Sequence[str], other: Sequence[str]) -> str:
    pairs = [p for a, b in zip(one, other, strict=True) for p in zip(_numbers(a), _numbers(b), strict=True)]
    if all(a < b for a, b in pairs):
        return "worse than"
    return "better than" if all(a > b for a, b in pairs) else "neither better nor worse than"


def main() -> None:
    """Write the bullets of a page anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=RESULTS)
    page = parser.parse_args().page
    page.write_text(with_bullets(page.read_text()))


if __name__ == "__main__":
    main()
